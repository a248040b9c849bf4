"""Train and test any task: one run folder for each seed, one result over all of them."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, set_seed

from langlift.adapters.method import METHODS
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import (
    default_device,
    is_causal,
    load_model,
    load_tokenizer,
    quiet_transformers,
)
from langlift.config.loading import recorded
from langlift.config.recipes import TaskRecipe
from langlift.errors import InputError
from langlift.model_cards import render_card
from langlift.processes import only_one
from langlift.progress import say
from langlift.tasks.inference import PREDICTION_BATCH
from langlift.tasks.learner import TaskData
from langlift.tasks.setups import Setup, setup_for
from langlift.tasks.task import Task, task_called
from langlift.training.cost import flops_per_token
from langlift.training.examples import LengthGroups, Schedule
from langlift.training.memory import peak_memory_bytes
from langlift.training.precision import autocast, prepare_arithmetic
from langlift.training.reporting import TrainingReport
from langlift.training.run_folder import (
    CHECKPOINTS,
    METRICS,
    atomic_file,
    atomic_files,
    is_finished,
    open_run,
    read_metrics,
    write_json,
    write_text,
)
from langlift.training.trainer import (
    Batch,
    LiftTrainer,
    StopWithoutGain,
    best_of,
    on_device,
    training_arguments,
)

HEAD, HEAD_WEIGHTS = "head.json", "head.safetensors"
PREDICTIONS = "test_predictions.jsonl"
DEV_SEED = 0
"""Of the draw of dev examples, the same for all seeds of a run."""


@dataclass(frozen=True)
class TaskResult:
    """What ``langlift task`` measured on the test split: ``metric``, 0 to 100.

    ``seeds`` has a value for each seed, ``std`` is their sample standard deviation (0 for one seed).
    ``repaired`` counts what was mended in the data, ``report`` is what the way of training has to show.
    ``further`` has ``mean``, ``std`` and ``seeds`` of other measures by name; ``remarks`` are of the data.
    ``tokens``, ``flops`` (floating point operations, validation not counted) and ``seconds`` are those of
    training, over all seeds.
    """

    task: str
    metric: str
    mean: float
    std: float
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

    ``task`` is the name of one of ``TASKS``. The weights kept are the best on dev. With ``language_adapter`` the
    task adapter is stacked on that frozen adapter, or on the fusion of several (AdapterFusion): then the result's
    ``report`` holds under ``fusion_attention`` (mean over seeds) and ``fusion_attention_by_seed`` each adapter's
    share of the attention by layer, lowest layer first. With ``train_data`` train and dev are those of these
    sets, merged, and only the test split is that of ``data`` (zero-shot transfer between languages).

    Raises:
        InputError: bad task, data, base, adapter or recipe, or ``out`` holds another run.
    """
    described = task_called(task)
    only_one("training for a task")
    sources = [Path(name).resolve() if Path(name).exists() else name for name in train_data or ()]
    for name, source in zip(train_data or (), sources, strict=True):
        if sources.count(source) > 1:
            raise InputError(f"--train-data {name}: given twice", "name each data set once")
    base = BaseName.of(base)
    recipe = settled(recipe, is_causal(base))
    adapters = [language_adapter] if isinstance(language_adapter, Path) else list(language_adapter or ())
    setup = setup_for(task, recipe, adapters)
    splits = described.learner.read(str(data), [str(name) for name in train_data or ()], strict)
    for what, count in splits.repaired.items():
        say(f"{data}: {what.replace('_', ' ')}: {count} (with --strict an error)")
    for remark in splits.remarks:
        say(remark)
    inputs = {
        "task": task,
        "base": base.name,
        "data": name_of(data),
        "train_data": ", ".join(map(name_of, train_data)) if train_data else None,
        "data_sha256": splits.sha256,
        **setup.inputs,
    }
    tokenizer = load_tokenizer(base)
    new_base = partial(load_model, base, head_needed=False)
    setup.attach(new_base())  # a base or adapter that does not fit is told before anything is written
    open_run(out, recorded("task", inputs, recipe), resume, _may_change(described))
    if is_finished(out):
        return TaskResult(**read_metrics(out))
    setup.keep(out)
    run = _Run(described, splits, setup, new_base, tokenizer, recipe, inputs)
    runs = [run.train_seed(out / f"seed-{seed}", seed) for seed in recipe.seeds]
    scores = [metrics[f"test_{described.metric.name}"] for metrics in runs]
    train = run.train_split(recipe.seeds[0])
    result = TaskResult(
        task=task,
        metric=described.metric.name,
        **over_seeds(scores),
        baseline=described.learner.baselines(train, splits.test),
        method=recipe.method,
        language_adapter=inputs.get("language_adapter"),
        trainable_parameters=runs[0]["trainable_parameters"],
        train_examples=len(train),
        test_examples=len(splits.test),
        repaired=splits.repaired,
        report=setup.summary(runs),
        further={
            one.name: over_seeds([metrics[f"test_{one.name}"] for metrics in runs]) for one in described.further
        },
        remarks=splits.remarks,
        tokens=sum(run["tokens"] for run in runs),
        flops=sum(run["flops"] for run in runs),
        seconds=round(sum(run["seconds"] for run in runs), 1),
    )
    write_json(out / METRICS, asdict(result))
    return result


def settled(recipe: TaskRecipe, causal: bool) -> TaskRecipe:
    """The recipe with what ``auto`` stands for: in a decoder only the last token has seen all of a text."""
    if recipe.pooling != "auto":
        return recipe
    return replace(recipe, pooling="last" if causal else "first")


@dataclass(frozen=True)
class _Run:
    """What the seeds of a run have in common."""

    task: Task
    data: TaskData[Any]
    setup: Setup
    new_base: Callable[[], PreTrainedModel]
    tokenizer: Any
    recipe: TaskRecipe
    inputs: Mapping[str, Any]

    def train_split(self, seed: int) -> Any:
        """The training examples of a seed: all, or as many as the recipe says, drawn without replacement."""
        return _drawn(self.data.train, self.recipe.train_examples, seed)

    def train_seed(self, folder: Path, seed: int) -> dict[str, Any]:
        """Train, test and save one seed's run; a finished one is read back."""
        task, learner, recipe, labels = self.task, self.task.learner, self.recipe, self.data.labels
        record = recorded("task", {**self.inputs, "seed": seed}, recipe)
        open_run(folder, record, True, _may_change(task))
        if is_finished(folder):
            return read_metrics(folder)
        set_seed(seed)
        masked_model = self.new_base()
        self.setup.attach(masked_model)
        settings = learner.settings(recipe)
        model = learner.new_model(masked_model, len(labels), settings)
        self.setup.train_only(model)
        model.head.requires_grad_(True)

        encoder = learner.encoder(self.tokenizer, masked_model, recipe.max_tokens, settings, recipe.path)
        examples = learner.examples(encoder, self.train_split(seed), labels)
        device = default_device()
        model.to(device)
        checked = on_device(encoder.collate(examples[: recipe.batch_size]), device)
        arithmetic = prepare_arithmetic(
            recipe.precision, model, lambda: learner.loss(model(checked), checked)[0], device
        )

        def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
            return self.setup.loss(model, batch, learner.loss)

        dev = _drawn(self.data.dev, recipe.validation_examples, DEV_SEED)

        def validation(model: nn.Module) -> dict[str, float]:
            answers = learner.predict(model, encoder, dev, labels, arithmetic.bf16)
            return {task.metric.name: learner.score(dev, answers), **learner.further(dev, answers)}

        steps_an_epoch = max(1, round(len(examples) / recipe.batch_size))
        steps = ceil(recipe.epochs * len(examples) / recipe.batch_size)
        report = TrainingReport(folder, f"{task.name} (seed {seed})")
        patience = [StopWithoutGain(recipe.patience * steps_an_epoch)] if recipe.patience else []
        trainer = LiftTrainer(
            model,
            training_arguments(
                folder,
                steps=steps,
                learning_rate=recipe.learning_rate,
                batch_size=recipe.batch_size,
                accumulation=1,
                warmup_share=recipe.warmup_share,
                weight_decay=recipe.weight_decay,
                validate_every=steps_an_epoch,
                save_every=steps_an_epoch * max(1, recipe.epochs // 4),
                seed=seed,
            ),
            loss=loss,
            validation=validation,
            best_by=task.metric.name,
            greater_is_better=True,
            train_dataset=Schedule(
                lambda number, epoch: examples[number],
                len(examples),
                seed,
                steps * recipe.batch_size,
                LengthGroups(np.asarray([len(e["input_ids"]) for e in examples]), recipe.batch_size),
            ),
            collate=encoder.collate,
            bf16=arithmetic.bf16,
            callbacks=[report, *self.setup.callbacks(), *patience],
        )
        try:
            trainer.resume_or_start()
        finally:
            report.close()

        def test_batches() -> Iterator[Batch]:
            test = learner.examples(encoder, self.data.test, labels)
            # DataLoader takes a list as it is.
            for batch in DataLoader(test, batch_size=PREDICTION_BATCH, collate_fn=encoder.collate):  # type: ignore[arg-type]
                yield on_device(batch, device)

        answers = learner.predict(model, encoder, self.data.test, labels, arithmetic.bf16)
        with torch.inference_mode(), autocast(device, arithmetic.bf16):
            shown = self.setup.report(model.eval(), test_batches())
        best = best_of(folder / CHECKPOINTS)
        metrics = {
            "seed": seed,
            "steps": trainer.state.global_step,
            "best_step": best["step"],
            f"dev_{task.metric.name}": best["value"],
            f"test_{task.metric.name}": learner.score(self.data.test, answers),
            **{f"test_{name}": value for name, value in learner.further(self.data.test, answers).items()},
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "tokens": int(trainer.state.num_input_tokens_seen),
            "flops": round(flops_per_token(trainer) * trainer.state.num_input_tokens_seen),
            "seconds": round(report.seconds, 1),
            "tokens_per_second": round(report.tokens_per_second, 1),
            "peak_memory_bytes": peak_memory_bytes(),
            "path": recipe.path,
            "precision": arithmetic.name,
            **learner.notes(encoder, self.data.test),
            **shown,
        }
        with atomic_files(folder) as staging, quiet_transformers():
            save_file(model.head.state_dict(), staging / HEAD_WEIGHTS)
            head = {"task": task.name, "labels": labels, **settings}
            (staging / HEAD).write_text(json.dumps(head, indent=2, ensure_ascii=False) + "\n", "utf-8")
            self.setup.save(masked_model, self.tokenizer, staging, self.inputs["base"])
        with atomic_file(folder / PREDICTIONS) as path, path.open("w", encoding="utf-8") as file:
            for row in learner.rows(self.data.test, answers):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        if document := list(learner.document(self.data.test, answers)):
            write_text(folder / f"{Path(PREDICTIONS).stem}{task.word_file}", "\n".join([*document, ""]))
        method = METHODS[recipe.method]
        card = render_card("task.md", task=task, method=method, inputs=self.inputs, labels=labels, metrics=metrics)
        write_text(folder / "README.md", card)
        write_json(folder / METRICS, metrics)
        shutil.rmtree(folder / CHECKPOINTS)
        return metrics


def _drawn(split: Any, size: int, seed: int) -> Any:
    """A split, or where it has more than ``size`` (not 0) examples, so many of them drawn without replacement."""
    if size == 0 or size >= len(split):
        return split
    return split.chosen(sorted(np.random.default_rng(seed).choice(len(split), size, replace=False)))


def over_seeds(scores: list[float]) -> dict[str, Any]:
    """The mean of the seeds' scores, their sample standard deviation and themselves."""
    return {"mean": mean(scores), "std": stdev(scores) if len(scores) > 1 else 0.0, "seeds": scores}


def _may_change(task: Task) -> frozenset[str]:
    return frozenset({"path"}) | task.unused


def name_of(data: str | Path) -> str:
    """A folder's name, or what is no folder (a hub id) as it is."""
    return Path(data).name if Path(data).exists() else str(data)
