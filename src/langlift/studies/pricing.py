"""What a study will cost before it starts: tokens, operations, disk, hours here and on a named GPU."""

import csv
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
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
from langlift.studies.decoders import is_decoder
from langlift.studies.planning import StudyPlan
from langlift.studies.step import Input, Step
from langlift.studies.workload import requests_of, workload_of
from langlift.training.recipes import CAUSAL, AdaptRecipe
from langlift.training.step_time import step_time

CALIBRATION_SECONDS = 30.0
"""For all kinds of training together, the loading of models not counted."""
UTILISATION = 0.2
STEP_SECONDS = 0.03
"""Assumptions: the share of a GPU's peak that is reached, and the least that a step takes, however small."""
HEAD_SHARE = 0.15
"""The share of tokens that the masked head is computed for; the causal one is for all."""
FUSION = 1.5
"""A task on fused adapters costs about so much more than on one."""
BYTES = 4
"""Of a weight on the disk."""
ASKED = (
    "prompted models: requests at most (what is in the study's answers/ is not asked again), and tokens of "
    "prompts where the model is here; answers come on top, and no time is told"
)
Training = tuple[str, AdaptRecipe]
"""A base, and what is trained on it: steps and rates do not matter here."""
ADAPTER_SHAPE = ("method", *dict.fromkeys(setting for method in METHODS.values() for setting in method.sized_by))
"""The settings that decide how many parameters train."""


@dataclass(frozen=True)
class Speed:
    """What one kind of training costs: operations for each token trained, parameters that train, seconds here.

    ``forward`` is the share of the operations of training that reading alone takes. ``seconds_a_token`` and
    ``overhead`` (loading, before the first step) are None where this machine was not timed.
    """

    flops_per_token: float
    trained: int
    forward: float
    seconds_a_token: float | None = None
    overhead: float = 0.0


@dataclass(frozen=True)
class RunPrice:
    """One run: what it will compute, leave on the disk and take here; None where that is not known.

    ``requests`` are the prompts that a large model is asked at most; ``tokens`` are then those of the prompts.
    """

    name: str
    kind: str
    finished: bool
    tokens: int | None
    flops: float | None
    disk_bytes: int | None
    seconds: float | None
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
    """All runs with their prices; ``total`` is over those that are not finished, as far as theirs are known.

    ``gpu_seconds`` are by the name of a GPU; ``remarks`` say what was assumed, ``left_out`` what is not run.
    """

    study: str
    runs: list[RunPrice]
    total: RunPrice
    gpu_seconds: dict[str, float] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Gpu:
    """A GPU: its peak for matrix products in bf16 (fp16 where it has no bf16), 10^12 operations a second."""

    name: str
    tflops: float
    source: str


def known_gpus() -> dict[str, Gpu]:
    """The GPUs of the shipped table by name."""
    with Path(str(files("langlift") / "facts" / "gpus.csv")).open(encoding="utf-8", newline="") as file:
        return {row["name"]: Gpu(row["name"], float(row["tflops"]), row["source"]) for row in csv.DictReader(file)}


def gpus_by_name(names: Sequence[str]) -> list[Gpu]:
    """The GPUs of these names, in any case.

    Raises:
        InputError: one is not in the table.
    """
    known = {name.casefold(): gpu for name, gpu in known_gpus().items()}
    unknown = [name for name in names if name.casefold().replace(" ", "") not in known]
    if unknown:
        raise InputError(f"--gpu {unknown[0]}: not in the table", f"known: {', '.join(known_gpus())}")
    return [known[name.casefold().replace(" ", "")] for name in names]


def price_plan(
    plan: StudyPlan, finished: Collection[str] = (), gpus: Sequence[Gpu] = (), calibrate: bool = True
) -> PlanPrice:
    """Price every run of a plan that is not among the ``finished`` hashes.

    With ``calibrate`` a few training steps of each base and method are timed here, where the base can be loaded.
    """
    missing = [step for step in plan.steps if step.hash not in finished and _trainings(step)]
    kinds = list(dict.fromkeys(kind for step in missing for kind in _trainings(step)))
    text = next((text for step in missing if (text := _some_text(step))), None)
    remarks: list[str] = []
    speeds: dict[Training, Speed | None] = {}
    for kind in kinds:
        if calibrate:
            say(f"timing {kind[1].method} on {kind[0]} ...")
        base, recipe = kind
        if is_decoder(base, plan.study):
            recipe = replace(recipe, objective=CAUSAL)
        speeds[kind] = _speed(base, recipe, text, CALIBRATION_SECONDS / len(kinds) if calibrate else None, remarks)
    runs = [_priced(step, step.hash in finished, speeds, remarks) for step in plan.steps]
    if any(one.kind == "prompt" and not one.finished for one in runs):
        remarks.append(ASKED)
    if any(one.tokens is None and not one.finished and one.kind != "prompt" for one in runs):
        remarks.append(
            "? is not known: downloading and building of corpora, graphs and vocabularies is not priced"
        )
    total = _total(runs)
    gpu_seconds = {gpu.name: sum(_on_gpu(one, gpu) for one in runs) for gpu in gpus}
    if gpus:
        remarks.append(
            f"GPU times assume {UTILISATION:.0%} of the peak in the data sheet (facts/gpus.csv), and at least "
            f"{1000 * STEP_SECONDS:.0f} ms a step; one run at a time"
        )
    return PlanPrice(plan.study.name, runs, total, gpu_seconds, list(dict.fromkeys(remarks)), list(plan.left_out))


def _on_gpu(price: RunPrice, gpu: Gpu) -> float:
    by_operations = (price.flops or 0.0) / (gpu.tflops * 1e12 * UTILISATION)
    return max(by_operations, STEP_SECONDS * (price.steps or 0))


def _trainings(step: Step) -> list[Training]:
    """The training whose speed a run goes by."""
    if step.kind in ("adapt", "family", "task", "fuse"):
        shape = {name: step.settings[name] for name in ADAPTER_SHAPE if name in step.settings}
        return [(_base(step), AdaptRecipe(**shape))]
    if step.kind in ("score", "alignment"):
        return [(_base(step), AdaptRecipe(method=str(step.cell["method"] or AdaptRecipe().method)))]
    return []


def _base(step: Step) -> str:
    (base,) = step.inputs["base"]
    return base.path if isinstance(base, Input) else ""


def _some_text(step: Step) -> list[str] | None:
    """Lines to time the training on, if the run has any that are there already."""
    for name, sources in step.inputs.items():
        for source in sources:
            if name.startswith("data:") and isinstance(source, Input):
                return load_text_data(Path(source.path)).train[:500]
    return None


def _speed(
    base: str, recipe: AdaptRecipe, text: Sequence[str] | None, seconds: float | None, remarks: list[str]
) -> Speed | None:
    """Timed on this machine, or worked out from the base's shape."""
    method = METHODS[recipe.method]
    forward = 1 / 3 if method.whole_model else 1 / 2
    if seconds is not None:
        try:
            started = time.monotonic()
            with progress_to(lambda *report: None):
                found = step_time(base, text or [_BUNDLED_LINE], recipe, most_seconds=seconds)
            overhead = max(0.0, time.monotonic() - started - 6 * found.seconds)
            return Speed(found.flops_per_token, found.trained, forward, found.seconds / found.tokens, overhead)
        except InputError as error:
            remarks.append(f"not timed here: {error.message}")
    if Path(model_location(base)).exists():
        return _by_config(base, recipe, forward)
    shape = base_shape(base)
    if shape is None:
        remarks.append(f"{base}: its size is not known without it")
        return None
    hidden, layers, vocabulary = shape
    body = 12 * layers * hidden**2
    head = _head(hidden, vocabulary, recipe)
    trained = round(method.parameters(recipe, Shape(hidden, layers, vocabulary)))
    return Speed(2 * (body + head) / forward, trained, forward)


def _head(hidden: int, vocabulary: int, recipe: AdaptRecipe) -> float:
    """Weights of the head by the share of tokens it is computed for; of a decoder it is one matrix, for all."""
    return hidden * vocabulary if recipe.objective == CAUSAL else HEAD_SHARE * (hidden**2 + hidden * vocabulary)


def _by_config(base: str, recipe: AdaptRecipe, forward: float) -> Speed:
    """Counted on the model without its weights: matrices that every token goes through, and the head for some."""
    model = weightless_model(base)
    body = _matrices(model.base_model) - _matrices(model.base_model.get_submodule(backbone_of(model).embeddings))
    config: Any = model.config
    head = _head(config.hidden_size, config.vocab_size, recipe)
    adapter = METHODS[recipe.method].config(recipe)
    if adapter is not None:
        attach(model, "priced", adapter)
    train_only(model, None if adapter is None else "priced")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return Speed(2 * (body + head) / forward, trained, forward)


def _matrices(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


_BUNDLED_LINE = "Ommi sajret borma kbira ta' minestra u missieri mar il-baħar biex jistad mal-ħbieb tiegħu."


def _priced(step: Step, finished: bool, speeds: Mapping[Training, Speed | None], remarks: list[str]) -> RunPrice:
    if step.kind == "prompt" and not finished:
        requests, tokens = requests_of(step)
        return RunPrice(step.name, step.kind, False, tokens, None, None, None, None, requests)
    if finished or not (kinds := _trainings(step)) or (speed := speeds[kinds[0]]) is None:
        return RunPrice(step.name, step.kind, finished, None, None, None, None)
    work = workload_of(step, kinds[0][0])
    if work.assumed:
        remarks.append(f"tokens are a guess for {work.assumed}")
    factor = FUSION if step.kind == "fuse" else 1.0
    equivalent = factor * (work.trained + speed.forward * work.read)
    copies = 2 if {"trained", "adapters"} & step.inputs.keys() and not is_whole_model(step.cell["method"]) else 1
    disk = 0 if step.kind in ("score", "alignment") else BYTES * speed.trained * copies
    seconds = None if speed.seconds_a_token is None else equivalent * speed.seconds_a_token + speed.overhead
    return RunPrice(
        step.name,
        step.kind,
        False,
        round(work.trained + work.read),
        equivalent * speed.flops_per_token,
        disk,
        seconds,
        work.steps,
    )


def _total(runs: Sequence[RunPrice]) -> RunPrice:
    """The sums over what is not finished, of what is known."""
    missing = [one for one in runs if not one.finished]
    seconds = [one.seconds for one in missing if one.seconds is not None]
    return RunPrice(
        name="total",
        kind="total",
        finished=False,
        tokens=sum(one.tokens or 0 for one in missing),
        flops=sum(one.flops or 0.0 for one in missing),
        disk_bytes=sum(one.disk_bytes or 0 for one in missing),
        seconds=sum(seconds) if seconds or not missing else None,
        requests=sum(one.requests or 0 for one in missing) if any(one.requests for one in missing) else None,
    )
