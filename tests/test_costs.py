"""What a run cost: operations as counted against worked-out ones, time over resumes, and the table of costs."""

import dataclasses
import json
from pathlib import Path

import pytest
from conftest import MALTESE
from interrupted import interrupted_at

from langlift.languages import find_language
from langlift.training.adaptation import adapt
from langlift.training.cost import flops_per_token
from langlift.training.recipes import AdaptRecipe

QUICK = AdaptRecipe(
    method="full", steps=4, batch_size=4, learning_rate=1e-3, validate_every=2, save_steps=2, max_tokens=48,
    precision="float32", path="naive", masking_share=1.0, validation_examples=16,
)  # fmt: skip
WIDTH, INNER, LAYERS, PIECES = 32, 64, 2, 600  # of the tiny models


@pytest.fixture
def counted(monkeypatch):
    """The trainer of the last run, caught when its operations are counted."""
    caught = []

    def caught_by(trainer):
        data = trainer.train_dataset
        trainer.train_dataset = [data[i] for i in range(len(data))]  # read before the run closes its file
        caught.append(trainer)
        return flops_per_token(trainer)

    monkeypatch.setattr("langlift.training.run.flops_per_token", caught_by)
    return caught


def test_operations_are_those_worked_out_on_paper(tiny_bert, tmp_path, counted):
    """Every token but the two specials of a text is predicted; all weights train: three passes of products."""
    result = adapt(find_language("mlt"), str(tiny_bert), MALTESE, tmp_path / "run", QUICK)
    trainer = counted[0]
    padded = tokens = predicted = attention = 0
    size = QUICK.batch_size
    for first in (0, (QUICK.steps - 1) * size):  # half of the first batch and of the last are counted
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(first, first + size // 2)])
        rows, length = batch["input_ids"].shape
        padded += rows * length
        tokens += trainer.tokens_of(batch)
        predicted += int((batch["labels"] != -100).sum())
        attention += rows * length * length
    layer = 4 * WIDTH * WIDTH + 2 * WIDTH * INNER
    # 2 operations a multiplication; forward, and backward to inputs and to weights.
    expected = 3 * 2 * (padded * LAYERS * layer + predicted * (WIDTH * WIDTH + WIDTH * PIECES))
    # Two products forward; the fused kernel computes one of them again backward: five.
    products = LAYERS * attention * WIDTH * 2
    assert expected + 6 * products <= flops_per_token(trainer) * tokens <= expected + 7 * products
    assert result.flops == round(flops_per_token(trainer) * result.tokens)
    assert all(p.grad is None for p in trainer.model.parameters())


def test_what_is_not_computed_is_not_counted(tiny_xlm_roberta, tmp_path):
    def flops(name, **changes):
        recipe = dataclasses.replace(QUICK, masking_share=0.15, **changes)
        result = adapt(find_language("mlt"), str(tiny_xlm_roberta), MALTESE, tmp_path / name, recipe)
        return result.flops / result.tokens

    naive, fast = flops("naive"), flops("fast", path="fast")
    adapter = flops("adapter", path="fast", method="lora")
    assert adapter < 0.9 * fast < 0.9 * naive


def test_time_is_that_of_all_processes(tiny_bert, tmp_path):
    out = tmp_path / "run"
    recipe = dataclasses.replace(QUICK, path="fast")
    with interrupted_at(4):
        adapt(find_language("mlt"), str(tiny_bert), MALTESE, out, recipe)
    lines = (out / "progress.jsonl").read_text().splitlines()
    slow = {**json.loads(lines[-1]), "seconds": 1000.0}  # as if the stopped process had taken long
    kept = [line for line in lines if json.loads(line)["step"] < slow["step"]]
    slow["step"] = 2
    (out / "progress.jsonl").write_text("\n".join([*kept, json.dumps(slow)]) + "\n")
    result = adapt(find_language("mlt"), str(tiny_bert), MALTESE, out, recipe, resume=True)
    assert 1000 <= result.seconds < 1200, "rounded to tenths, and the rest may take less than that"


def test_a_task_records_its_cost_too(langlift, tiny_bert, topic_folder, tmp_path):
    out = tmp_path / "topic"
    arguments = ["--epochs", 1, "--seeds", "1,2", "--batch-size", 8, "--method", "full"]
    result = langlift(
        "task", "topic", "--base", tiny_bert, "--data", topic_folder, "--out", out, *arguments, "--json"
    )
    assert result.code == 0, result.err
    each = [json.loads((out / f"seed-{seed}" / "metrics.json").read_text()) for seed in (1, 2)]
    for name in ("tokens", "flops"):
        assert result.json[name] == sum(metrics[name] for metrics in each) > 0
    assert result.json["seconds"] > 0


def finished(folder: Path, **metrics) -> Path:
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_costs_are_compared_by_the_text_they_bought(langlift, tmp_path):
    common = {"seconds": 60.0, "tokens": 1000}
    full = finished(tmp_path / "full", vocabulary_size=250_002, characters=2000, flops=8 * 10**9, **common)
    small = finished(tmp_path / "small", vocabulary_size=16_000, characters=4000, flops=4 * 10**9, **common)
    task = finished(tmp_path / "task", flops=2 * 10**9, **common)
    table = langlift("costs", small, full, "--json")
    assert table.code == 0 and table.json["per_character"] and table.json["times_first"] == [1.0, 4.0]
    table = langlift("costs", small, full, task, "--json")
    assert not table.json["per_character"] and table.json["times_first"] == [1.0, 2.0, 0.5]
    shown = langlift("costs", small, full)
    assert "250,002" in shown.out and "4.00" in shown.out and "per character of text" in shown.out
    old = finished(tmp_path / "old", tokens=5)
    damaged = finished(tmp_path / "damaged")
    (damaged / "metrics.json").write_text("{")
    refused = langlift("costs", small, old, damaged, tmp_path / "none", "--json")
    assert refused.code == 2
    assert f"{old}: records no floating point operations" in refused.error["error"]
    assert f"{damaged / 'metrics.json'}: damaged" in refused.error["error"]
    assert "none: not a finished run" in refused.error["error"]
