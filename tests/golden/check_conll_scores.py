"""Prove that UAS, LAS and UPOS equal those of the official scorer of the CoNLL 2018 shared task.

    .venv/bin/python tests/golden/check_conll_scores.py conll18_ud_eval.py TREEBANKS

The scorer is at universaldependencies.org/conll18 (a copy in the package stanza, in stanza/utils). TREEBANKS is a
folder with treebanks; each test file is read, tags and trees are made partly wrong, written and scored by
both. Prints the largest difference of each file in points; exit code 1 if one is above 1e-9.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from langlift.corpus.text_files import read_raw_lines
from langlift.evaluation.metrics import accuracy, attachment_scores
from langlift.heads.spanning_tree import maximum_spanning_tree
from langlift.tasks.conllu import DEPREL, HEAD, UPOS, parse_conllu


def partly_wrong(labels, every, random):
    return [random.choice(every) if random.random() < 0.2 else label for label in labels]


def difference(scorer, file, system, random):
    sentences = list(parse_conllu(read_raw_lines(file), str(file)))
    tags, relations = (sorted({x for s in sentences for x in getattr(s, name)}) for name in ("tags", "relations"))
    gold, trees, tagged, lines = [], [], [], []
    for sentence in sentences:
        words = len(sentence.words)
        scores = random.normal(size=(words, words + 1))
        scores[range(words), sentence.heads] += 2
        heads = maximum_spanning_tree(scores)
        its_relations = partly_wrong(sentence.relations, relations, random)
        tagged.append(partly_wrong(sentence.tags, tags, random))
        gold.append(list(zip(sentence.heads, sentence.relations, strict=True)))
        trees.append(list(zip(heads, its_relations, strict=True)))
        lines += [*sentence.filled({UPOS: tagged[-1], HEAD: heads, DEPREL: its_relations}), ""]
    system.write_text("\n".join([*lines, ""]), encoding="utf-8")
    theirs = scorer.evaluate(scorer.load_conllu_file(str(file)), scorer.load_conllu_file(str(system)))
    uas, las = attachment_scores(gold, trees)
    ours = {"UAS": uas, "LAS": las, "UPOS": accuracy([s.tags for s in sentences], tagged)}
    return max(abs(100 * theirs[name].f1 - value) for name, value in ours.items())


def main(scorer_file, treebanks):
    spec = spec_from_file_location("scorer", scorer_file)
    scorer = module_from_spec(spec)
    spec.loader.exec_module(scorer)
    random = np.random.default_rng(0)
    found = []
    with TemporaryDirectory() as folder:
        for file in sorted(Path(treebanks).rglob("*-test.conllu")):
            found.append(difference(scorer, file, Path(folder, "system.conllu"), random))
            print(f"{file.name}: {found[-1]:.1e}")
    return 0 if found and max(found) <= 1e-9 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
