"""Several data sets in one adapter: shares, order, validation, resuming; and the MLM head that trains along."""

import dataclasses
import json
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import yaml
from conftest import MALTESE
from graph_rows import sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupted import interrupted_at
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForMaskedLM

from langlift.adapters.composition import attached
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.backbones.registry import BACKBONES, backbone_of, head_parameters
from langlift.checkpoints.adapter_folder import MLM_HEAD, load_adapter
from langlift.config.loading import resolve
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import score_model
from langlift.graph.recipe import GraphRecipe
from langlift.graph.source_files import Edge
from langlift.languages import find_language
from langlift.tasks.runner import name_of
from langlift.training.adaptation import AdaptResult, adapt
from langlift.training.examples import Rounds, Schedule
from langlift.training.language_model_loss import validation_losses
from langlift.training.recipes import AdaptRecipe
from langlift.training.training_data import encode_sources, read_sources

LANGUAGE = find_language("mlt")
QUICK = AdaptRecipe(
    steps=8, batch_size=4, learning_rate=5e-3, validate_every=2, save_steps=2, max_tokens=48, reduction_factor=4,
    validation_examples=16, precision="float32",
)  # fmt: skip
quick = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Path:
    """A built graph folder: 60, 10 and 10 sentences."""
    folder = tmp_path_factory.mktemp("data") / "graph"
    folder.mkdir()
    for split, count in (("train", 60), ("dev", 10), ("test", 10)):
        edges = [Edge(1, f"{split} qattus {i}", "mt", "IsA", f"annimal {i % 7}", "mt", 1.0) for i in range(count)]
        rows = [sentence(edge, "is a type of") for edge in edges]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_language_of_running_text_is_checked_not_that_of_a_graph(
    tiny_xlm_roberta: Path, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = mock.Mock()
    monkeypatch.setattr("langlift.training.adaptation.warn_of_other_language", check)
    recipe = dataclasses.replace(QUICK, steps=1)
    adapt(LANGUAGE, str(tiny_xlm_roberta), [graph, MALTESE], tmp_path / "both", recipe)
    adapt(LANGUAGE, str(tiny_xlm_roberta), graph, tmp_path / "graph", recipe)
    text, nothing = (call.args[1] for call in check.call_args_list)
    assert text == load_text_data(MALTESE).train and not nothing


def numbered(index, epoch):
    return index, epoch


@quick
@given(
    parts=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=4),
    seed=st.integers(0, 2**32 - 1),
    start=st.integers(0, 1500),
)
def test_rounds_hold_the_shares_and_every_data_set_its_own_epochs(parts, seed, start):
    sizes, weights = zip(*parts, strict=True)
    rounds = Rounds(sizes, weights, seed)
    total = 3 * rounds.count
    schedule = Schedule(numbered, rounds, total)
    seen = [schedule[p] for p in range(total)]
    bounds = np.cumsum([0, *sizes])
    for which, weight in enumerate(weights):
        mine = [(i - bounds[which], e) for i, e in seen if bounds[which] <= i < bounds[which + 1]]
        assert len(mine) / total == pytest.approx(weight / sum(weights), abs=0.002)
        times = Counter(i for i, _ in mine)
        assert max(times.values()) - min(times[i] for i in range(sizes[which])) <= 1, "nobody is ahead by two"
        assert len(set(mine)) == len(mine), "an example comes once in an epoch"
        assert {e for _, e in mine} == set(range(max(e for _, e in mine) + 1))
    resumed = Schedule(numbered, Rounds(sizes, weights, seed), total)
    assert [resumed[p] for p in range(start, min(start + 50, total))] == seen[start : start + 50]


def test_each_part_of_a_round_is_mixed():
    rounds = Rounds([900, 100], [1, 1], seed=0)
    schedule = Schedule(numbered, rounds, 1000)
    seconds = [schedule[p][0] >= 900 for p in range(1000)]
    for start in range(0, 1000, 100):
        # Half of 100; one standard deviation is 5.
        assert 30 < sum(seconds[start : start + 100]) < 70


class Fixed:
    """A data set of batches that say their own loss."""

    def __init__(self, losses_and_items):
        self.rows = losses_and_items

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"loss": torch.tensor(float(self.rows[i][0])), "items": torch.tensor(self.rows[i][1])}


def test_the_joint_validation_loss_is_that_of_examples_drawn_in_the_shares():
    def loss(model, batch):
        return batch["loss"].sum(), batch["items"].sum()

    collate = torch.utils.data.default_collate
    model = torch.nn.Linear(1, 1)
    many, few = Fixed([(8.0, 4)] * 30 + [(16.0, 4)] * 30), Fixed([(2.0, 2)] * 5)
    measures = validation_losses(loss, {"a": many, "b": few}, collate, 7, {"a": 0.75, "b": 0.25})(model)
    # Three of a (12 each, 4 items) to one of b (2, 2 items).
    assert measures == pytest.approx({"loss": (3 * 12 + 2) / (3 * 4 + 2), "loss_a": 3.0, "loss_b": 1.0})
    assert validation_losses(loss, {"a": many}, collate, 7, {"a": 1.0})(model) == {"loss": measures["loss_a"]}
    once = validation_losses(loss, {"a": many, "b": few}, collate, 7)(model)
    assert once == measures | {"loss": (measures["loss_a"] + measures["loss_b"]) / 2}


def test_text_and_graph_together_are_resumed_exactly(tiny_bert, graph, tmp_path, monkeypatch):
    recipe = dataclasses.replace(QUICK, objective="targeted", train_head=True)
    data, weights = [MALTESE, graph], [3.0, 1.0]

    def run(out, resume=False):
        return adapt(LANGUAGE, str(tiny_bert), data, tmp_path / out, recipe, resume, data_weights=weights)

    whole = run("whole")
    assert whole.validation_losses.keys() == {MALTESE.name, "graph"}
    assert min(whole.validation_losses.values()) <= whole.validation_loss <= max(whole.validation_losses.values())
    assert (whole.objective, whole.left_out, whole.one_argument) == ("targeted", 0, 0)
    inputs = yaml.safe_load((tmp_path / "whole" / "recipe.yaml").read_text())["inputs"]
    assert inputs["data"] == [MALTESE.name, "graph"] and inputs["data_weights"] == weights
    assert [len(sha) for sha in inputs["data_sha256"]] == [64, 64]

    with interrupted_at(6):
        run("broken")
    for changed, said in (([1.0, 1.0], "data_weights"), (None, "data_weights")):
        with pytest.raises(InputError, match=said):
            adapt(LANGUAGE, str(tiny_bert), data, tmp_path / "broken", recipe, True, data_weights=changed)
    with pytest.raises(InputError, match="train_head = True, not False"):
        less = dataclasses.replace(recipe, train_head=False)
        adapt(LANGUAGE, str(tiny_bert), data, tmp_path / "broken", less, True, data_weights=weights)
    resumed = run("broken", resume=True)
    assert resumed.validation_losses == whole.validation_losses
    for name in ("adapter.safetensors", MLM_HEAD):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_validation_loss_is_the_same_measure_for_every_objective(tiny_bert, graph, tmp_path):
    before = set()
    for objective in ("mlm", "full_word", "targeted"):
        recipe = dataclasses.replace(QUICK, objective=objective, steps=1)
        result = adapt(LANGUAGE, str(tiny_bert), [graph], tmp_path / objective, recipe)
        before.add(result.validation_loss_before)
    assert len(before) == 1


@pytest.mark.parametrize("as_published", [False, True])
def test_targeted_keeps_the_weights_that_predict_arguments_best(tiny_bert, graph, tmp_path, as_published):
    # Enough steps to be better than the base with any vocabulary: WordPiece training depends on the process.
    enough = {"steps": 24, "learning_rate": 2e-2, "precision": "float32"}
    recipe = dataclasses.replace(QUICK, objective="targeted", targeted_as_published=as_published, **enough)
    result = adapt(LANGUAGE, str(tiny_bert), [graph, MALTESE], tmp_path / "out", recipe)
    recipe = dataclasses.replace(QUICK, steps=1, precision="float32")
    plain = adapt(LANGUAGE, str(tiny_bert), [graph, MALTESE], tmp_path / "plain", recipe)
    records = [json.loads(line) for line in (tmp_path / "out" / "progress.jsonl").read_text().splitlines()]
    measured = [record for record in records if "validation_loss" in record]
    best = min(measured, key=lambda record: record["validation_targeted_loss"])
    assert best["step"] == result.best_step > 0 and best["validation_loss"] == result.validation_loss
    assert best["validation_targeted_loss"] != best["validation_loss"]
    assert measured[0]["validation_loss"] == plain.validation_loss_before


def test_a_finished_run_is_read_back_with_its_settings_alone(tiny_bert, tmp_path):
    out = tmp_path / "run"
    result = adapt(LANGUAGE, str(tiny_bert), MALTESE, out, QUICK)
    inputs = yaml.safe_load((out / "recipe.yaml").read_text())["inputs"]
    assert inputs["data"] == MALTESE.name and "data_weights" not in inputs
    assert adapt(LANGUAGE, str(tiny_bert), MALTESE, out, QUICK, resume=True) == result
    with pytest.raises(InputError, match="train_head = False, not True"):
        recipe = dataclasses.replace(QUICK, train_head=True)
        adapt(LANGUAGE, str(tiny_bert), MALTESE, out, recipe, resume=True)


def test_by_size_is_as_if_the_data_were_one(tiny_bert, graph):
    tokenizer = load_tokenizer(str(tiny_bert))
    data = encode_sources(read_sources([MALTESE, graph], None, "mlm"), None, tokenizer, 48, QUICK)
    assert sum(data.sizes) == len(data.train) and data.sizes[1] == 60 and not data.weighted
    assert data.shares == {MALTESE.name: data.sizes[0] / len(data.train), "graph": 60 / len(data.train)}
    recipe = dataclasses.replace(QUICK, validation_examples=8)
    few = encode_sources(read_sources([MALTESE, graph], [3, 1], "mlm"), [3, 1], tokenizer, 48, recipe)
    assert {name: len(rows) for name, rows in few.dev.items()} == {MALTESE.name: 6, "graph": 2}


def test_data_of_the_same_name_are_told_apart(tmp_path):
    paths = []
    for place in ("text", "more"):
        path = tmp_path / place / "mlt.txt"
        path.parent.mkdir()
        path.write_bytes(MALTESE.read_bytes())
        paths.append(path)
    assert [source.name for source in read_sources(paths, None, "mlm")] == ["text/mlt.txt", "more/mlt.txt"]


def test_the_folder_that_one_is_in_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (here := tmp_path / "maltese").mkdir()
    for split in ("train", "dev", "test"):
        (here / f"{split}.jsonl").write_text('{"text": "Il-qattus raqad."}\n', encoding="utf-8")
    monkeypatch.chdir(here)
    assert [source.name for source in read_sources([Path()], None, "mlm")] == ["maltese"] == [name_of(".")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--objective", "targeted"], "--objective targeted needs triples, but this is plain text"),
        (["--data-weights", "3,1"], "2 given for 1 --data"),
        (["--data-weights", "x"], "--data-weights x: not numbers"),
        (["--data-weights", "0"], "must be above 0"),
        (["--data-weights", "nan"], "must be above 0"),
        (["--data-weights", "inf"], "--data-weights inf: too large"),
        (["--data", MALTESE.parent, "--data-weights", "1e308,1e308"], "too large"),
        (["--data", MALTESE], "given twice"),
    ],
)
def test_what_cannot_be_is_refused(langlift, tiny_bert, tmp_path, options, said):
    base = ["adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", tmp_path / "run", "--json"]
    result = langlift(*base, *options)
    assert result.code == 2 and said in result.error["error"], result.err
    assert result.error["hint"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model_type", sorted(n for n, one in BACKBONES.items() if not one.causal))
def test_the_head_that_trains_is_everything_before_the_decoder(model_type):
    size = {"hidden_size": 768, "embedding_size": 768, "num_hidden_layers": 1, "num_attention_heads": 1}
    with torch.device("meta"):
        model = AutoModelForMaskedLM.from_config(AutoConfig.for_model(model_type, **size))
    decoder = {id(p) for p in model.get_submodule(backbone_of(model).head_decoder).parameters()}
    parameters = head_parameters(model)
    assert not decoder & {id(p) for p in parameters.values()}
    by_name = dict(model.named_parameters())
    assert all(by_name[name] is parameter for name, parameter in parameters.items())
    body = sum(p.numel() for n, p in by_name.items() if n.startswith(f"{model.base_model_prefix}."))
    count = sum(p.numel() for p in parameters.values())
    if model_type != "modernbert":  # there the dense layer and the norm have no bias
        assert count == 592_128
    rest = {n for n, p in by_name.items() if id(p) not in decoder and not n.startswith(model.base_model_prefix)}
    assert rest == set(parameters) and body > 0


@pytest.mark.parametrize("method", ["seq_bn", "lora"])
def test_a_trained_head_is_kept_beside_the_adapter_and_loaded_with_it(tiny_model, tmp_path, maltese_lines, method):
    recipe = dataclasses.replace(QUICK, train_head=True, method=method, steps=6)
    base, out = str(tiny_model), tmp_path / "run"
    result = adapt(LANGUAGE, base, MALTESE, out, recipe)
    fresh, model = load_masked_model(base), load_masked_model(base)
    load_adapter(model, out)
    changed = {
        n
        for n, p in model.state_dict().items()
        if n in fresh.state_dict() and not torch.equal(p, fresh.state_dict()[n])
    }
    assert changed == set(head_parameters(model)) == set(load_file(out / MLM_HEAD))
    assert result.trainable_parameters - sum(p.numel() for p in head_parameters(model).values()) == sum(
        p.numel() for p in load_file(next(out.glob("adapter*.safetensors"))).values()
    )
    with_head = score_model(base, maltese_lines[:3], out)
    (out / MLM_HEAD).rename(tmp_path / "head")
    assert score_model(base, maltese_lines[:3], out).pseudo_perplexity != with_head.pseudo_perplexity

    (tmp_path / "head").rename(out / MLM_HEAD)
    further = dataclasses.replace(recipe, train_head=False, steps=1)
    kept = adapt(LANGUAGE, base, MALTESE, tmp_path / "further", further, init=out)
    assert kept.validation_loss_before == pytest.approx(result.validation_loss, rel=1e-5)
    assert load_file(tmp_path / "further" / MLM_HEAD).keys() == load_file(out / MLM_HEAD).keys()
    for run in (out, tmp_path / "further"):
        assert f"`{MLM_HEAD}`" in (run / "README.md").read_text()
    inputs = yaml.safe_load((tmp_path / "further" / "recipe.yaml").read_text())["inputs"]
    weights = load_file(out / MLM_HEAD)
    save_file({name: weight * 2 for name, weight in weights.items()}, out / MLM_HEAD)
    with pytest.raises(InputError, match="init_sha256"):
        adapt(LANGUAGE, base, MALTESE, tmp_path / "further", further, resume=True, init=out)
    assert inputs["init"] == "run"


def test_a_whole_models_head_is_in_the_model(tiny_bert, tmp_path):
    recipe = dataclasses.replace(QUICK, train_head=True, method="full", steps=1)
    adapt(LANGUAGE, str(tiny_bert), MALTESE, tmp_path / "run", recipe)
    assert not (tmp_path / "run" / MLM_HEAD).exists()
    assert MLM_HEAD not in (tmp_path / "run" / "README.md").read_text()


def test_a_head_of_another_model_is_refused(tiny_bert, tiny_xlm_roberta, tmp_path):
    adapt(
        LANGUAGE, str(tiny_bert), MALTESE, tmp_path / "run", dataclasses.replace(QUICK, steps=1, train_head=True)
    )
    other = load_masked_model(str(tiny_xlm_roberta))
    save_file({n: p.detach() for n, p in head_parameters(other).items()}, tmp_path / "run" / MLM_HEAD)
    model = load_masked_model(str(tiny_bert))
    with pytest.raises(InputError, match="an MLM head of another architecture, width or vocabulary"):
        load_adapter(model, tmp_path / "run")
    assert attached(model) == ["mlt_Latn"]


def test_the_published_preset_turns_the_published_behaviour_on():
    adapting = resolve(AdaptRecipe, "adapt", preset="published")
    assert (adapting.inverse_at_head, adapting.train_head, adapting.targeted_as_published) == (False, True, True)
    others = dataclasses.replace(adapting, inverse_at_head=True, train_head=False, targeted_as_published=False)
    assert others == AdaptRecipe(), "schedules are the defaults already"
    assert resolve(GraphRecipe, "graph", preset="published") == GraphRecipe(
        term="last_segment", split="by_sentence", duplicates="keep"
    )


def test_results_of_several_data_are_shown(langlift, tiny_bert, graph, tmp_path):
    result = langlift(
        "adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--data", graph, "--out", tmp_path / "run",
        "--steps", 1, "--batch-size", 2, "--objective", "full_word", "--set", "validation_examples=8", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    content = AdaptResult(**result.json)
    assert content.validation_losses.keys() == {MALTESE.name, "graph"} and content.objective == "full_word"
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"`{MALTESE.name}`, `graph` with masked language modelling of whole words" in card
