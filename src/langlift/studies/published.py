"""The figures published in arXiv 2502.10140 for what a study measured, and how the experiments differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from langlift.adapters.method import is_whole_model, readers
from langlift.language_facts import FACTS, fact_rows, seed_language_codes
from langlift.studies.analysis.measures import AS_PUBLISHED, PERPLEXITY, Condition, Measure, Results
from langlift.studies.folder import StudyRun
from langlift.studies.step import DEFAULT_OBJECTIVE
from langlift.studies.study import PROMPTED_USE
from langlift.tasks.task import TASKS, Published
from langlift.training.recipes import AdaptRecipe
from langlift.training.run_folder import read_recipe

SOURCE = "arXiv 2502.10140"
MODELS = {"mbert": "mBERT", "xlmr": "XLM-R"}
BASES = {
    "google-bert/bert-base-multilingual-cased": "mbert",
    "bert-base-multilingual-cased": "mbert",
    "FacebookAI/xlm-roberta-base": "xlmr",
    "xlm-roberta-base": "xlmr",
}
PERPLEXITIES = Published("pppl", "tables 10, 11")
LARGE_MODELS_TABLE = f"{SOURCE}, table 24"
ZERO_SHOT_COLUMNS = ("GPT-3.5-turbo-0613", "GPT-4-0613")
KINDS_OF_DATA = {"graph": ("graph", "conceptnet"), "text": ("text", "glotcc", "corpus")}
"""Knowledge graph or corpus, by parts of the names of data."""
ADAPT = {"batch_size": 16, "learning_rate": 1e-4}
BOTTLENECK = {"reduction_factor": 16.0}
STEPS = {"graph": 25_000, "text": 100_000}
TASK = {"batch_size": 32, "learning_rate": 1e-4, "reduction_factor": 16.0}
SEEDS = 3


@dataclass(frozen=True)
class PublishedFigure:
    """One published number, with its model, its column and its table."""

    model: str
    column: str
    value: float
    table: str


def published_figures(measure: Measure, condition: Condition, language: str) -> list[PublishedFigure]:
    """What was published for a condition in a language: for the same base if it has figures, else for both."""
    base = str(condition.settings.get("base"))
    if condition.settings.get("use") == PROMPTED_USE:
        return [
            PublishedFigure(name, shots_of(name), value, LARGE_MODELS_TABLE)
            for name, value in large_figures(measure, language).items()
            if Path(base).name.casefold() == name.casefold()
        ]
    table, column = published_table(measure), _column_of(condition)
    if table is None or column is None:
        return []
    rows = {model: published_rows(table.table).get((model, language), {}) for model in MODELS}
    return [
        PublishedFigure(MODELS[model], column, float(row[column]), f"{SOURCE}, {table.place}")
        for model, row in rows.items()
        if row.get(column) and BASES.get(base) in (None, model)
    ]


def published_table(measure: Measure) -> Published | None:
    """The table of the paper for a measure, if there is one."""
    if measure.task is None:
        return PERPLEXITIES if measure.metric in (PERPLEXITY, AS_PUBLISHED) else None
    task = TASKS.get(measure.task)
    return task.published if task and task.metric.name == measure.metric else None


def large_figures(measure: Measure, language: str) -> dict[str, float]:
    """Model -> the figure published for it in a language when prompted."""
    table = published_table(measure)
    row = published_rows(f"llm_{table.table}").get((None, language), {}) if table else {}
    return {model: float(text) for model, text in row.items() if model != "language" and text}


def shots_of(model: str) -> str:
    """How a model of those figures was prompted."""
    return "zero-shot" if model in ZERO_SHOT_COLUMNS else "3-shot"


def _column_of(condition: Condition) -> str | None:
    """The column of the published tables for the condition's method and kind of data, if there is one."""
    settings = condition.settings
    use, method, data = settings.get("use"), settings.get("method"), str(settings.get("data", ""))
    if condition.is_reference:
        return "base"
    if settings.get("objective", DEFAULT_OBJECTIVE) != DEFAULT_OBJECTIVE or settings.get("task_method"):
        return None
    kinds = {kind for part in data.replace("+", ",").split(",") if (kind := _kind_of_data(part))}
    if use == "fused":
        return f"fusion_{method or AdaptRecipe().method}" if kinds == {"graph", "text"} else None
    if use == "full" or "," in data or len(kinds) != 1 or "+" in data:
        return None
    if is_whole_model(method):
        return "glot_fft" if kinds == {"text"} else None
    return f"{'cn' if kinds == {'graph'} else 'glot'}_{method}" if method else None


def _kind_of_data(name: str) -> str | None:
    """ "graph" or "text", if a data set's name says it."""
    found = (kind for kind, words in KINDS_OF_DATA.items() if any(word in name.lower() for word in words))
    return next(found, None)


def what_differs(results: Results, runs: Sequence[StudyRun]) -> list[str]:
    """The differences between a measure's experiment and the published one, one per line; never empty."""
    own = results.all_runs
    adapting = [run for run in runs if run.kind == "adapt"]
    settings = [c.settings for c in results.conditions]
    bases = {str(s["base"]) for s in settings if s.get("use") != PROMPTED_USE and s.get("base")} - BASES.keys()
    data = {str(s["data"]) for s in settings if s.get("data")}
    all_published = all(run.published for run in own)
    task = TASKS.get(results.measure.task or "")
    lines = []
    if bases:
        lines.append(f"Base model: {', '.join(sorted(bases))} here; mBERT and XLM-R (base) there.")
    if data:
        lines.append(f"Adaptation data: {', '.join(sorted(data))} here; GlotCC text and ConceptNet there.")
    if results.measure.metric in (PERPLEXITY, AS_PUBLISHED):
        lines.append("Test text: the study's own here; FLORES-200 devtest there.")
        if results.measure.metric == PERPLEXITY and not all_published:
            lines.append(
                "Pseudo-perplexity: one value over all tokens without special ones here; the mean of the "
                "sentences' values, with special tokens masked too, there (--variant published)."
            )
    else:
        lines.append("Training and test sets: the study's own here; those of the paper there.")
        if task and "label_subwords" not in task.unused and not all_published:
            lines.append("Entities: scored on words here; on every subword there (label_subwords: every).")
    if any(run.cell.get("use") == PROMPTED_USE for run in own):
        lines.append(
            "Prompted models: prompts, examples and how answers are read are langlift's here; 3-shot figures of "
            "Ji et al. (2024) there, and for GPT zero-shot ones of Adelani et al. (2024), called F1."
        )
    lines += _settings_differ("Adapters", adapting, "adapt", ADAPT)
    bottlenecks = [run for run in adapting if run.cell.get("method") in readers("reduction_factor")]
    lines += _settings_differ("Adapters", bottlenecks, "adapt", BOTTLENECK)
    for kind, steps in STEPS.items():
        some = [run for run in adapting if _kind_of_data(str(run.cell.get("data"))) == kind]
        lines += _settings_differ(f"Adapters on {kind}", some, "adapt", {"steps": steps})
    if results.measure.task is not None:
        there: dict[str, Any] = {**TASK, **({"epochs": task.epochs} if task and task.published else {})}
        lines += _settings_differ("Task training", own, "task", there)
        if (counts := {len(cell) for cell in results.cells.values()}) - {SEEDS}:
            lines.append(f"Seeds: {_either(counts)} here; {SEEDS} there.")
    return lines


def _settings_differ(who: str, runs: Sequence[StudyRun], section: str, there: Mapping[str, Any]) -> list[str]:
    recipes = [read_recipe(run.folder).get(section) or {} for run in runs]
    here = {key: {one[key] for one in recipes if one.get(key) is not None} for key in there}
    return [
        f"{who}: {key.replace('_', ' ')} {_either(values)} here; {there[key]:,g} there."
        for key, values in here.items()
        if values and {float(value) for value in values} != {float(there[key])}
    ]


def _either(values: set[Any]) -> str:
    return " or ".join(f"{value:,g}" for value in sorted(values))


@cache
def published_rows(table: str) -> Mapping[tuple[str | None, str], dict[str, str]]:
    """(model, FLORES code of the language) -> the row of a table; of prompted models, (None, code)."""
    if not (FACTS / (name := f"published_{table}.csv")).is_file():
        return {}
    codes = seed_language_codes()
    return {(row.get("model"), codes[row["language"]]): row for row in fact_rows(name)}
