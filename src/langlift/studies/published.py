"""The figures published in arXiv 2502.10140 for what a study measured, and what differs between both."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from langlift.adapters.method import is_whole_model, readers
from langlift.errors import InputError
from langlift.language_facts import seed_language_codes
from langlift.studies.analysis.measures import AS_PUBLISHED, PERPLEXITY, Condition, Measure, Results
from langlift.studies.single_runs import PROMPTED, read_recipe
from langlift.studies.store import StudyRun
from langlift.tasks.task import TASKS, Published

SOURCE = "arXiv 2502.10140"
MODELS = {"mbert": "mBERT", "xlmr": "XLM-R"}
BASES = {
    "google-bert/bert-base-multilingual-cased": "mbert",
    "bert-base-multilingual-cased": "mbert",
    "FacebookAI/xlm-roberta-base": "xlmr",
    "xlm-roberta-base": "xlmr",
}
PERPLEXITIES = Published("pppl", "tables 10, 11")
LARGE_PLACE = f"{SOURCE}, table 24"
ZERO_SHOT_COLUMNS = ("GPT-3.5-turbo-0613", "GPT-4-0613")
GRAPHS, TEXTS = ("graph", "conceptnet"), ("text", "glotcc", "corpus")
"""What a study's data is called, in part, if it is a knowledge graph, or a corpus."""
ADAPT = {"batch_size": 16, "learning_rate": 1e-4}
BOTTLENECK = {"reduction_factor": 16.0}
STEPS = {"graph": 25_000, "text": 100_000}
TASK = {"batch_size": 32, "learning_rate": 1e-4, "reduction_factor": 16.0}
SEEDS = 3


@dataclass(frozen=True)
class PublishedFigure:
    """One published number: of which model and column of the table, and where it stands."""

    model: str
    column: str
    value: float
    place: str


def published_figures(measure: Measure, condition: Condition, language: str) -> list[PublishedFigure]:
    """What was published for a condition in a language: for the same base if it has figures, else for both."""
    if condition.settings.get("use") == PROMPTED:
        return [
            PublishedFigure(name, shots_of(name), value, LARGE_PLACE)
            for name, value in large_figures(measure, language).items()
            if Path(str(condition.settings.get("base"))).name.casefold() == name.casefold()
        ]
    table = published_table(measure)
    column = column_of(measure, condition)
    if table is None or column is None:
        return []
    base = BASES.get(str(condition.settings.get("base")))
    found = []
    for model, name in MODELS.items():
        text = _rows(table.table).get((model, language), {}).get(column)
        if text and base in (None, model):
            found.append(PublishedFigure(name, column, float(text), f"{SOURCE}, {table.place}"))
    return found


def published_table(measure: Measure) -> Published | None:
    """The table of the paper that has what was measured, if there is one."""
    if measure.task is None:
        return PERPLEXITIES if measure.metric in (PERPLEXITY, AS_PUBLISHED) else None
    task = TASKS.get(measure.task)
    return task.published if task and task.metric.name == measure.metric else None


def large_figures(measure: Measure, language: str) -> dict[str, float]:
    """Model -> the figure published for it in a language when prompted; nothing where none is."""
    table = published_table(measure)
    row = _large_rows(table.table).get(language, {}) if table else {}
    return {model: float(text) for model, text in row.items() if model != "language" and text}


def shots_of(model: str) -> str:
    """How a model of those figures was asked."""
    return "zero-shot" if model in ZERO_SHOT_COLUMNS else "3-shot"


def column_of(measure: Measure, condition: Condition) -> str | None:
    """The column of the published tables that has the condition's method and kind of data; None without one."""
    settings = condition.settings
    use, method, data = settings.get("use"), settings.get("method"), str(settings.get("data", ""))
    if condition.is_reference:
        return "base"
    if settings.get("objective", "mlm") != "mlm" or settings.get("task_method"):
        return None
    kinds = {kind for part in data.replace("+", ",").split(",") if (kind := data_source(part))}
    if use == "fused":
        name = method or "seq_bn"
        return f"fusion_{name}" if kinds == {"graph", "text"} else None
    if use == "full" or "," in data or len(kinds) != 1 or "+" in data:
        return None
    if is_whole_model(method):
        return "glot_fft" if kinds == {"text"} else None
    prefix = "cn" if kinds == {"graph"} else "glot"
    return f"{prefix}_{method}" if method else None


def data_source(name: str) -> str | None:
    """ "graph" or "text", as far as a data set's name tells."""
    lower = name.lower()
    if any(word in lower for word in GRAPHS):
        return "graph"
    return "text" if any(word in lower for word in TEXTS) else None


def what_differs(results: Results, runs: Sequence[StudyRun]) -> list[str]:
    """Why a measure's figures and the published ones are not the same experiment, line by line; never empty."""
    own = [run for cell in results.cells.values() for run in cell]
    adapting = [run for run in runs if run.kind == "adapt"]
    prompted = [run for run in own if run.cell.get("use") == PROMPTED]
    adapted = [c for c in results.conditions if c.settings.get("use") != PROMPTED]
    bases = sorted({str(c.settings.get("base")) for c in adapted if c.settings.get("base")})
    task = TASKS.get(results.measure.task or "")
    lines = []
    if others := [base for base in bases if base not in BASES]:
        lines.append(f"Base model: {', '.join(others)} here; mBERT and XLM-R (base) there.")
    data = sorted({str(c.settings["data"]) for c in results.conditions if c.settings.get("data")})
    if data:
        lines.append(f"Adaptation data: {', '.join(data)} here; GlotCC text and ConceptNet there.")
    if results.measure.metric in (PERPLEXITY, AS_PUBLISHED):
        lines.append("Test text: the study's own here; FLORES-200 devtest there.")
        if results.measure.metric == PERPLEXITY and not all(run.published for run in own):
            lines.append(
                "Pseudo-perplexity: one value over all tokens, special ones left out, here; the mean of the "
                "sentences' values, special tokens masked too, there (--variant published)."
            )
    else:
        lines.append("Training and test sets: the study's own here, those of the paper there.")
        if task and "label_subwords" not in task.unused and not all(run.published for run in own):
            lines.append("Entities: scored on words here; on every subword there (label_subwords: every).")
    if prompted:
        lines.append(
            "Prompted models: prompts, examples and how answers are read are langlift's here; there 3-shot "
            "figures of Ji et al. (2024), and for GPT zero-shot ones of Adelani et al. (2024), called F1."
        )
    if adapting:
        lines += _settings_differ("Adapters", adapting, "adapt", ADAPT)
        bottlenecks = [run for run in adapting if run.cell.get("method") in readers("reduction_factor")]
        lines += _settings_differ("Adapters", bottlenecks, "adapt", BOTTLENECK)
        for kind, steps in STEPS.items():
            some = [run for run in adapting if data_source(str(run.cell.get("data"))) == kind]
            lines += _settings_differ(f"Adapters on {kind}", some, "adapt", {"steps": steps})
    if results.measure.task is not None:
        there: dict[str, Any] = {**TASK, **({"epochs": task.epochs} if task and task.published else {})}
        lines += _settings_differ("Task training", own, "task", there)
    counts = {len(cell) for (_, name), cell in results.cells.items()} if results.measure.task else set()
    if counts - {SEEDS}:
        lines.append(f"Seeds: {_either(counts)} here; {SEEDS} there.")
    return lines


def _settings_differ(who: str, runs: Sequence[StudyRun], section: str, there: Mapping[str, Any]) -> list[str]:
    here: dict[str, set[Any]] = {}
    for run in runs:
        try:
            settings = read_recipe(run.folder).get(section) or {}
        except InputError:
            continue
        for key in there:
            if settings.get(key) is not None:
                here.setdefault(key, set()).add(settings[key])
    return [
        f"{who}: {key.replace('_', ' ')} {_either(values)} here; {there[key]:,g} there."
        for key, values in here.items()
        if {float(value) for value in values} != {float(there[key])}
    ]


def _either(values: set[Any]) -> str:
    return " or ".join(f"{value:,g}" for value in sorted(values))


@cache
def _rows(table: str) -> Mapping[tuple[str, str], dict[str, str]]:
    """(model, FLORES code of the language) -> the row of a table."""
    codes = seed_language_codes()
    path = Path(str(files("langlift") / "facts" / f"published_{table}.csv"))
    with path.open(encoding="utf-8", newline="") as file:
        return {(row["model"], codes[row["language"]]): row for row in csv.DictReader(file)}


@cache
def _large_rows(table: str) -> Mapping[str, dict[str, str]]:
    """FLORES code of the language -> the row of a table of prompted models, if there is one."""
    codes = seed_language_codes()
    path = Path(str(files("langlift") / "facts" / f"published_llm_{table}.csv"))
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {codes[row["language"]]: row for row in csv.DictReader(file)}
