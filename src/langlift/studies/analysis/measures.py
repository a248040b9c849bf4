"""Runs sorted into measures (what was measured) and conditions (with which settings), by language."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import sqrt
from statistics import mean, stdev
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from langlift.studies.folder import LOSS, StudyRun
from langlift.studies.step import ALL_EXAMPLES, BUILDS, TRAIN_EXAMPLES
from langlift.studies.study import PROMPTED_USE
from langlift.tasks.task import TASKS

NOT_SETTINGS = ("language", "seed", "task", "metric", "behaviour")
"""Entries of a cell that are not settings, or are shown in another way (published behaviour)."""
ALIGNMENT = "alignment"
"""The kind of runs that compare vectors; ``analysing.py`` sorts them."""
PERPLEXITY, AS_PUBLISHED = "pseudo_perplexity", "pseudo_perplexity_published"
"""The second if a study has several variants: its values cannot be compared with the others'."""
CAUSAL_PERPLEXITY, CAUSAL_PER_CHARACTER = "perplexity", "perplexity_per_character"
"""The measures of decoders, which cannot be compared with those of masked models."""
PERPLEXITIES = {
    PERPLEXITY: "pseudo-perplexity",
    AS_PUBLISHED: "pseudo-perplexity, variant published",
    "per_character": "pseudo-perplexity per character",
    "per_byte": "pseudo-perplexity per byte",
    CAUSAL_PERPLEXITY: "perplexity",
    CAUSAL_PER_CHARACTER: "perplexity per character",
}
SHARES = {
    "cka": "linear CKA",
    "cka_shuffled": "CKA of shuffled sentences",
    "retrieval": "retrieved",
    "residual": "residual",
    "neurons": "shared neurons",
}
"""Measures of alignment, as shares of 1."""
METRICS = {
    **{metric.name: metric.title for task in TASKS.values() for metric in (task.metric, *task.further)},
    **PERPLEXITIES,
    **SHARES,
    LOSS: "held-out loss",
}
FURTHER = tuple(dict.fromkeys(metric.name for task in TASKS.values() for metric in task.further))
"""Additional metrics of runs, each with its own table."""
PUBLISHED = "published"
WITHOUT = ("alone", "none")
"""The uses and methods without adaptation, which other conditions are compared with."""
NO_ADAPTER = "no adapter"
"""The name of a condition without any settings to name it by."""

Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (n - 1) and confidence interval of the mean of ``count`` values.

    ``std``, ``low`` and ``high`` are None for a single value.
    """

    count: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread, with Student's 95 % interval: mean ± t(n - 1) · std / √n."""
    from scipy.stats import t

    count, middle = len(values), mean(values)
    if count < 2:
        return Spread(count, middle)
    std = stdev(values)
    half = float(t.ppf(0.975, count - 1)) * std / sqrt(count)
    return Spread(count, middle, std, middle - half, middle + half)


@dataclass(frozen=True)
class Measure:
    """What a value measures: a task's metric (0 to 100), a perplexity, or a held-out loss in nats."""

    task: str | None
    metric: str

    @property
    def title(self) -> str:
        """The title in reports: "sentiment, macro-F1"."""
        metric = METRICS.get(self.metric, self.metric.replace("_", " "))
        if self.task is None:
            return metric
        task = TASKS.get(self.task)
        return f"{(task and task.label) or self.task}, {metric}"

    @property
    def name(self) -> str:
        """The name in files: "sentiment-macro_f1"."""
        return f"{self.task}-{self.metric}" if self.task else self.metric

    @property
    def is_perplexity(self) -> bool:
        """Whether ratios are compared, not differences."""
        return self.metric in PERPLEXITIES

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss, which can only be compared on the same data."""
        return self.metric.endswith("loss")

    @property
    def lower_is_better(self) -> bool:
        """Whether lower values are better."""
        return self.is_perplexity or self.is_loss

    @property
    def gain_unit(self) -> str:
        """The unit of gains."""
        return "% less" if self.is_perplexity else "nats less" if self.is_loss else "points more"

    def gain(self, value: Number, before: Number) -> Number:
        """How much better ``value`` is than ``before``, positive if it is: points, per cent less, or nats less."""
        if self.is_perplexity:
            return 100.0 * (1.0 - value / before)
        return before - value if self.lower_is_better else value - before


@dataclass(frozen=True)
class Condition:
    """The settings shared by runs that differ only in language and seed; ``label`` names it."""

    label: str
    settings: Mapping[str, Any]

    @property
    def is_reference(self) -> bool:
        """Whether nothing was adapted, so that gains are relative to it."""
        return self.settings.get("use", self.settings.get("method", "none")) in WITHOUT


@dataclass(frozen=True)
class Results:
    """All runs of one measure.

    ``cells`` contains the runs of each language and condition (by its label) by seed. ``repeated`` is
    the number of runs that are not counted because another has the same language, condition and seed. ``varied``
    are the settings that differ between conditions, including those that only some have.
    """

    measure: Measure
    conditions: list[Condition]
    languages: list[str]
    cells: Mapping[tuple[str, str], Mapping[Any, StudyRun]]
    varied: list[str]
    repeated: int

    def reference(self, condition: Condition) -> Condition | None:
        """The condition without adaptation that ``condition`` is compared with: what it sets is the same there."""
        if self.measure.is_loss or condition.is_reference:
            return None
        found = [
            other
            for other in self.conditions
            if other.is_reference
            and all(
                condition.settings.get(k) == v for k, v in other.settings.items() if k not in ("use", "method")
            )
        ]
        return max(found, key=lambda other: len(other.settings), default=None)

    @property
    def comparable(self) -> bool:
        """Whether conditions can be ranked: not by losses on different data or of different kinds."""
        return not (self.measure.is_loss and {"data", "objective", "base"} & set(self.varied))

    @property
    def published(self) -> list[tuple[Condition, Condition]]:
        """Pairs of conditions that differ only in the published behaviour: (corrected, as published)."""
        pairs = permutations(self.conditions, 2)
        return [(one, other) for one, other in pairs if {**one.settings, PUBLISHED: True} == dict(other.settings)]

    @property
    def all_runs(self) -> list[StudyRun]:
        """The runs of all cells."""
        return [run for cell in self.cells.values() for run in cell.values()]

    @property
    def filled(self) -> list[tuple[str, Condition]]:
        """Each language and condition with runs, language by language."""
        return [
            (name, one) for name in self.languages for one in self.conditions if (name, one.label) in self.cells
        ]

    def runs(self, language: str, condition: Condition) -> list[StudyRun]:
        """The runs of a cell, one for each seed."""
        return list(self.cells.get((language, condition.label), {}).values())

    def values(self, language: str, condition: Condition) -> list[float]:
        """The values of a cell, by seed."""
        return [run.value for run in self.runs(language, condition)]

    def spread(self, language: str, condition: Condition) -> Spread | None:
        """Mean and spread of a cell; None if it has no run."""
        values = self.values(language, condition)
        return spread(values) if values else None

    def baselines(self, language: str) -> dict[str, float]:
        """The mean over all runs of each of the language's baselines; one for each size of train, if it varies."""
        found: dict[str, list[float]] = {}
        size = [key for key in self.varied if key.rpartition(".")[2] == TRAIN_EXAMPLES]
        for condition in self.conditions:
            end = "".join(f", {label({key: condition.settings.get(key, ALL_EXAMPLES)}, [key])}" for key in size)
            for run in self.runs(language, condition):
                for name, value in (run.result.get("baseline") or {}).items():
                    found.setdefault(f"{name}{end}", []).append(float(value))
        return {name: mean(values) for name, values in found.items()}

    def overall(self, condition: Condition) -> Spread | None:
        """Mean and spread over seeds of the mean over languages; None unless every language was run.

        If all languages have the same seeds, the spread is that of the seeds' means; else only the mean is known.
        """
        by_language = [self._by_seed(language, condition) for language in self.languages]
        if len(self.languages) < 2 or not all(by_language):
            return None
        seeds = by_language[0].keys()
        if all(values.keys() == seeds for values in by_language):
            return spread([mean(values[seed] for values in by_language) for seed in seeds])
        return Spread(1, mean(mean(values.values()) for values in by_language))

    def pairs(self, language: str, condition: Condition, other: Condition) -> list[tuple[float, float]]:
        """(value, value of ``other``) of one language by seed; the mean of ``other`` if it lacks the seed."""
        others = self._by_seed(language, other)
        if not others:
            return []
        middle = mean(others.values())
        return [(v, others.get(seed, middle)) for seed, v in self._by_seed(language, condition).items()]

    def _by_seed(self, language: str, condition: Condition) -> dict[Any, float]:
        return {seed: run.value for seed, run in self.cells.get((language, condition.label), {}).items()}

    def gains(self, language: str, condition: Condition) -> list[float]:
        """The gain of each seed over no adaptation (by the reference, or by the runs' ``before``)."""
        if (reference := self.reference(condition)) is not None:
            pairs = self.pairs(language, condition, reference)
        else:
            befores = [(run.value, run.result.get("before")) for run in self.runs(language, condition)]
            pairs = [(value, float(before)) for value, before in befores if before is not None]
        return [self.measure.gain(*pair) for pair in pairs]


def sort_results(runs: Sequence[StudyRun]) -> list[Results]:
    """One ``Results`` for each measure: perplexities first, then tasks, then losses."""
    by_measure: dict[Measure, list[StudyRun]] = {}
    for run in (of_metric for one in runs for of_metric in _by_metric(one)):
        if run.value is not None and run.kind not in (*BUILDS, ALIGNMENT):
            by_measure.setdefault(measure_of(run), []).append(run)
    order = sorted(by_measure, key=lambda m: (m.is_loss, m.task is not None, m.name))
    return [results_of(measure, by_measure[measure]) for measure in order]


def _by_metric(run: StudyRun) -> list[StudyRun]:
    """The run, and a copy of it for each further metric, each with its own baselines only."""
    baseline = run.result.get("baseline") or {}
    own = {name: value for name, value in baseline.items() if not name.endswith(tuple(f"_{m}" for m in FURTHER))}
    found = [replace(run, result={**run.result, "baseline": own}) if baseline else run]
    for metric in (one for one in FURTHER if one in run.result):
        end = f"_{metric}"
        own = {name.removesuffix(end): value for name, value in baseline.items() if name.endswith(end)}
        result = {"value": run.result[metric], "before": None, "baseline": own}
        found.append(replace(run, cell={**run.cell, "metric": metric}, result=result))
    return found


def measure_of(run: StudyRun) -> Measure:
    """The measure of a run's main number."""
    metric = run.cell.get("metric")
    if metric is None:
        metric = PERPLEXITY if run.kind == "score" else LOSS
    if metric == PERPLEXITY and run.cell.get("variant") == PUBLISHED:
        metric = AS_PUBLISHED
    return Measure(run.cell.get("task"), str(metric))


def settings_of(run: StudyRun) -> dict[str, Any]:
    """The settings in a run's cell, and whether published behaviour was on."""
    settings = {key: value for key, value in run.cell.items() if key not in NOT_SETTINGS and value is not None}
    return {**settings, PUBLISHED: True} if run.published else settings


def language_of(run: StudyRun) -> str:
    """The language's code; "all languages" for a run with many."""
    return str(run.cell.get("language") or "all languages")


def label(settings: Mapping[str, Any], varied: Sequence[str]) -> str:
    """A condition in a few words, by the settings that differ."""
    parts = []
    for key in varied:
        value = settings.get(key)
        name = key.replace("_", " ").replace(".", " ")
        if key == PUBLISHED:
            parts.append("as published" if value else "")
        elif isinstance(value, bool):
            parts.append(name if value else f"no {name}")
        elif isinstance(value, int | float):
            parts.append(f"{name} {value:,g}")
        else:
            parts.append(f"{name} none" if value == "none" else str(value or ""))
    return ", ".join(filter(None, parts))


def results_of(measure: Measure, runs: Sequence[StudyRun]) -> Results:
    """Runs of one measure, sorted by language and condition."""
    all_settings = [settings_of(run) for run in runs]
    keys = list(dict.fromkeys(key for settings in all_settings for key in settings))
    varied = [key for key in keys if len({json.dumps(s.get(key), default=str) for s in all_settings}) > 1]
    distinguishing = _distinguishing(all_settings, varied)
    conditions: dict[str, Condition] = {}
    cells: dict[tuple[str, str], dict[Any, StudyRun]] = {}
    for run, settings in zip(runs, all_settings, strict=True):
        prompted = settings.get("use") == PROMPTED_USE
        alone = [settings.get(key) for key in (*(("base",) if prompted else ()), "use", "method", "data")]
        text = label(settings, distinguishing) or ", ".join(str(one) for one in alone if one) or NO_ADAPTER
        conditions.setdefault(text, Condition(text, settings))
        cells.setdefault((language_of(run), text), {}).setdefault(run.cell.get("seed"), run)
    ordered = sorted(
        conditions.values(), key=lambda c: (not c.is_reference, len(c.settings) if c.is_reference else 0)
    )
    languages = sorted({language for language, _ in cells})
    return Results(measure, ordered, languages, cells, varied, len(runs) - sum(map(len, cells.values())))


def _distinguishing(all_settings: Sequence[Mapping[str, Any]], varied: Sequence[str]) -> list[str]:
    """The settings to name conditions by: those with several values, and as many of the others as are needed."""

    def distinct(keys: Sequence[str]) -> int:
        return len({json.dumps([s.get(key) for key in keys], default=str) for s in all_settings})

    several = [k for k in varied if len({json.dumps(s[k], default=str) for s in all_settings if k in s}) > 1]
    chosen = set(several) | ({PUBLISHED} & set(varied))
    for key in varied:
        if distinct([k for k in varied if k in chosen]) == distinct(varied):
            break
        chosen.add(key)
    return [key for key in varied if key in chosen]
