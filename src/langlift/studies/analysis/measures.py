"""Runs sorted into measures (what was measured) and conditions (under which settings), by language."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import mean
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from langlift.studies.analysis.spread import Spread, spread
from langlift.studies.single_runs import LOSS, PROMPTED
from langlift.studies.store import StudyRun
from langlift.tasks.task import TASKS

IDENTITY = ("language", "seed", "task", "metric", "behaviour")
"""Entries of a cell that are no settings, or are told otherwise (published behaviour)."""
BUILDS = ("corpus", "graph", "cut", "vocab")
"""Kinds of runs that make something for others: their number is a size, and measures no model."""
ALIGNMENT = "alignment"
"""The kind of runs that compare vectors: they are sorted by ``alignments.py``."""
PERPLEXITY, AS_PUBLISHED = "pseudo_perplexity", "pseudo_perplexity_published"
"""The second where a study has several variants: its values cannot be compared with the others'."""
CAUSAL_PERPLEXITY, CAUSAL_PER_CHARACTER = "perplexity", "perplexity_per_character"
"""The measures of decoders, which cannot be compared with those of masked models."""
PUBLISHED = "published"
WITHOUT = ("alone", "none")
"""Ways to use an adapter, or methods, by which nothing was adapted: what other conditions are compared with."""
NOTHING = "no adapter"
"""The name of a condition of which nothing is to be told."""
METRICS = {
    **{metric.name: metric.title for task in TASKS.values() for metric in (task.metric, *task.further)},
    PERPLEXITY: "pseudo-perplexity",
    AS_PUBLISHED: "pseudo-perplexity, variant published",
    "per_character": "pseudo-perplexity per character",
    "per_byte": "pseudo-perplexity per byte",
    CAUSAL_PERPLEXITY: "perplexity",
    CAUSAL_PER_CHARACTER: "perplexity per character",
    LOSS: "held-out loss",
    "cka": "linear CKA",
    "cka_shuffled": "CKA of shuffled sentences",
    "retrieval": "retrieved",
    "residual": "residual",
}
FURTHER = tuple(dict.fromkeys(metric.name for task in TASKS.values() for metric in task.further))
"""Metrics that runs have beside their headline number; a table of their own each."""
LOWER = (PERPLEXITY, AS_PUBLISHED, "per_character", "per_byte", CAUSAL_PERPLEXITY, CAUSAL_PER_CHARACTER, LOSS)
SHARES = ("cka", "cka_shuffled", "retrieval", "residual")
"""Measures of alignment, of which 1 is the whole."""


Number = TypeVar("Number", float, NDArray[np.float64])


@dataclass(frozen=True)
class Measure:
    """What a number says: a task's metric (0 to 100), a perplexity, or a held-out loss in nats."""

    task: str | None
    metric: str

    @property
    def title(self) -> str:
        """For people: "sentiment, macro-F1"."""
        metric = METRICS.get(self.metric, self.metric.replace("_", " "))
        if self.task is None:
            return metric
        task = TASKS.get(self.task)
        return f"{(task and task.label) or self.task}, {metric}"

    @property
    def name(self) -> str:
        """For files: "sentiment-macro_f1"."""
        return f"{self.task}-{self.metric}" if self.task else self.metric

    @property
    def lower_is_better(self) -> bool:
        """Whether less is better."""
        return self.metric in LOWER

    @property
    def is_perplexity(self) -> bool:
        """Whether ratios, not differences, are what counts."""
        return self.lower_is_better and not self.is_loss

    @property
    def of_decoders(self) -> bool:
        """Whether it is a perplexity of decoders."""
        return self.metric in (CAUSAL_PERPLEXITY, CAUSAL_PER_CHARACTER)

    @property
    def is_loss(self) -> bool:
        """Whether it is a loss, which only runs on the same data share."""
        return self.metric.endswith("loss")

    @property
    def gain_unit(self) -> str:
        """What gains are counted in."""
        return "% less" if self.is_perplexity else "nats less" if self.is_loss else "points more"

    def gain(self, value: Number, before: Number) -> Number:
        """How much better ``value`` is than ``before``, positive if it is: points, per cent less, or nats less."""
        if self.is_perplexity:
            return 100.0 * (1.0 - value / before)
        return before - value if self.lower_is_better else value - before


@dataclass(frozen=True)
class Condition:
    """What runs have in common that differ only in language and seed; ``label`` tells it from others."""

    label: str
    settings: Mapping[str, Any]

    @property
    def is_reference(self) -> bool:
        """Whether nothing was adapted, so that gains are counted from it."""
        return self.settings.get("use", self.settings.get("method", "none")) in WITHOUT


@dataclass(frozen=True)
class Results:
    """All runs of one measure.

    ``cells`` has the runs of each language and condition (by its label), a run for each seed. ``repeated`` counts
    runs left out because another one has the same language, condition and seed. ``varied`` are the settings that
    differ between conditions, be it only that some lack them.
    """

    measure: Measure
    conditions: list[Condition]
    languages: list[str]
    cells: Mapping[tuple[str, str], list[StudyRun]]
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
        """Whether conditions can be told better or worse: not by losses on other data or of another kind."""
        return not (self.measure.is_loss and {"data", "objective", "base"} & set(self.varied))

    @cached_property
    def published(self) -> list[tuple[Condition, Condition]]:
        """Pairs of conditions that differ in nothing but the behaviour: (corrected, as published)."""
        pairs = []
        for condition in self.conditions:
            if condition.settings.get(PUBLISHED):
                plain = {k: v for k, v in condition.settings.items() if k != PUBLISHED}
                pairs += [(other, condition) for other in self.conditions if dict(other.settings) == plain]
        return pairs

    def runs(self, language: str, condition: Condition) -> list[StudyRun]:
        """The runs of a cell, a run for each seed."""
        return self.cells.get((language, condition.label), [])

    def values(self, language: str, condition: Condition) -> list[float]:
        """The seeds' numbers of a cell."""
        return [run.value for run in self.runs(language, condition) if run.value is not None]

    def spread(self, language: str, condition: Condition) -> Spread | None:
        """Mean and spread of a cell; None if it has no run."""
        values = self.values(language, condition)
        return spread(values) if values else None

    def baselines(self, language: str) -> dict[str, float]:
        """The means over all runs of what the language's baselines reach, by their names."""
        found: dict[str, list[float]] = {}
        for condition in self.conditions:
            for run in self.runs(language, condition):
                for name, value in (run.result.get("baseline") or {}).items():
                    found.setdefault(name, []).append(float(value))
        return {name: mean(values) for name, values in found.items()}

    def overall(self, condition: Condition) -> Spread | None:
        """Mean and spread over seeds of the mean over languages; None unless every language was run.

        With the same seeds in every language the spread is that of the seeds' means; else only the mean is known.
        """
        by_language = [self._by_seed(language, condition) for language in self.languages]
        if len(self.languages) < 2 or not all(by_language):
            return None
        seeds = by_language[0].keys()
        if all(values.keys() == seeds for values in by_language):
            return spread([mean(values[seed] for values in by_language) for seed in seeds])
        return Spread(1, mean(mean(values.values()) for values in by_language), None, None, None)

    def pairs(self, language: str, condition: Condition, other: Condition) -> list[tuple[float, float]]:
        """(value, value of ``other``) of one language by seed; where ``other`` has no such seed, its mean."""
        others = self._by_seed(language, other)
        if not others:
            return []
        middle = mean(others.values())
        return [(v, others.get(seed, middle)) for seed, v in self._by_seed(language, condition).items()]

    def _by_seed(self, language: str, condition: Condition) -> dict[Any, float]:
        runs = self.runs(language, condition)
        return {_seed(run): run.value for run in runs if run.value is not None}

    def gains(self, language: str, condition: Condition) -> list[float]:
        """How much better each seed is than without adaptation (by the reference, or by the runs' ``before``)."""
        reference = self.reference(condition)
        if reference is not None:
            return [self.measure.gain(*pair) for pair in self.pairs(language, condition, reference)]
        runs = [run for run in self.runs(language, condition) if run.result.get("before") is not None]
        return [self.measure.gain(run.value, float(run.result["before"])) for run in runs if run.value is not None]


def sort_results(runs: Sequence[StudyRun]) -> list[Results]:
    """One ``Results`` for each measure: perplexities first, then tasks, then losses."""
    by_measure: dict[Measure, list[StudyRun]] = {}
    for run in (told for one in runs for told in (_headline(one), *_further(one))):
        if run.value is not None and run.kind not in (*BUILDS, ALIGNMENT):
            by_measure.setdefault(measure_of(run), []).append(run)
    order = sorted(by_measure, key=lambda m: (m.is_loss, m.task is not None, m.name))
    return [results_of(measure, by_measure[measure]) for measure in order]


def _headline(run: StudyRun) -> StudyRun:
    """The run with the baselines of its headline number alone."""
    baseline = run.result.get("baseline") or {}
    own = {name: value for name, value in baseline.items() if not name.endswith(tuple(f"_{m}" for m in FURTHER))}
    return replace(run, result={**run.result, "baseline": own}) if baseline else run


def _further(run: StudyRun) -> list[StudyRun]:
    """The run once for each further metric that it has."""
    baseline = run.result.get("baseline") or {}
    found = []
    for metric in (one for one in FURTHER if one in run.result):
        end = f"_{metric}"
        own = {name.removesuffix(end): value for name, value in baseline.items() if name.endswith(end)}
        result = {"value": run.result[metric], "before": None, "baseline": own}
        found.append(replace(run, cell={**run.cell, "metric": metric}, result=result))
    return found


def measure_of(run: StudyRun) -> Measure:
    """What a run's headline number says."""
    metric = run.cell.get("metric")
    if metric is None:
        metric = PERPLEXITY if run.kind == "score" else LOSS
    if metric == PERPLEXITY and run.cell.get("variant") == PUBLISHED:
        metric = AS_PUBLISHED
    return Measure(run.cell.get("task"), str(metric))


def settings_of(run: StudyRun) -> dict[str, Any]:
    """The settings of a run's cell that are set, and whether published behaviour was on."""
    settings = {key: value for key, value in run.cell.items() if key not in IDENTITY and value is not None}
    return {**settings, PUBLISHED: True} if run.published else settings


def language_of(run: StudyRun) -> str:
    """The language's code; of runs on many languages, what says so."""
    return str(run.cell.get("language") or "all languages")


def label(settings: Mapping[str, Any], varied: Sequence[str]) -> str:
    """A condition in a few words: what it is, of the settings that differ."""
    parts = []
    for key in varied:
        value = settings.get(key)
        if value is None:
            continue
        name = key.replace("_", " ").replace(".", " ")
        if key == PUBLISHED:
            parts.append("as published")
        elif value == "none":
            parts.append(f"{name} none")
        elif isinstance(value, bool):
            parts.append(name if value else f"no {name}")
        elif isinstance(value, int | float):
            parts.append(f"{name} {value:,g}")
        else:
            parts.append(str(value))
    return ", ".join(parts)


def results_of(measure: Measure, runs: Sequence[StudyRun]) -> Results:
    """Runs of one measure, sorted by language and condition."""
    all_settings = [settings_of(run) for run in runs]
    keys = list(dict.fromkeys(key for settings in all_settings for key in settings))
    varied = [key for key in keys if len({json.dumps(s.get(key), default=str) for s in all_settings}) > 1]
    named_by = _telling(all_settings, varied)
    conditions: dict[str, Condition] = {}
    cells: dict[tuple[str, str], list[StudyRun]] = {}
    met: set[tuple[str, str, Any]] = set()
    repeated = 0
    for run, settings in zip(runs, all_settings, strict=True):
        text = label(settings, named_by) or _fixed_label(settings)
        conditions.setdefault(text, Condition(text, settings))
        place = (language_of(run), text, _seed(run))
        if place in met:
            repeated += 1
            continue
        met.add(place)
        cells.setdefault(place[:2], []).append(run)
    ordered = sorted(
        conditions.values(), key=lambda c: (not c.is_reference, len(c.settings) if c.is_reference else 0)
    )
    languages = sorted({language for language, _ in cells})
    return Results(measure, ordered, languages, cells, varied, repeated)


def _telling(all_settings: Sequence[Mapping[str, Any]], varied: Sequence[str]) -> list[str]:
    """The settings to name conditions by: those with several values, and of the others as many as it takes."""

    def distinct(keys: Sequence[str]) -> int:
        return len({json.dumps([s.get(key) for key in keys], default=str) for s in all_settings})

    several = [k for k in varied if len({json.dumps(s[k], default=str) for s in all_settings if k in s}) > 1]
    chosen = set(several) | ({PUBLISHED} & set(varied))
    for key in varied:
        if distinct([k for k in varied if k in chosen]) == distinct(varied):
            break
        chosen.add(key)
    return [key for key in varied if key in chosen]


def _fixed_label(settings: Mapping[str, Any]) -> str:
    """The name of a condition that stands alone."""
    prompted = settings.get("use") == PROMPTED  # of which the model is what is to be told
    keys = (*(("base",) if prompted else ()), "use", "method", "data")
    named = [str(settings[key]) for key in keys if settings.get(key)]
    return ", ".join(named) or NOTHING


def _seed(run: StudyRun) -> Any:
    return run.cell.get("seed")
