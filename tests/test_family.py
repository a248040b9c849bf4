"""Families of languages: the file, alpha sampling, freezing, budgets, resuming, what a run leaves behind."""

import dataclasses
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from interrupted import interrupted_at
from safetensors.torch import load_file
from scipy.stats import chisquare
from test_training import killed_and_resumed
from transformers import AutoModelForMaskedLM, AutoTokenizer

from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.corpus.sampling import sampling_shares
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import score_model
from langlift.reports.charts import write_learning_curves
from langlift.training import family as training
from langlift.training.encoding import EncodedRow, StoredRows
from langlift.training.family import adapt_family, encoder_parameters
from langlift.training.family_file import read_family
from langlift.training.recipes import FamilyRecipe
from langlift.training.trainer import LiftTrainer
from langlift.training.training_data import TrainingData
from langlift.vocab.tokenizer_training import train_unigram_tokenizer

SETTINGS = """
alpha: 0.5
steps: 8
batch_size: 4
accumulation: 2
learning_rate: 3e-3
freeze_share: 0.4
validate_every: 3
save_steps: 3
max_tokens: 48
reduction_factor: 4
precision: float32
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, maltese_lines) -> Path:
    """Text of three "languages": 300 lines, 60 in two files, 40; all Maltese."""
    folder = tmp_path_factory.mktemp("family")
    for name, first, count in (("large", 0, 300), ("middle", 300, 40), ("more", 340, 20), ("small", 360, 40)):
        lines = maltese_lines[first : first + count]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def file(folder, tiny_xlm_roberta) -> Path:
    path = folder / "semitic.yaml"
    path.write_text(
        f"name: Test family\nbase: {tiny_xlm_roberta}\nlanguages:\n"
        f"  mlt: large.txt\n  arb_Arab: [middle.txt, more.txt]\n  Hausa: small.txt\n{SETTINGS}"
    )
    return path


def run(file, out, resume=False, **sources):
    return adapt_family(*read_family(file, **sources)[:1], out, read_family(file, **sources)[1], resume)


@pytest.fixture(scope="module")
def whole(file, tmp_path_factory):
    """A finished run of the whole model: its result and folder."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return run(file, out), out


def test_the_file_gives_languages_data_and_settings(file, folder, tiny_xlm_roberta, monkeypatch):
    family, recipe = read_family(file)
    assert family.name == "Test family" and family.base.name == str(tiny_xlm_roberta)
    assert {str(language): [path.name for path in paths] for language, paths in family.data.items()} == {
        "mlt_Latn": ["large.txt"], "arb_Arab": ["middle.txt", "more.txt"], "hau_Latn": ["small.txt"],
    }  # fmt: skip
    assert (recipe.alpha, recipe.steps, recipe.learning_rate, recipe.method) == (0.5, 8, 3e-3, "full")
    _, other = read_family(file, assignments=["alpha=0.1"], flags={"steps": 5, "method": "lora"})
    assert (other.alpha, other.steps, other.method) == (0.1, 5, "lora")
    assert FamilyRecipe().batch_size * FamilyRecipe().accumulation == 200, "as published"
    budget = folder / "budget.yaml"
    budget.write_text("adapt-family:\n  tokens: 500\n")
    for sources, expected in (
        ({}, (8, 0)),
        ({"config": budget}, (8, 0)),  # the file's steps come after it
        ({"assignments": ["tokens=70"]}, (8, 70)),
        ({"assignments": ["tokens=70"], "flags": {"steps": 5}}, (5, 0)),
        ({"assignments": ["steps=5"], "flags": {"tokens": 70}}, (5, 70)),
    ):
        _, other = read_family(file, **sources)
        assert (other.steps, other.tokens) == expected, "the later of steps and tokens holds"

    monkeypatch.setenv("TEXTS", str(folder))
    elsewhere = folder / "elsewhere" / "f.yaml"
    elsewhere.parent.mkdir(exist_ok=True)
    elsewhere.write_text(
        "languages:\n  mlt: ${TEXTS}/large.txt\n  hau: $TEXTS/small.txt\nmethod: lora\nlora: {seed: 9}"
    )
    family, recipe = read_family(elsewhere, base="langlift-nano")
    assert family.name == "f" and [p.name for ps in family.data.values() for p in ps] == ["large.txt", "small.txt"]
    assert recipe.seed == 9, "a block of settings for one method"


def test_every_mistake_is_told_at_once_with_its_line(langlift, folder, monkeypatch, tmp_path):
    monkeypatch.delenv("NOWHERE", raising=False)
    path = folder / "wrong.yaml"
    path.write_text(
        "languages:\n"
        "  mlt: [large.txt, missing.txt]\n"
        "  mt: small.txt\n"
        "  xqz: small.txt\n"
        "  hau: $NOWHERE/x.txt\n"
        "  swh: {data: x.txt}\n"
        "  yor: large.txt\n"
        "  zul: ~nobody-of-this-name/x.txt\n"
        "alpha: 3\n"
        "stepz: 3\n"
        "alpha: 1\n"
        "steps: 3\n"
        "tokens: 3\n"
    )
    result = langlift("adapt-family", path, "--out", tmp_path / "out", "--json")
    assert result.code == 2 and not (tmp_path / "out").exists()
    told = result.error["error"]
    for expected in (
        f"{path}:2: {folder / 'missing.txt'}: no such file or folder",
        f"{path}:3: Maltese (mlt_Latn) is given twice",
        f"{path}:4: unknown language 'xqz'",
        f"{path}:5: the environment variable NOWHERE is not set",
        f"{path}:6: data must be one text",
        f"{path}:7: {folder / 'large.txt'} is given twice (line 2)",
        f"{path}:8: {folder / '~nobody-of-this-name/x.txt'}: no such file or folder",
        f"{path}:9: alpha must be at most 1, not 3.0",
        f"{path}:10: unknown setting 'stepz' (did you mean steps?)",
        f"{path}:11: the setting 'alpha' is given twice",
        f"{path}: steps and tokens are both given",
        f"{path}: no base (or give --base)",
    ):
        assert expected in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must contain 'key: value' lines"),
        ("- a\n", "must contain 'key: value' lines"),
        ("base: m\n", "no languages"),
        ("base: m\nlanguages: [mlt]\n", ":2: languages must contain 'LANG: FILE' lines"),
        ("base: m\nlanguages:\n  mlt: []\n", ":3: no data"),
        ("base: [m]\nlanguages:\n  mlt: f.yaml\n", ":1: base must be one text"),
        ("base: m\nlanguages: {mlt: f.yaml}\nvocabulary: none-here\n", "none-here: no such vocabulary folder"),
        ("base: m\n  languages:\n", ":2: not valid YAML"),
        ("base: m\nlanguages: {mlt: f.yaml}\nobjective: targeted\ntargeted_as_published: true\n", "only for one"),
    ],
)
def test_a_file_that_is_no_family_is_refused(tmp_path, text, message):
    path = tmp_path / "f.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as refusal:
        read_family(path)
    assert message in refusal.value.message and str(path) in refusal.value.message + str(path) * (
        "only" in message
    )


def test_damaged_data_of_all_languages_is_told_before_anything_is_written(tiny_xlm_roberta, folder, tmp_path):
    (folder / "short.txt").write_text("One line.\n")
    (folder / "bytes.txt").write_bytes(b"good\nb\xffd\n")
    path = folder / "damaged.yaml"
    path.write_text(f"base: {tiny_xlm_roberta}\nlanguages: {{mlt: short.txt, hau: bytes.txt, swh: large.txt}}\n")
    with pytest.raises(InputError) as refusal:
        run(path, tmp_path / "out")
    assert "short.txt: too little text" in refusal.value.message
    assert "bytes.txt:2: not valid UTF-8" in refusal.value.message
    assert not (tmp_path / "out").exists()


def numbered_rows(sizes, alpha, lengths=(3, 5, 7)):
    rows = StoredRows(largest_id=0)
    for size, length in zip(sizes, lengths, strict=True):
        rows.extend([EncodedRow(np.zeros(length, dtype=np.int64))] * size)
    shares = sampling_shares(sizes, alpha)
    return TrainingData(rows, list(sizes), dict(zip("abc", shares, strict=True)), {}, weighted=True)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 1.0])
def test_languages_come_in_the_shares_of_the_formula(alpha):
    sizes, recipe = (4000, 300, 20), FamilyRecipe(seed=3)
    rows = numbered_rows(sizes, alpha)
    rounds = list(training._order(rows, recipe, 5 * 4320))
    numbers = np.concatenate(rounds)
    assert len(numbers) == 5 * 4320
    bounds = np.cumsum((0, *sizes))
    weights = np.array(sizes, dtype=float) ** alpha
    for part in (numbers, numbers[:2000], numbers[5000:7000]):  # the order within a round is random
        assert chisquare(np.histogram(part, bounds)[0], weights / weights.sum() * len(part)).pvalue > 0.001
    whole = Counter(np.concatenate(rounds[:4]).tolist())
    for first, after in pairwise(bounds.tolist()):
        times = [whole[number] for number in range(first, after)]
        assert max(times) - min(times) <= 1, "every language goes through its own epochs"
    other = np.concatenate(list(training._order(rows, FamilyRecipe(seed=4), len(numbers))))
    assert not np.array_equal(numbers, other), "another seed, another order"


@pytest.mark.parametrize("tokens", [1, 79, 5000, 40_000])
def test_a_budget_in_tokens_is_the_fewest_steps_that_hold_it(tokens):
    rows = numbered_rows((400, 60, 20), 0.3)
    recipe = FamilyRecipe(tokens=tokens, batch_size=4, accumulation=2)
    steps = training._steps(rows, recipe)
    assert sum(training._tokens_seen(rows, recipe, steps)) >= tokens
    assert steps == 1 or sum(training._tokens_seen(rows, recipe, steps - 1)) < tokens


def test_a_run_trains_the_whole_model_and_tells_of_every_language(whole, file):
    result, out = whole
    assert {path.name for path in out.iterdir()} - {"generation_config.json"} == {
        "README.md", "config.json", "metrics.json", "model.safetensors", "progress.jsonl", "recipe.yaml",
        "tokenizer.json", "tokenizer_config.json", "versions.json",
    }  # fmt: skip
    assert AutoModelForMaskedLM.from_pretrained(out).config.vocab_size == len(AutoTokenizer.from_pretrained(out))
    assert list(result.languages) == ["mlt_Latn", "arb_Arab", "hau_Latn"]
    ones = list(result.languages.values())
    assert [ones[0].name, ones[2].name] == ["Maltese", "Hausa"]
    assert result.validation_loss == pytest.approx(np.mean([one.validation_loss for one in ones]))
    assert result.validation_loss_before == pytest.approx(np.mean([one.validation_loss_before for one in ones]))
    assert all(one.validation_loss < one.validation_loss_before for one in ones)
    assert sum(one.tokens for one in ones) == result.tokens > 0
    assert [one.share for one in ones] == pytest.approx(
        sampling_shares([one.examples for one in ones], 0.5), abs=1e-6
    )
    assert result.characters == pytest.approx(sum(one.characters for one in ones))
    assert 1 < result.characters / result.tokens < 6
    records = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    curves = [record for record in records if "validation_loss" in record]
    assert [record["step"] for record in curves] == [0, 2, 4, 6, 8]
    best = min(curves, key=lambda record: record["validation_loss"])
    assert (best["step"], best["validation_loss"]) == (result.best_step, result.validation_loss)
    assert best["validation_loss_hau_Latn"] == result.languages["hau_Latn"].validation_loss
    assert run(file, out, resume=True) == result, "a finished run is read back"
    family = yaml.safe_load(file.read_text())
    family["languages"] = dict(reversed(family["languages"].items()))
    turned = file.with_name("turned.yaml")
    turned.write_text(yaml.safe_dump(family, sort_keys=False))
    with pytest.raises(InputError, match="started with languages"):
        run(turned, out, resume=True)
    recipe = yaml.safe_load((out / "recipe.yaml").read_text())
    assert [one["data"] for one in recipe["inputs"]["languages"]["arb_Arab"]] == ["middle.txt", "more.txt"]
    assert "| Hausa (`hau_Latn`) |" in (out / "README.md").read_text()


def test_a_run_interrupted_while_frozen_or_later_ends_in_the_same_model(whole, file, tmp_path):
    for stop in (4, 6):  # frozen are steps 1 to 3; checkpoints at 3 and 6
        out = tmp_path / str(stop)
        with interrupted_at(stop):
            run(file, out)
        again = run(file, out, resume=True)
        ours, theirs = load_file(out / "model.safetensors"), load_file(whole[1] / "model.safetensors")
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
        same = dict.fromkeys(("run", "seconds", "tokens_per_second", "peak_memory_bytes"), 0)
        assert dataclasses.replace(again, **same) == dataclasses.replace(whole[0], **same)


@pytest.mark.slow
def test_a_run_killed_and_resumed_ends_in_the_same_model_bit_for_bit(file, tmp_path, langlift):
    def arguments(out):
        return ["adapt-family", str(file), "--out", str(out), "--steps", "40", "--save-steps", "2"]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(file, whole, flags={"steps": 40, "save_steps": 2})
    killed_and_resumed(langlift, arguments(killed), killed, "checkpoint-2")
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()


def test_the_encoder_is_frozen_for_the_first_steps_and_no_longer(base, folder, tmp_path, monkeypatch):
    """On every architecture, with accumulation: only embeddings and head move at first, then everything does."""
    path = folder / "frozen.yaml"
    path.write_text(f"base: {base}\nlanguages: {{mlt: middle.txt, hau: small.txt}}\n{SETTINGS}")
    seen = {}
    evaluate = LiftTrainer.evaluate

    def watched(self, *arguments, **keywords):
        assert all(p.requires_grad for p in self.model.parameters())
        seen[self.state.global_step] = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        encoder.update(named(self.model))
        return evaluate(self, *arguments, **keywords)

    def named(model):
        ids = {id(p) for p in encoder_parameters(model)}
        return [n for n, p in model.named_parameters() if id(p) in ids]

    encoder: set[str] = set()
    monkeypatch.setattr(LiftTrainer, "evaluate", watched)
    run(path, tmp_path / "out", flags={"steps": 4}, assignments=["freeze_share=0.5", "validate_every=2"])
    moved = [
        {n for n in seen[0] if not torch.equal(seen[a][n], seen[b][n])} for a, b in ((0, 2), (2, 4))
    ]  # fmt: skip
    model = load_masked_model(str(base))
    inside = f"{model.base_model_prefix}.{backbone_of(model).embeddings}."
    rest = {n for n in seen[0] if n.startswith(inside) or not n.startswith(f"{model.base_model_prefix}.")}
    assert encoder == seen[0].keys() - rest and encoder
    assert not moved[0] & encoder
    assert any("embedding" in n for n in moved[0]) and any(
        not n.startswith(model.base_model_prefix) for n in moved[0]
    )
    assert len(moved[1] & encoder) > 0.8 * len(encoder)


@pytest.mark.parametrize("method", ["seq_bn_inv", "lora", "mosa"])
def test_one_adapter_for_the_family(file, tiny_xlm_roberta, tmp_path, method):
    result = run(file, tmp_path / "out", flags={"method": method, "learning_rate": 3e-2, "steps": 24})
    assert result.validation_loss < result.validation_loss_before
    assert result.flops > 0 and sum(one.tokens for one in result.languages.values()) == result.tokens
    model = load_masked_model(str(tiny_xlm_roberta))
    load_adapter(model, tmp_path / "out", "again")
    assert "--adapter THIS_FOLDER" in (tmp_path / "out" / "README.md").read_text()
    sentences = (file.parent / "small.txt").read_text().splitlines()[:2]
    score = score_model(str(tiny_xlm_roberta), sentences, tmp_path / "out")
    assert score.pseudo_perplexity < score_model(str(tiny_xlm_roberta), sentences).pseudo_perplexity


def test_the_base_gets_the_familys_vocabulary_first(file, folder, maltese_lines, tmp_path, tiny_xlm_roberta):
    vocabulary = tmp_path / "vocabulary"
    train_unigram_tokenizer(maltese_lines, 400, model_max_length=64).save_pretrained(vocabulary)
    out = tmp_path / "out"
    sources = {"vocabulary": str(vocabulary), "assignments": ["vocabulary_init=mean"], "flags": {"steps": 2}}
    result = run(file, out, **sources)
    assert result.vocabulary_size == 400 and result.base == str(out / "base")
    assert load_masked_model(str(out)).config.vocab_size == 400
    assert len(load_tokenizer(str(out))) == 400
    assert load_masked_model(str(out / "base")).config.num_hidden_layers == 2
    inputs = yaml.safe_load((out / "recipe.yaml").read_text())["inputs"]
    assert inputs["base"] == str(tiny_xlm_roberta) and len(inputs["vocabulary_sha256"]) == 64
    assert run(file, out, resume=True, **sources) == result
    with pytest.raises(InputError, match="vocabulary"):
        run(file, out, resume=True, flags={"steps": 2}, assignments=["vocabulary_init=mean"])


def test_the_command_line_prints_languages_and_draws_curves(langlift, file, tmp_path):
    out = tmp_path / "out"
    arguments = ["adapt-family", file, "--out", out, "--tokens", 300, "--alpha", 0, "--method", "seq_bn"]
    result = langlift(*arguments)
    assert result.code == 0, result.err
    assert "Maltese (mlt_Latn)" in result.out and "33.3%" in result.out
    assert f"--adapter {out}" in result.err and "300 tokens are 2 steps" in result.err
    picture = (out / "learning_curves.svg").read_text()
    assert picture.startswith("<svg") and all(name in picture for name in ("mean of the languages", "Hausa"))
    again = langlift(*arguments, "--resume", "--json")
    assert again.json["languages"]["hau_Latn"]["share"] == pytest.approx(1 / 3, abs=1e-6)
    assert again.json["languages"]["hau_Latn"]["tokens"] > 0
    causal = langlift("adapt-family", file, "--out", tmp_path / "causal", "--objective", "causal")
    assert causal.code == 2 and "objective" in causal.err
    both = langlift("adapt-family", file, "--out", out, "--tokens", 300, "--steps", 3)
    assert both.code == 2 and "both given" in both.err


def test_languages_of_one_name_have_their_own_curves(tmp_path):
    record = {"step": 2, "validation_loss": 3.0, "validation_loss_srp_Latn": 2.0, "validation_loss_srp_Cyrl": 4.0}
    (tmp_path / "progress.jsonl").write_text(json.dumps(record | {"validation_loss_slv_Latn": 3.0}) + "\n")
    names = {"srp_Latn": "Serbian", "srp_Cyrl": "Serbian", "slv_Latn": "Slovenian"}
    picture = write_learning_curves(tmp_path, names).read_text()
    assert all(f">{name}<" in picture for name in ("Serbian (srp_Latn)", "Serbian (srp_Cyrl)", "Slovenian"))


@pytest.mark.data
def test_the_example_families_name_data_that_is_there(data_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LANGLIFT_DATA", str(data_folder))
    monkeypatch.setenv("CORPORA", str(tmp_path))
    examples = Path(__file__).parents[1] / "docs" / "examples"
    for language in ("sme_Latn", "myv_Cyrl", "mdf_Cyrl", "kpv_Cyrl", "fin_Latn", "est_Latn", "hun_Latn"):
        assert (data_folder / "corpus" / f"{language}.txt").is_file()
        (tmp_path / language).write_text("Made by docs/reproduce_families.sh.")
    for name in ("bantu", "uralic"):
        family, _ = read_family(examples / f"{name}.yaml")
        assert len(family.data) >= 4 and family.base.name == "langlift-nano"
