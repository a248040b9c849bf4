"""The runner of all tasks, seen with topic classification: what a way of training may plug in, and old runs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import TrainerCallback

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.errors import InputError
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import TaskResult, train_task
from langlift.tasks.setups import Setup, setup_for
from langlift.tasks.task import TASKS, task_recipe

TOPIC = TASKS["topic"].learner
RECIPE = TaskRecipe(epochs=2, learning_rate=1e-2, seeds=(1, 2), reduction_factor=4.0)


class Plugged(Setup):
    """A task adapter whose loss also pulls its weights towards zero, hard, and that reports what it saw."""

    @property
    def inputs(self):
        return {**super().inputs, "pull": "hard"}

    def loss(self, model, batch, output_loss):
        total, items = super().loss(model, batch, output_loss)
        weights = [p for n, p in model.named_parameters() if self.name in n.split(".")]
        assert weights and all(p.requires_grad for p in weights)
        return total + items * 1e3 * sum(p.square().sum() for p in weights), items

    def callbacks(self):
        class Count(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                steps.append(state.global_step)

        steps = self.steps
        return [Count()]

    def report(self, model, batches):
        assert not model.training and not torch.is_grad_enabled()
        sizes = [len(model(batch)) for batch in batches]
        return {"seen": sum(sizes)}

    def summary(self, runs):
        return {"seen": [run["seen"] for run in runs]}


def test_a_setup_plugs_into_loss_steps_and_report(
    tiny_bert: Path, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plain = train_task("topic", str(tiny_bert), topic_folder, tmp_path / "plain", RECIPE)
    setup = Plugged("topic", SeqBnConfig(4.0))
    object.__setattr__(setup, "steps", [])
    monkeypatch.setattr("langlift.tasks.runner.setup_for", lambda *_: setup)
    result = train_task("topic", str(tiny_bert), topic_folder, tmp_path / "run", RECIPE)
    assert setup.steps == [0, 1, 2, 3] * 2, "40 examples by 32, twice, for two seeds; 3: operations are counted"
    assert result.report == {"seen": [12, 12]}
    assert plain.report == {}
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["inputs"]["pull"] == "hard"
    metrics = json.loads((tmp_path / "run" / "seed-1" / "metrics.json").read_text())
    assert metrics["seen"] == 12
    losses = [
        json.loads(line).get("loss", 0)
        for line in (tmp_path / "run" / "seed-1" / "progress.jsonl").read_text().splitlines()
    ]
    assert max(losses) > 10, "the further term is in the loss"
    again = train_task("topic", str(tiny_bert), topic_folder, tmp_path / "run", RECIPE, resume=True)
    assert again == result


def test_dev_may_be_a_draw_the_same_for_all_seeds_and_test_stays_whole(
    tiny_bert: Path, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    scored, measure = [], type(TOPIC).measure
    monkeypatch.setattr(type(TOPIC), "measure", lambda *a: (scored.append(list(a[1].inputs)), measure(*a))[1])
    recipe = replace(RECIPE, epochs=1, validation_examples=5)
    train_task("topic", str(tiny_bert), topic_folder, tmp_path / "run", recipe)
    drawn = [texts for texts in scored if len(texts) == 5]
    assert len(drawn) >= 4 and all(texts == drawn[0] for texts in drawn), "two seeds, before and after"
    assert {len(texts) for texts in scored if len(texts) != 5} == {12}, "test"
    (hint,) = (line for line in capsys.readouterr().err.splitlines() if "optimiser steps" in line)
    steps = int(hint.split()[1])
    assert 0 < steps < 100 and hint.endswith(f"--epochs {-(-200 // steps)}"), "once, for two hundred steps"


def test_few_examples_are_trained_on_for_at_least_min_steps(tiny_bert: Path, topic_folder: Path, tmp_path: Path):
    recipe = replace(RECIPE, epochs=2, min_steps=7, seeds=(1,))
    train_task("topic", str(tiny_bert), topic_folder, tmp_path / "run", recipe)
    lines = (tmp_path / "run" / "seed-1" / "progress.jsonl").read_text().splitlines()
    scored = [line["step"] for line in map(json.loads, lines) if "validation_macro_f1" in line]
    assert scored == [0, 4, 7], "validated as often as there are epochs"
    assert [replace(recipe, epochs=epochs).steps(40) for epochs in (2, 5, 6)] == [7, 7, 8], "at least"


def test_an_explicit_number_of_epochs_is_not_stretched():
    assert task_recipe("topic", base="langlift-mini").min_steps == 200
    assert task_recipe("topic", base="langlift-mini", flags={"epochs": 3}).min_steps == 0
    assert task_recipe("topic", base="langlift-mini", assignments=["epochs=3", "min_steps=9"]).min_steps == 9
    assert task_recipe("topic", base="langlift-nano").min_steps == 0


def test_the_recipe_names_the_setup(tmp_path: Path):
    assert setup_for("topic", TaskRecipe(method="full")) == Setup("topic", None)
    assert setup_for("ner", TaskRecipe(reduction_factor=8.0)) == Setup("ner", SeqBnConfig(8.0))
    with pytest.raises(InputError, match="cannot be stacked"):
        setup_for("topic", TaskRecipe(method="full"), [tmp_path])


def test_a_run_is_read_back_and_its_result_is_made_again(tiny_bert: Path, topic_folder: Path, tmp_path: Path):
    out = tmp_path / "run"
    result = train_task("topic", str(tiny_bert), topic_folder, out, RECIPE)
    assert train_task("topic", str(tiny_bert), topic_folder, out, RECIPE, resume=True) == result
    (out / "metrics.json").unlink()
    again = train_task("topic", str(tiny_bert), topic_folder, out, RECIPE, resume=True)
    assert again == result
    assert again == TaskResult(**json.loads((out / "metrics.json").read_text()))
