"""Dependency parsing: the biaffine head is the paper's, batches agree, and a run learns, scores and predicts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import leaky_relu

from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.corpus.text_files import read_raw_lines
from langlift.evaluation.metrics import attachment_scores
from langlift.heads.biaffine import NO_ARC, BiaffineHead, summed_parsing_loss
from langlift.tasks.conllu import parse_conllu
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.tasks.task import TASKS

DEPENDENCIES = TASKS["dependencies"].learner
RECIPE = TaskRecipe(
    method="full", epochs=10, learning_rate=3e-3, batch_size=8, seeds=(1,), precision="float32"
)  # as predict computes: a tie must not fall otherwise


def sentences(path, trees=True):
    return list(parse_conllu(read_raw_lines(path), str(path), trees))


def gold(treebank):
    return sentences(treebank / "mt_small-ud-test.conllu")


def tree(sentence):
    return list(zip(sentence.heads, sentence.relations, strict=True))


@pytest.fixture(scope="module")
def run(tiny_bert: Path, treebank: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dependencies-run") / "run"
    train_task("dependencies", str(tiny_bert), treebank, out, RECIPE)
    return out


def test_a_run_learns_the_grammar_and_beats_the_baseline(run: Path, treebank: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metric"] == "las"
    assert metrics["mean"] > 85
    uas = metrics["further"]["uas"]
    assert metrics["mean"] <= uas["mean"] <= 100 and uas["seeds"] == [uas["mean"]]
    # By hand: the heads of a plain sentence are 2 3 0 5 3 3. Of the chain 2 3 4 5 6 0 three are right, of
    # 0 1 2 3 4 5 none. With an adverb, in 4 of 12 sentences, they are 4 3 4 0 6 4 4: three of seven.
    assert metrics["baseline"]["right_attach_uas"] == pytest.approx(100 * (8 * 3 + 4 * 3) / (8 * 6 + 4 * 7))
    assert 0 < metrics["baseline"]["right_attach"] <= metrics["baseline"]["right_attach_uas"]
    seed = run / "seed-1"
    system = sentences(seed / "test_predictions.conllu")
    scores = attachment_scores([tree(s) for s in gold(treebank)], [tree(s) for s in system])
    assert scores == (uas["mean"], metrics["mean"])
    for its_gold, its_system in zip(gold(treebank), system, strict=True):
        filled = its_gold.filled({6: its_system.heads, 7: its_system.relations})
        assert filled == its_system.lines, "multiword tokens, empty nodes and enhanced columns stay"
        assert [r == "root" for r in its_system.relations] == [h == 0 for h in its_system.heads]
    row = json.loads((seed / "test_predictions.jsonl").read_text().splitlines()[0])
    assert [tuple(arc) for arc in row["gold"]] == tree(gold(treebank)[0])
    assert [tuple(arc) for arc in row["predicted"]] == tree(system[0])
    metrics = json.loads((seed / "metrics.json").read_text())
    assert metrics["test_uas"] == uas["mean"] and metrics["dev_las"] > 85
    curve = [json.loads(line) for line in (seed / "progress.jsonl").read_text().splitlines()]
    assert len([r for r in curve if {"validation_las", "validation_uas"} <= r.keys()]) == RECIPE.epochs + 1


def test_predict_writes_trees(run: Path, treebank: Path, tmp_path: Path, langlift):
    text, out = treebank / "mt_small-ud-test.conllu", tmp_path / "trees.conllu"
    result = langlift("predict", run, "--text", text, "--out", out, "--json")
    assert result.code == 0, result.err
    assert out.read_bytes() == (run / "seed-1" / "test_predictions.conllu").read_bytes()
    assert result.json["counts"]["root"] == 12
    # What stands in HEAD beforehand does not matter, not even where it is no tree.
    bare = tmp_path / "bare.conllu"
    bare.write_text(
        "\n".join(line for s in gold(treebank) for line in [*s.filled({6: [1] * 9}), ""]) + "\n", "utf-8"
    )
    assert langlift("predict", run, "--text", bare, "--out", tmp_path / "again.conllu").code == 0
    assert (tmp_path / "again.conllu").read_bytes() == out.read_bytes()
    plain = tmp_path / "plain.txt"
    plain.write_text("Illum il-kelb jara.\nIva\n" + "il-kelb jara Illum " * 40 + "\n", encoding="utf-8")
    assert langlift("predict", run, "--text", plain, "--out", out).code == 0
    first, second, long = sentences(out)
    assert first.words == ["Illum", "il-kelb", "jara", "."]
    assert tree(second) == [(0, "root")]
    assert len(long.words) == 120 and len(long.heads) == 120
    assert langlift("predict", run, "--text", plain, "--out", tmp_path / "trees.jsonl").code == 0
    for line, sentence in zip(
        (tmp_path / "trees.jsonl").read_text().splitlines(), (first, second, long), strict=True
    ):
        found = json.loads(line)
        assert list(zip(found["heads"], found["relations"], strict=True)) == tree(sentence)
        shares = found["probabilities"]
        # Written with six places, so an unlikely arc of a long sentence can read 0.
        assert len(shares) == len(sentence.words) and all(0 <= share <= 1 for share in shares) and max(shares) > 0
    damaged = tmp_path / "damaged.conllu"
    damaged.write_text("1\tIva\n", encoding="utf-8")
    refused = langlift("predict", run, "--text", damaged, "--out", out, "--json")
    assert refused.code == 2
    assert refused.error["error"] == f"{damaged}:1: sentence 1: 2 columns instead of 10"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\t0\troot", "\t99\troot", "HEAD 99, but there are 6 words"),
        ("\t0\troot", "\t5\troot", "the HEADs form a cycle (3 -> 5 -> 3)"),
        ("\t0\troot", "\t_\troot", "HEAD '_' is not a number"),
        ("3\t", "4\t", "the ID '4' is not valid here"),
    ],
)
def test_damaged_trees_are_refused(treebank: Path, tiny_bert: Path, tmp_path: Path, langlift, old, new, said):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for split in ("train", "dev", "test"):
        text = (treebank / f"mt_small-ud-{split}.conllu").read_text(encoding="utf-8").split("\n\n")
        if split == "test":
            lines = text[1].split("\n")
            place = next(i for i, line in enumerate(lines) if "\tVERB\t" in line)
            lines[place] = lines[place].replace(old, new, 1)
            first = text[0].count("\n") + 3
            text[1] = "\n".join(lines)
        (folder / f"{split}.conllu").write_text("\n\n".join(text), encoding="utf-8")
    out = tmp_path / "never"
    result = langlift("task", "dependencies", "--base", tiny_bert, "--data", folder, "--out", out, "--json")
    assert result.code == 2 and not out.exists()
    assert result.error["error"] == f"{folder / 'test.conllu'}:{first + place}: sentence 2 (test-1): {said}"


def test_the_head_is_the_papers_formula():
    """Equation 6 for arcs and equation 3 for relations, word by word and arc by arc."""
    torch.manual_seed(0)
    head = BiaffineHead(8, 5).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    vectors = [torch.randn(count, 8) for count in (3, 1, 4)]
    sizes = torch.tensor([3, 1, 4])
    sentence = torch.repeat_interleave(torch.arange(3), sizes)
    place = torch.cat([torch.arange(1, n + 1) for n in (3, 1, 4)])
    batch = {"sizes": sizes, "sentence": sentence, "place": place}
    gold_heads = torch.tensor([2, 0, 2, 0, 4, 1, 1, 0])
    placed = head.placed(torch.cat(vectors), batch)
    arcs, relations = head.arcs(placed, batch), head.relations(placed, batch, gold_heads)

    def perceptron(linear, vector):
        return leaky_relu(linear.weight @ vector + linear.bias, 0.1)

    for number, (of, at) in enumerate(zip(sentence.tolist(), place.tolist(), strict=True)):
        nodes = [head.root, *vectors[of]]
        dependent = perceptron(head.arc_dependent, nodes[at])
        for other in range(arcs.shape[1]):
            if other == at or other >= len(nodes):
                assert arcs[number, other] == NO_ARC
                continue
            of_head = perceptron(head.arc_head, nodes[other])
            # nn.Linear's weight is [out, in]: row k of it meets entry k of the head.
            expected = of_head @ head.arc.weight @ dependent + head.arc.bias @ of_head
            torch.testing.assert_close(arcs[number, other], expected, rtol=1e-4, atol=1e-5)
        dependent = perceptron(head.relation_dependent, nodes[at])
        of_head = perceptron(head.relation_head, nodes[gold_heads[number]])
        for label in range(5):
            expected = dependent @ head.relation[label] @ of_head
            expected = expected + head.relation_linear.weight[label] @ torch.cat([dependent, of_head])
            expected = expected + head.relation_linear.bias[label]
            torch.testing.assert_close(relations[number, label], expected, rtol=1e-4, atol=1e-5)


def prepared(base, pooling, path, max_tokens=64):
    """A model that answers alike however it is made, and its encoder."""
    model = load_masked_model(str(base), head_needed=False)
    settings = {"pooling": pooling, "decoding": "mst"}
    torch.manual_seed(1)
    parser = DEPENDENCIES.new_model(model, 7, settings).eval()
    return parser, DEPENDENCIES.encoder(load_tokenizer(str(base)), model, max_tokens, settings, path)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_flat_batches_padded_ones_and_single_sentences_agree(base: Path, treebank: Path, pooling: str):
    """On every architecture; the tokens that stand for a word are found by hand."""
    split = DEPENDENCIES.read(str(treebank), None, strict=False)
    chosen = split.test.chosen(range(7))
    totals, answers = [], []
    for path in ("fast", "naive"):
        model, encoder = prepared(base, pooling, path)
        examples = encoder.examples(chosen.inputs, split.labels, chosen.gold)
        batch = encoder.collate(examples)
        total, items = summed_parsing_loss(model(batch), batch)
        assert items == sum(len(s.words) for s in chosen.inputs)
        alone = [summed_parsing_loss(model(b), b)[0] for b in (encoder.collate([e]) for e in examples)]
        torch.testing.assert_close(total, sum(alone), rtol=1e-4, atol=1e-3)
        totals.append(total)
        found = DEPENDENCIES.predict(model, encoder, chosen.inputs, split.labels)
        answers.append([(p.heads, p.relations) for p in found])
    torch.testing.assert_close(*totals, rtol=1e-4, atol=1e-3)
    assert answers[0] == answers[1]


def test_mean_pooling_takes_all_tokens_of_a_word(tiny_bert: Path, treebank: Path):
    split = DEPENDENCIES.read(str(treebank), None, strict=False)
    chosen = split.test.chosen([0])
    tokenizer = load_tokenizer(str(tiny_bert))
    for pooling in ("first", "mean"):
        model, encoder = prepared(tiny_bert, pooling, "naive")
        (example,) = encoder.examples(chosen.inputs, split.labels)
        ids = torch.from_numpy(example["input_ids"])[None]
        hidden = model.body(input_ids=ids).last_hidden_state[0]
        placed = model.word_vectors(encoder.collate([example]))[0]
        at = 1
        for number, word in enumerate(chosen.inputs[0].words):
            count = len(tokenizer(word, add_special_tokens=False)["input_ids"])
            expected = hidden[at] if pooling == "first" else hidden[at : at + count].mean(dim=0)
            torch.testing.assert_close(placed[number + 1], expected, rtol=1e-4, atol=1e-5)
            at += count
        torch.testing.assert_close(placed[0], model.head.root)


def test_a_long_sentence_is_encoded_in_windows_and_parsed_as_a_whole(tiny_bert: Path, treebank: Path):
    split = DEPENDENCIES.read(str(treebank), None, strict=False)
    model, encoder = prepared(tiny_bert, "first", "fast", max_tokens=8)
    examples = encoder.examples(split.test.inputs, split.labels, split.test.gold)
    assert max(len(example["windows"]) for example in examples) > 1
    batch = encoder.collate(examples)
    arcs, relations = model(batch)
    assert len(arcs) == len(relations) == sum(len(s.words) for s in split.test.inputs)
    assert (arcs > NO_ARC / 2).sum() == sum(len(s.words) ** 2 for s in split.test.inputs)
    order = np.lexsort((batch["place"], batch["sentence"]))
    heads = [head for sentence in split.test.inputs for head in sentence.heads]
    assert batch["heads"].numpy()[order].tolist() == heads
    relations_in_order = [r for sentence in split.test.inputs for r in sentence.relations]
    assert [split.labels[n] for n in batch["labels"].numpy()[order]] == relations_in_order


@pytest.mark.parametrize("changes", [{"method": "mosa", "experts": 2}, {"decoding": "greedy", "pooling": "mean"}])
def test_other_ways_to_train_and_decode(treebank: Path, tiny_xlm_roberta: Path, tmp_path: Path, changes: dict):
    recipe = TaskRecipe(epochs=2, learning_rate=1e-2, seeds=(1,), reduction_factor=4.0, **changes)
    result = train_task("dependencies", str(tiny_xlm_roberta), treebank, tmp_path / "run", recipe)
    assert 0 <= result.mean <= result.further["uas"]["mean"] <= 100
    head = json.loads((tmp_path / "run/seed-1/head.json").read_text())
    assert (head["decoding"], head["pooling"]) == (recipe.decoding, changes.get("pooling", "first"))
    assert len(sentences(tmp_path / "run/seed-1/test_predictions.conllu")) == 12, "each a tree with one root"


def test_a_relation_unknown_in_training_counts_by_its_universal_part(treebank: Path, tmp_path: Path):
    folder = tmp_path / "other"
    folder.mkdir()
    text = (treebank / "mt_small-ud-test.conllu").read_text(encoding="utf-8")
    text = text.replace("\tnsubj\t", "\tnsubj:new\t", 3).replace("\tdet\t", "\tamod\t", 2)
    (folder / "test.conllu").write_text(text, encoding="utf-8")
    data = DEPENDENCIES.read(str(folder), [str(treebank)], strict=False)
    assert data.repaired == {"test_of_unknown_relation": 2}
    assert data.labels == ["advmod", "det", "nsubj", "obj", "obj:dir", "punct", "root"]
