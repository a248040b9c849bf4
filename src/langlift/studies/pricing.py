"""The cost of a study before it starts: tokens, operations, disk space, time here and on a GPU."""

import csv
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from langlift.adapters.composition import attach, train_only
from langlift.adapters.method import METHODS, Shape, is_whole_model
from langlift.backbones.loading import model_location, weightless_model
from langlift.backbones.registry import backbone_of
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.language_facts import base_shape
from langlift.progress import progress_to, readable_seconds, say
from langlift.studies.planning import StudyPlan
from langlift.studies.step import BUILDS, Step
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
ADAPTER_SHAPE = ("method", *dict.fromkeys(setting for method in METHODS.values() for setting in method.sized_by))
"""The settings that determine the number of trained parameters."""
CALIBRATION_TEXT = "Ommi sajret borma kbira ta' minestra u missieri mar il-baħar biex jistad mal-ħbieb tiegħu."
Training = tuple[str, AdaptRecipe]
"""A base model and the training recipe; its steps and learning rate do not matter here."""


@dataclass(frozen=True)
class TrainingCost:
    """The cost of one kind of training: operations per trained token, trained parameters, seconds here.

    ``forward`` is the share of the operations that evaluation takes. ``token_seconds`` and ``overhead_seconds``
    (for loading) are None and 0 if it was not timed on this machine.
    """

    token_flops: float
    parameters: int
    forward: float
    token_seconds: float | None = None
    overhead_seconds: float = 0.0


@dataclass(frozen=True)
class RunPrice:
    """The estimated computation, disk space and time (here) of one run; None if unknown.

    ``requests`` is the maximum number of prompts for a large model; ``tokens`` are then those of the prompts.
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

    def shown(self) -> tuple[str, str, str, str]:
        """Cells of a table."""
        if self.finished:
            return "", "", "", "finished"
        return (
            "?" if self.tokens is None else f"{self.tokens:,}",
            "?" if self.flops is None else f"{self.flops:.1e}",
            "?" if self.disk_bytes is None else f"{self.disk_bytes / 1e6:,.1f} MB",
            "?" if self.seconds is None else readable_seconds(self.seconds),
        )


@dataclass(frozen=True)
class PlanPrice:
    """All runs with their estimated costs; ``total`` is that of the unfinished runs, as far as it is known.

    ``gpu_seconds`` are by GPU name; ``remarks`` are the assumptions made, ``left_out`` the combinations not run.
    """

    study: str
    runs: list[RunPrice]
    total: RunPrice
    gpu_seconds: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def gpus_by_name(names: Sequence[str]) -> dict[str, float]:
    """The GPUs of these names, in any case: peak of matrix products in bf16 (or fp16), operations per second.

    Raises:
        InputError: one is not in the table.
    """
    with Path(str(files("langlift") / "facts" / "gpus.csv")).open(encoding="utf-8", newline="") as file:
        peaks = {row["name"]: 1e12 * float(row["tflops"]) for row in csv.DictReader(file)}
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
) -> PlanPrice:
    """The prices of all runs of a plan that are not among the ``finished`` hashes.

    ``gpus`` are those of ``gpus_by_name``. With ``calibrate``, a few training steps of each base and method are
    timed here, if the base can be loaded.
    """
    missing = [step for step in plan.steps if step.hash not in finished]
    trainings = list(dict.fromkeys(filter(None, map(_training, missing))))
    # Lines for timing: of the first training data that exist already.
    data = ((step, [name for name in step.inputs if name.startswith("data:")]) for step in missing)
    existing = (load_text_data(path).train for step, names in data for path in step.paths(*names))
    text = next((list(islice(train, CALIBRATION_TEXTS)) for train in existing), None)
    seconds = CALIBRATION_SECONDS / max(1, len(trainings)) if calibrate else None
    remarks: list[str] = []
    costs: dict[Training | None, TrainingCost | None] = {}
    for base, recipe in trainings:
        timed = replace(recipe, objective=CAUSAL) if is_decoder(base, plan.study) else recipe
        costs[base, recipe] = _training_cost(base, timed, text, seconds, remarks)
    runs = [_priced(step, step.hash in finished, costs, remarks) for step in plan.steps]
    open_runs = [price for price in runs if not price.finished]
    if any(price.kind == "prompt" for price in open_runs):
        remarks.append(
            "prompted models: an upper bound on requests (answers in the study's answers/ are not requested "
            "again), and the tokens of the prompts for local models; answers come on top, and time is not "
            "estimated"
        )
    if any(price.tokens is None and price.kind != "prompt" for price in open_runs):
        remarks.append("? is unknown: downloading and building of corpora, graphs and vocabularies have no price")
    gpu_seconds = {
        name: sum(
            max((price.flops or 0.0) / (UTILISATION * peak), STEP_SECONDS * (price.steps or 0)) for price in runs
        )
        for name, peak in (gpus or {}).items()
    }
    if gpus:
        remarks.append(
            f"GPU times assume {UTILISATION:.0%} of the data sheet's peak (facts/gpus.csv), and at least "
            f"{1000 * STEP_SECONDS:.0f} ms per step; one run at a time"
        )
    remarks = list(dict.fromkeys(remarks))
    return PlanPrice(plan.study.name, runs, _total(open_runs), gpu_seconds, remarks, list(plan.left_out))


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
        say(f"timing {recipe.method} on {base} ...")
        try:
            started = time.monotonic()
            with progress_to(lambda *report: None):
                found = step_time(base, text or [CALIBRATION_TEXT], recipe, most_seconds=seconds)
            overhead = max(0.0, time.monotonic() - started - 6 * found.seconds)
            token_seconds = found.seconds / found.tokens
            return TrainingCost(found.flops_per_token, found.trained, forward, token_seconds, overhead)
        except InputError as error:
            remarks.append(f"not timed here: {error.message}")
    if Path(model_location(base)).exists():
        # Counted on the model without its weights: the matrices that every token passes through.
        model = weightless_model(base)
        embeddings = model.base_model.get_submodule(backbone_of(model).embeddings)
        body = _matrix_weights(model.base_model) - _matrix_weights(embeddings)
        config: Any = model.config
        hidden, vocabulary = config.hidden_size, config.vocab_size
        adapter = method.config(recipe)
        if adapter is not None:
            attach(model, "priced", adapter)
        train_only(model, None if adapter is None else "priced")
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    elif (shape := base_shape(base)) is not None:
        hidden, layers, vocabulary = shape
        body = 12 * layers * hidden**2
        parameters = round(method.parameters(recipe, Shape(hidden, layers, vocabulary)))
    else:
        remarks.append(f"{base}: its size is unknown without it")
        return None
    mlm_head = HEAD_SHARE * (hidden**2 + hidden * vocabulary)
    head = hidden * vocabulary if recipe.objective == CAUSAL else mlm_head
    return TrainingCost(2 * (body + head) / forward, parameters, forward)


def _matrix_weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


def _priced(
    step: Step, finished: bool, costs: Mapping[Training | None, TrainingCost | None], remarks: list[str]
) -> RunPrice:
    if step.call is not None and not finished:
        requests, tokens = requests_of(step, step.call)
        return RunPrice(step.name, step.kind, False, tokens=tokens, requests=requests)
    if finished or (cost := costs.get(_training(step))) is None:
        return RunPrice(step.name, step.kind, finished)
    work = workload_of(step)
    if work.assumed:
        remarks.append(f"tokens are assumed for {work.assumed}")
    training_tokens = work.trained + cost.forward * work.read
    if step.kind == "fuse":
        training_tokens *= FUSION
    copies = 2 if {"trained", "adapters"} & step.inputs.keys() and not is_whole_model(step.cell["method"]) else 1
    return RunPrice(
        step.name,
        step.kind,
        False,
        tokens=round(work.trained + work.read),
        flops=training_tokens * cost.token_flops,
        disk_bytes=0 if step.kind in ("score", "alignment") else WEIGHT_BYTES * cost.parameters * copies,
        seconds=None
        if cost.token_seconds is None
        else training_tokens * cost.token_seconds + cost.overhead_seconds,
        steps=work.steps,
    )


def _total(runs: Sequence[RunPrice]) -> RunPrice:
    """The sums over what is known of the unfinished runs; None where nothing is."""

    def summed(what: str) -> Any:
        known = [value for price in runs if (value := getattr(price, what)) is not None]
        return sum(known) if known or not runs else None

    sums = {what: summed(what) for what in ("tokens", "flops", "disk_bytes", "seconds")}
    return RunPrice("total", "total", False, **sums, requests=summed("requests") or None)
