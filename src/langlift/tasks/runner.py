"""Train and test a task: a run folder for each seed, and one result over all seeds."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, set_seed

from langlift.adapters.composition import train_only
from langlift.adapters.method import METHODS
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import default_device, is_causal, load_model, load_tokenizer, quiet_transformers
from langlift.config.loading import recorded
from langlift.errors import InputError
from langlift.files import atomic_files, write_text
from langlift.heads.classification import MOST_FITTED, TaskModel, fit_head
from langlift.model_cards import render_card
from langlift.notebook import Shown
from langlift.processes import require_single_process
from langlift.progress import say
from langlift.tasks.learner import PREDICTION_BATCH, Split, TaskData
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.setups import Setup, setup_for
from langlift.tasks.task import Task, task_called
from langlift.training.examples import Example, LengthGroups, Schedule, evenly_spread
from langlift.training.precision import autocast, use_bf16
from langlift.training.run import open_run
from langlift.training.trainer import Batch, EarlyStopping, LiftTrainer, on_device, training_arguments

HEAD, HEAD_WEIGHTS = "head.json", "head.safetensors"
PREDICTIONS = "test_predictions.jsonl"
DEV_SEED = 0
"""Seed of the sample of dev examples, the same for all seeds of a run."""
FEW_STEPS = 100
"""Below this number of steps a task adapter was undertrained (entities in Hausa, docs/results.md)."""


@dataclass(frozen=True)
class TaskResult(Shown):
    """The result of ``langlift task`` on the test split: ``metric``, 0 to 100.

    ``seeds`` has a value for each seed, ``std`` is their sample standard deviation (None for one seed).
    ``repaired`` counts errors repaired in the data, ``report`` has further results (the attention of a fusion).
    ``further`` has ``mean``, ``std`` and ``seeds`` of other metrics by name; ``remarks`` are notes. ``tokens``,
    ``flops`` (floating point operations, without validation) and ``seconds`` count the training of all seeds.
    """

    task: str
    metric: str
    mean: float
    std: float | None
    seeds: list[float]
    baseline: dict[str, float]
    method: str
    language_adapter: str | None
    trainable_parameters: int
    train_examples: int
    test_examples: int
    repaired: dict[str, int] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    further: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    tokens: int = 0
    flops: int = 0
    seconds: float = 0.0


def train_task(
    task: str,
    base: BaseName | str,
    data: str | Path,
    out: Path,
    recipe: TaskRecipe,
    language_adapter: Path | Sequence[Path] | None = None,
    train_data: Sequence[str | Path] | None = None,
    resume: bool = False,
    strict: bool = False,
) -> TaskResult:
    """Train and test once for each seed; each seed is a run folder ``out/seed-N``.

    ``task`` is the name of one of ``TASKS``. The weights that score best on dev, or the last, are kept. With
    ``language_adapter`` the task adapter is stacked on that frozen adapter, or on the fusion of several
    (AdapterFusion): then the result's ``report`` contains, under ``fusion_attention`` (mean over seeds) and
    ``fusion_attention_by_seed``, each adapter's share of the attention by layer, lowest layer first. With
    ``train_data``, train and dev come from these data sets, merged, and only the test split from ``data``
    (zero-shot transfer between languages).

    Raises:
        InputError: unusable task, data, base, adapter or recipe, or ``out`` contains another run.
    """
    described = task_called(task)
    require_single_process("training for a task")
    sources = [Path(name).resolve() if Path(name).exists() else name for name in train_data or ()]
    for name, source in zip(train_data or (), sources, strict=True):
        if sources.count(source) > 1:
            raise InputError(f"--train-data {name}: given twice", "name each data set once")
    base = BaseName.of(base)
    recipe = resolve_pooling(recipe, is_causal(base))
    described.learner.settings(recipe)  # raises an error before anything is written if they cannot be combined
    adapters = [language_adapter] if isinstance(language_adapter, Path) else list(language_adapter or ())
    setup = setup_for(task, recipe, adapters)
    splits = described.learner.read(str(data), [str(name) for name in train_data or ()], strict, recipe.columns)
    splits.tell(data)
    inputs = {"task": task, "base": base.name, **data_inputs(data, train_data, splits), **setup.inputs}
    tokenizer = load_tokenizer(base)
    new_base = partial(load_model, base, head_needed=False)
    setup.attach(new_base())  # raises an error before anything is written if base or adapter do not fit
    with open_run(out, recorded("task", inputs, recipe), resume, _may_change(described)) as run:
        if run.finished:
            return TaskResult(**run.metrics)
        setup.copy_adapters(out)
        seeds = _Seeds(described, splits, setup, new_base, tokenizer, recipe, inputs)
        result = seeds.result([seeds.train(out / f"seed-{seed}", seed) for seed in recipe.seeds])
        run.finish(asdict(result))
    return result


def resolve_pooling(recipe: TaskRecipe, causal: bool) -> TaskRecipe:
    """The recipe with ``auto`` resolved: in a decoder only the last token has seen the whole text."""
    if recipe.pooling != "auto":
        return recipe
    return replace(recipe, pooling="last" if causal else "first")


@dataclass(frozen=True)
class _Seeds:
    """The parts of a run that all seeds share."""

    task: Task
    data: TaskData[Any, Any]
    setup: Setup
    new_base: Callable[[], PreTrainedModel]
    tokenizer: Any
    recipe: TaskRecipe
    inputs: Mapping[str, Any]

    def train(self, folder: Path, seed: int) -> dict[str, Any]:
        """Train, test and save the run of one seed; a finished one is read back."""
        task, learner, recipe, labels = self.task, self.task.learner, self.recipe, self.data.labels
        record = recorded("task", {**self.inputs, "seed": seed}, recipe)
        with open_run(folder, record, True, _may_change(task)) as run:
            if run.finished:
                return run.metrics
            set_seed(seed)
            base = self.new_base()
            self.setup.attach(base)
            settings = learner.settings(recipe)
            model = learner.new_model(base, len(labels), settings)
            train_only(model, None if self.setup.config is None else self.setup.name)
            model.head.requires_grad_(True)
            encoder = learner.encoder(self.tokenizer, base, recipe.max_tokens, settings, recipe.path)
            trainer = self._trainer(model, encoder, folder, seed)
            trained = run.train(trainer, f"{task.name} (seed {seed})")
            test = self.data.test
            answers = list(learner.answers(model, encoder, test.inputs, labels, trainer.bf16))
            with torch.inference_mode(), autocast(default_device(), trainer.bf16):
                examples = encoder.examples(test.inputs, labels)
                report = self.setup.report(model.eval(), _batches(examples, encoder))
            metrics = {
                "seed": seed,
                "steps": trained.steps,
                "best_step": trained.best_step,
                f"dev_{task.metric.name}": trained.best[task.metric.name],
                **{f"test_{name}": value for name, value in learner.measure(test, answers).items()},
                "trainable_parameters": trained.parameters,
                **trained.cost,
                "path": recipe.path,
                "precision": trained.precision,
                **encoder.notes(test.inputs),
                **report,
            }
            with atomic_files(folder) as staging, quiet_transformers():
                save_file(model.head.state_dict(), staging / HEAD_WEIGHTS)
                head = {"task": task.name, "labels": labels, **settings}
                (staging / HEAD).write_text(json.dumps(head, indent=2, ensure_ascii=False) + "\n", "utf-8")
                self.setup.save(base, self.tokenizer, staging, self.inputs["base"])
            write_predictions(folder, learner.rows(test, [answer.gold for answer in answers]))
            if task.word_file:
                lines = (f"{line}\n" for answer in answers for line in (*answer.lines(), ""))
                write_text(folder / f"{Path(PREDICTIONS).stem}{task.word_file}", "".join(lines))
            method = METHODS[recipe.method]
            card = render_card(
                "task.md", task=task, method=method, inputs=self.inputs, labels=labels, metrics=metrics
            )
            run.finish(metrics, card)
        return metrics

    def _trainer(self, model: TaskModel, encoder: Any, folder: Path, seed: int) -> LiftTrainer:
        """The Trainer of one seed; the model is moved and cast in place."""
        task, learner, recipe, labels = self.task, self.task.learner, self.recipe, self.data.labels
        train = _sample(self.data.train, recipe.train_examples, seed)
        examples = encoder.examples(train.inputs, labels, train.gold)
        dev = _sample(self.data.dev, recipe.validation_examples, DEV_SEED)
        device = default_device()
        model.to(device)
        checked = on_device(encoder.collate(examples[: recipe.batch_size]), device)
        bf16 = use_bf16(recipe.precision, model, lambda: learner.loss(model(checked), checked)[0], device)
        if recipe.fit_head and "fit_head" not in task.unused:
            with autocast(device, bf16):
                fit_head(model, _batches(_spread(examples), encoder))

        def validation(model: nn.Module) -> dict[str, float]:
            return learner.measure(dev, learner.predict(model, encoder, dev.inputs, labels, bf16))

        steps = recipe.steps(len(examples))
        epoch = max(1, round(max(len(examples) / recipe.batch_size, recipe.min_steps / recipe.epochs)))
        if steps < FEW_STEPS and seed == recipe.seeds[0]:
            longer = ceil(recipe.epochs * 2 * FEW_STEPS / steps)
            say(f"only {steps} optimiser steps; with so few labels, more epochs often help: --epochs {longer}")
        patience = [EarlyStopping(recipe.patience * epoch)] if recipe.patience else []
        return LiftTrainer(
            model,
            training_arguments(
                folder,
                recipe,
                steps=steps,
                seed=seed,
                validate_every=epoch,
                save_every=epoch * max(1, recipe.epochs // 4),
            ),
            loss=lambda model, batch: self.setup.loss(model, batch, learner.loss),
            validation=validation,
            best_by=task.metric.name,
            greater_is_better=True,
            keep_best=recipe.keep_best,
            train_dataset=Schedule(
                lambda number, epoch: examples[number],
                LengthGroups([len(e["input_ids"]) for e in examples], recipe.batch_size, seed),
                steps * recipe.batch_size,
            ),
            collate=encoder.collate,
            bf16=bf16,
            callbacks=[*self.setup.callbacks(), *patience],
        )

    def result(self, runs: Sequence[Mapping[str, Any]]) -> TaskResult:
        """The result over all seeds, from the metrics of each."""
        task, data = self.task, self.data
        train = _sample(self.data.train, self.recipe.train_examples, self.recipe.seeds[0])
        return TaskResult(
            task=task.name,
            metric=task.metric.name,
            **over_seeds([run[f"test_{task.metric.name}"] for run in runs]),
            baseline=task.learner.baselines(train, data.test),
            method=self.recipe.method,
            language_adapter=self.inputs.get("language_adapter"),
            trainable_parameters=runs[0]["trainable_parameters"],
            train_examples=len(train),
            test_examples=len(data.test),
            repaired=data.repaired,
            report=self.setup.summary(runs),
            further={one.name: over_seeds([run[f"test_{one.name}"] for run in runs]) for one in task.further},
            remarks=data.remarks,
            tokens=sum(run["tokens"] for run in runs),
            flops=sum(run["flops"] for run in runs),
            seconds=round(sum(run["seconds"] for run in runs), 1),
        )


def _spread(examples: list[Example]) -> list[Example]:
    """Evenly spaced examples with about ``MOST_FITTED`` items: files may be sorted, by label for example."""
    items = sum(int((example["labels"] >= 0).sum()) for example in examples)
    limit = ceil(len(examples) * MOST_FITTED / max(1, items))
    return examples if limit >= len(examples) else [examples[i] for i in evenly_spread(len(examples), limit)]


def _batches(examples: list[Example], encoder: Any) -> Iterator[Batch]:
    for batch in DataLoader(examples, batch_size=PREDICTION_BATCH, collate_fn=encoder.collate):  # type: ignore[arg-type]
        yield on_device(batch, default_device())


def _sample(split: Split[Any, Any], size: int, seed: int) -> Split[Any, Any]:
    """``size`` examples of a split, drawn without replacement; all if ``size`` is 0 or the split is smaller."""
    if size == 0 or size >= len(split):
        return split
    return split.chosen(sorted(np.random.default_rng(seed).choice(len(split), size, replace=False)))


def over_seeds(scores: list[float]) -> dict[str, Any]:
    """Mean and sample standard deviation of the seeds' scores, and the scores."""
    return {"mean": mean(scores), "std": stdev(scores) if len(scores) > 1 else None, "seeds": scores}


def _may_change(task: Task) -> frozenset[str]:
    return frozenset({"path"}) | task.unused


def write_predictions(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of the test split, with gold labels and predictions, into a seed's folder."""
    write_text(folder / PREDICTIONS, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def data_inputs(
    data: str | Path, train_data: Sequence[str | Path] | None, read: TaskData[Any, Any]
) -> dict[str, Any]:
    """What ``recipe.yaml`` records of the labelled data."""
    train = ", ".join(map(name_of, train_data)) if train_data else None
    return {"data": name_of(data), "train_data": train, "data_sha256": read.sha256}


def name_of(data: str | Path) -> str:
    """The name of a folder; anything else, such as a hub id, is unchanged."""
    return Path(data).absolute().name if Path(data).exists() else str(data)
