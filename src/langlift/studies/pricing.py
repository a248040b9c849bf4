"""The cost of a study before it starts: tokens, operations, disk space, time here and on a GPU."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from langlift.adapters.composition import attach, train_only
from langlift.adapters.method import METHODS, Shape, is_whole_model
from langlift.backbones.loading import model_location, weightless_model
from langlift.backbones.registry import backbone_of
from langlift.corpus.building import MAX_BYTES
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.language_facts import base_shape, fact_rows
from langlift.progress import progress_to, say
from langlift.studies.planning import StudyPlan
from langlift.studies.step import BUILDS, Step, is_scored
from langlift.studies.study import is_decoder
from langlift.studies.workload import requests_of, workload_of
from langlift.training.cost import step_time
from langlift.training.recipes import CAUSAL, AdaptRecipe

CALIBRATION_SECONDS = 30.0
"""Time limit in seconds for timing all kinds of training together, without loading the models."""
CALIBRATION_TEXTS = 500
UTILISATION = 0.2
"""Assumed share of a GPU's peak."""
STEP_SECONDS = 0.03
"""Assumed minimum time of a step on a GPU."""
HEAD_SHARE = 0.15
"""The share of tokens for which the MLM head is computed; a causal head is computed for all."""
FUSION = 1.5
"""Assumed cost of a task on fused adapters, relative to one on a single adapter."""
WEIGHT_BYTES = 4
MOST_ROWS = 40
"""Rows of a plan's summary that fit on a screen."""
ADAPTER_SHAPE = ("method", *dict.fromkeys(setting for method in METHODS.values() for setting in method.sized_by))
"""The settings that determine the number of trained parameters."""
CALIBRATION_TEXT = "Ommi sajret borma kbira ta' minestra u missieri mar il-baħar biex jistad mal-ħbieb tiegħu."
Training = tuple[str, AdaptRecipe]
"""A base model and the training recipe; its steps and learning rate do not matter here."""


@dataclass(frozen=True)
class TrainingCost:
    """The cost of one kind of training: operations per trained token, trained parameters, seconds here.

    ``forward`` is the share of the operations that evaluation takes; ``shape`` is the base's. ``token_seconds``
    and ``overhead_seconds`` (for loading) are None and 0 if it was not timed on this machine.
    """

    token_flops: float
    parameters: int
    forward: float
    shape: Shape | None
    token_seconds: float | None = None
    overhead_seconds: float = 0.0


@dataclass(frozen=True)
class RunPrice:
    """The estimated computation, disk space and time (here) of one run; None if unknown.

    ``requests`` is the maximum number of prompts for a large model; ``tokens`` are then those of the prompts.
    ``disk_bytes`` are what the finished run leaves. ``language`` is the family's name for one of a family.
    """

    name: str
    kind: str
    finished: bool
    tokens: int | None = None
    flops: float | None = None
    disk_bytes: int | None = None
    seconds: float | None = None
    steps: int | None = None
    requests: int | None = None
    language: str | None = None
    method: str | None = None
    task: str | None = None

    @property
    def what(self) -> str:
        """The kind and the task."""
        return f"{self.kind} {self.task}" if self.task else self.kind

    def gpu_seconds(self, peak: float) -> float:
        """The estimated time on a GPU with this peak (operations per second)."""
        return max((self.flops or 0.0) / (UTILISATION * peak), STEP_SECONDS * (self.steps or 0))


@dataclass(frozen=True)
class PlanRow:
    """Runs of a plan with something in common; ``language`` and ``method`` are None where they differ.

    All from ``requests`` on (``gpu_seconds`` by GPU name) are sums over the unfinished runs, as far as known.
    """

    what: str
    language: str | None
    languages: int
    method: str | None
    runs: int
    finished: int
    requests: int | None
    tokens: int | None
    flops: float | None
    seconds: float | None
    disk_bytes: int | None
    gpu_seconds: dict[str, float]


@dataclass(frozen=True)
class PlanPrice:
    """All runs with their estimated costs.

    ``summary`` are the runs by kind, language and method, and all of them in the last row; ``gpu_prices`` what
    all cost on a GPU at ``--price``. ``remarks`` are the assumptions made, ``left_out`` the combinations not run.
    """

    study: str
    runs: list[RunPrice]
    summary: list[PlanRow]
    gpu_prices: dict[str, float]
    remarks: list[str]
    left_out: list[str]

    @property
    def total(self) -> PlanRow:
        """The cost of the unfinished runs, as far as it is known."""
        return self.summary[-1]


def gpus_by_name(names: Sequence[str]) -> dict[str, float]:
    """The peak of GPUs, in bf16 (or fp16) operations per second; an InputError if one is not in the table."""
    peaks = {row["name"]: 1e12 * float(row["tflops"]) for row in fact_rows("gpus.csv")}
    known = {name.casefold(): name for name in peaks}
    wanted = {name: known.get(name.casefold().replace(" ", "")) for name in names}
    if unknown := [name for name, found in wanted.items() if found is None]:
        raise InputError(f"--gpu {unknown[0]}: not in the table", f"known: {', '.join(peaks)}")
    return {name: peaks[name] for name in wanted.values() if name is not None}


def price_plan(
    plan: StudyPlan,
    finished: Collection[str] = (),
    gpus: Mapping[str, float] | None = None,
    calibrate: bool = True,
    hour: float | None = None,
) -> PlanPrice:
    """The prices of all runs of a plan that are not among the ``finished`` hashes.

    ``gpus`` are those of ``gpus_by_name``, and ``hour`` is the price of an hour on them. With ``calibrate``, a few
    training steps of each base and method are timed here, if the base can be loaded.
    """
    gpus, load = gpus or {}, os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy, threads = load > (cores := os.cpu_count() or 1), torch.get_num_threads()
    missing = [step for step in plan.steps if step.hash not in finished]
    trainings = list(dict.fromkeys(filter(None, map(_training, missing))))
    # Lines for timing: of the first training data that exist already.
    data = ((step, [name for name in step.inputs if name.startswith("data:")]) for step in missing)
    existing = (load_text_data(path).train for step, names in data for path in step.paths(*names))
    text = next((list(islice(train, CALIBRATION_TEXTS)) for train in existing), None)
    seconds = CALIBRATION_SECONDS / max(1, len(trainings)) if calibrate else None
    remarks: list[str] = []
    costs: dict[Training | None, TrainingCost | None] = {}
    absent: set[str] = set()  # bases that are not looked for on the hub again
    for number, (base, recipe) in enumerate(trainings, 1):
        timed = replace(recipe, objective=CAUSAL) if is_decoder(base, plan.study) else recipe
        if calibrate and base not in absent:
            say(f"timing {recipe.method} on {base} ({number} of {len(trainings)}) ...")
        torch.set_num_threads(1 if busy else threads)  # threads that wait for others use processor time
        try:
            cost = _training_cost(base, timed, text, None if base in absent else seconds, remarks)
        finally:
            torch.set_num_threads(threads)
        if (cost is None or cost.token_seconds is None) and not Path(model_location(base)).exists():
            absent.add(base)
        costs[base, recipe] = cost
    runs = [_priced(step, step.hash in finished, costs, remarks) for step in plan.steps]
    runs = _without_models(plan, runs, remarks)
    open_runs = [price for price in runs if not price.finished]
    if any(price.kind == "prompt" for price in open_runs):
        remarks.append(
            "prompted models: an upper bound on requests (answers in the study's answers/ are not requested "
            "again), and the tokens of the prompts for local models; answers come on top, and time is not "
            "estimated"
        )
    if any(price.tokens is None and price.kind != "prompt" for price in open_runs):
        remarks.append("? is unknown: downloading and building of corpora, graphs and vocabularies have no price")
    if busy and any(cost and cost.token_seconds for cost in costs.values()):
        remarks.append(
            f"timed on one core, as the machine was busy (load {load:.1f}, cores {cores}): times are for an "
            "idle machine using one core; with several it may be faster"
        )
    if gpus:
        remarks.append(
            f"GPU times assume {UTILISATION:.0%} of the data sheet's peak (facts/gpus.csv), and at least "
            f"{1000 * STEP_SECONDS:.0f} ms per step; one run at a time"
        )
    remarks = list(dict.fromkeys(remarks))
    summary = _summary(runs, gpus)
    hours = {name: seconds / 3600 for name, seconds in summary[-1].gpu_seconds.items()}
    prices = {} if hour is None else {name: hour * count for name, count in hours.items()}
    return PlanPrice(plan.study.name, runs, summary, prices, remarks, list(plan.left_out))


def _without_models(plan: StudyPlan, runs: Sequence[RunPrice], remarks: list[str]) -> list[RunPrice]:
    """The runs with what they leave on the disk after ``keep: adapters``, and a remark on whole models."""
    removed = plan.study.keep == "adapters"
    pairs = list(zip(plan.steps, runs, strict=True))
    if whole := sum(one.disk_bytes or 0 for step, one in pairs if step.trains_model):
        how = (
            "are removed as soon as no run needs them ('keep: adapters'); until then they are on the disk, too"
            if removed
            else "are kept; 'keep: adapters' in the study file removes each as soon as no run needs it"
        )
        remarks.append(f"whole models ({whole / 1e9:,.1f} GB) {how}")
    return [replace(one, disk_bytes=0) if removed and step.trains_model else one for step, one in pairs]


def _summary(runs: Sequence[RunPrice], gpus: Mapping[str, float]) -> list[PlanRow]:
    """The runs by kind, language and method; if these are too many rows, without the language, or by kind."""
    groups: dict[tuple[str | None, ...], list[RunPrice]] = {}
    for names in (("what", "language", "method"), ("what", "method"), ("what",)):
        groups = {}
        for run in runs:
            groups.setdefault(tuple(getattr(run, name) for name in names), []).append(run)
        if len(groups) <= MOST_ROWS:
            break
    rows = [_row(group[0].what, group, gpus) for group in groups.values()]
    return [*sorted(rows, key=lambda row: row.what), _row("all", runs, gpus)]


def _row(what: str, runs: Sequence[RunPrice], gpus: Mapping[str, float]) -> PlanRow:
    unfinished = [run for run in runs if not run.finished]

    def total(name: str) -> Any:
        known = [value for run in unfinished if (value := getattr(run, name)) is not None]
        return sum(known) if known or not unfinished else None

    languages, methods = ({getattr(run, name) for run in runs} for name in ("language", "method"))
    return PlanRow(
        what,
        language=next(iter(languages)) if len(languages) == 1 else None,
        languages=len(languages),
        method=next(iter(methods)) if len(methods) == 1 else None,
        runs=len(runs),
        finished=len(runs) - len(unfinished),
        **{name: total(name) for name in ("tokens", "flops", "seconds", "disk_bytes")},
        requests=total("requests") or None,
        gpu_seconds={name: sum(run.gpu_seconds(peak) for run in runs) for name, peak in gpus.items()},
    )


def _training(step: Step) -> Training | None:
    """The training whose cost determines that of a run."""
    if step.kind in ("prompt", *BUILDS):
        return None
    if step.kind in ("score", "alignment"):
        return step.base(), AdaptRecipe(method=step.cell["method"] or AdaptRecipe().method)
    return step.base(), AdaptRecipe(**{one: step.settings[one] for one in ADAPTER_SHAPE if one in step.settings})


def _training_cost(
    base: str, recipe: AdaptRecipe, text: Sequence[str] | None, seconds: float | None, remarks: list[str]
) -> TrainingCost | None:
    """Timed on this machine, or computed from the base's shape."""
    method = METHODS[recipe.method]
    forward = 1 / 3 if method.whole_model else 1 / 2
    if seconds is not None:
        try:
            with progress_to(lambda *report: None):
                found = step_time(base, text or [CALIBRATION_TEXT], recipe, most_seconds=seconds)
            token_seconds = found.seconds / found.tokens
            return TrainingCost(
                found.flops_per_token, found.trained, forward, _shape(base), token_seconds, found.loading
            )
        except InputError as error:
            remarks.append(f"not timed here: {error.message}")
    shape = _shape(base)
    if shape is None:
        remarks.append(f"{base}: its size is unknown without it")
        return None
    if Path(model_location(base)).exists():
        # Counted on the model without its weights: the matrices that every token passes through.
        model = weightless_model(base)
        embeddings = model.base_model.get_submodule(backbone_of(model).embeddings)
        body = _matrix_weights(model.base_model) - _matrix_weights(embeddings)
        adapter = method.config(recipe)
        if adapter is not None:
            attach(model, "priced", adapter)
        train_only(model, None if adapter is None else "priced")
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    else:
        body = 12 * shape.layers * shape.hidden_size**2
        parameters = round(method.parameters(recipe, shape))
    output = shape.hidden_size * shape.vocabulary_size
    head = output if recipe.objective == CAUSAL else HEAD_SHARE * (shape.hidden_size**2 + output)
    return TrainingCost(2 * (body + head) / forward, parameters, forward, shape)


def _shape(base: str) -> Shape | None:
    """The dimensions of a base on this machine or in the tables."""
    if Path(model_location(base)).exists():
        config: Any = weightless_model(base).config
        return Shape(config.hidden_size, config.num_hidden_layers, config.vocab_size)
    known = base_shape(base)
    return None if known is None else Shape(*known)


def _matrix_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


def _priced(
    step: Step, finished: bool, costs: Mapping[Training | None, TrainingCost | None], remarks: list[str]
) -> RunPrice:
    method = step.cell.get("method") or step.settings.get("method")
    what = {"language": step.cell.get("language"), "method": method, "task": step.cell.get("task")}
    price = RunPrice(step.name, step.kind, finished, **what)
    if finished:
        return price
    if step.call is not None:
        requests, tokens = requests_of(step, step.call)
        return replace(price, tokens=tokens, requests=requests)
    if step.kind in ("corpus", "cut"):
        return replace(price, disk_bytes=0 if is_scored(step) else step.settings.get("max_bytes", MAX_BYTES))
    if (cost := costs.get(_training(step))) is None:
        return price
    work = workload_of(step)
    if work.assumed:
        remarks.append(f"tokens are assumed for {work.assumed}")
    training_tokens = work.trained + cost.forward * work.read
    if step.kind == "fuse":
        training_tokens *= FUSION
    seconds = None if cost.token_seconds is None else training_tokens * cost.token_seconds + cost.overhead_seconds
    return replace(
        price,
        tokens=round(work.trained + work.read),
        flops=training_tokens * cost.token_flops,
        disk_bytes=WEIGHT_BYTES * _weights_kept(step, cost, costs),
        seconds=seconds,
        steps=work.steps,
    )


def _weights_kept(step: Step, cost: TrainingCost, costs: Mapping[Training | None, TrainingCost | None]) -> int:
    """The number of weights in a finished run's folder: checkpoints are removed at its end."""
    if step.kind in ("score", "alignment"):
        return 0
    weights = cost.parameters
    if step.kind in ("task", "fuse") and cost.shape is not None:
        hidden = cost.shape.hidden_size
        weights += hidden**2  # the head's dense layer
        if step.kind == "fuse":
            weights += 3 * cost.shape.layers * hidden**2  # query, key and value of each layer
        for below in (*step.inputs.get("trained", ()), *step.inputs.get("adapters", ())):
            if isinstance(below, Step) and not is_whole_model(below.cell["method"]):
                weights += (costs.get(_training(below)) or cost).parameters  # a copy of each adapter
    return weights
