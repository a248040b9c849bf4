"""Writes conll18/: a gold file, a system's file of the same words, and the official scorer's numbers for them.

The scorer is the shared task's conll18_ud_eval.py, which the wheel of stanza 1.8.2 carries (see README.md).
"""

import importlib.util
import json
import random
import sys
from pathlib import Path

OUT = Path(__file__).parent / "conll18"
WORDS = ["Il-kelb", "raqad", "wara", "l-bieb", "u", "Rajt", "kiel", "ħobż", "frisk", "kuljum", "ma", "jafx"]
RELATIONS = ["nsubj", "nsubj:pass", "obj", "obl", "obl:arg", "advmod", "case", "case:det", "conj", "punct"]


def tree(length: int, draw: random.Random) -> list[tuple[int, str]]:
    """Heads and relations with one root: every word hangs on one that was placed before it."""
    order = draw.sample(range(1, length + 1), length)
    arcs = {order[0]: (0, "root")}
    for place, word in enumerate(order[1:], 1):
        arcs[word] = (draw.choice(order[:place]), draw.choice(RELATIONS))
    return [arcs[word] for word in range(1, length + 1)]


def disturbed(gold: list[tuple[int, str]], draw: random.Random) -> list[tuple[int, str]]:
    """Other relations and subtypes here and there; in one sentence of three another tree as well."""
    arcs = tree(len(gold), draw) if draw.random() < 1 / 3 else list(gold)
    swapped = {"nsubj": "nsubj:pass", "obl:arg": "obl", "case": "case:det", "obj": "obl", "conj": "conj:extra"}
    return [(head, swapped.get(one, one) if draw.random() < 0.4 else one) for head, one in arcs]


def written(sentences: list[list[str]], trees: list[list[tuple[int, str]]]) -> str:
    """CoNLL-U with a multiword token over the first two words and an empty node after the last."""
    lines = []
    for number, (words, arcs) in enumerate(zip(sentences, trees, strict=True), 1):
        lines += [f"# sent_id = {number}", "\t".join(["1-2", words[0] + words[1], *["_"] * 8])]
        for place, (word, (head, relation)) in enumerate(zip(words, arcs, strict=True), 1):
            lines.append("\t".join([str(place), word, "_", "X", "_", "_", str(head), relation, "_", "_"]))
        lines += ["\t".join([f"{len(words)}.1", "_", "_", "X", *["_"] * 6]), ""]
    return "\n".join(lines) + "\n"


def main(scorer: str) -> None:
    """Writes the three files with the scorer at this path."""
    spec = importlib.util.spec_from_file_location("conll18_ud_eval", scorer)
    assert spec is not None and spec.loader is not None
    official = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(official)
    draw = random.Random(0)
    sentences = [draw.choices(WORDS, k=draw.randint(2, 12)) for _ in range(30)]
    gold = [tree(len(words), draw) for words in sentences]
    system = [disturbed(arcs, draw) for arcs in gold]
    OUT.mkdir(exist_ok=True)
    for name, trees in (("gold", gold), ("system", system)):
        (OUT / f"{name}.conllu").write_text(written(sentences, trees), encoding="utf-8")
    scores = official.evaluate(*(official.load_conllu_file(str(OUT / f"{n}.conllu")) for n in ("gold", "system")))
    expected = {metric: 100 * scores[metric].f1 for metric in ("UAS", "LAS")}
    (OUT / "expected.json").write_text(json.dumps(expected) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
