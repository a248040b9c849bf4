"""Writes docs/cli.md from the commands themselves: ``python -m langlift.cli.reference > docs/cli.md``."""

import sys
from collections.abc import Collection, Iterator
from dataclasses import MISSING, fields
from typing import Any

import typer

from langlift.bundled_models import BUNDLED
from langlift.checkpoints.importing import ImportResult
from langlift.cli import bench
from langlift.cli.main import app
from langlift.config.recipes import (
    FurtherRecipe,
    GraphRecipe,
    PretrainRecipe,
    PromptRecipe,
    TaskRecipe,
    VocabRecipe,
)
from langlift.corpus.building import CorpusResult
from langlift.demonstration import DemoResult
from langlift.diagnosis.diagnosing import Diagnosis
from langlift.evaluation.perplexity import Perplexity
from langlift.evaluation.pseudo_perplexity import Score
from langlift.graph.building import GraphResult
from langlift.language_facts import LanguageTable
from langlift.playground.page import Served
from langlift.prompting.running import PromptResult
from langlift.reports.costs import CostTable
from langlift.reports.study_page import ReportResult
from langlift.sharing.exported import Exported
from langlift.sharing.pushing import Pushed
from langlift.studies.pricing import PlanPrice
from langlift.studies.running import StudyResult
from langlift.studies.status import RunRecord, StudyStatus
from langlift.tasks.prediction_files import PredictResult
from langlift.tasks.runner import TaskResult
from langlift.tasks.task import TASKS
from langlift.training.adaptation import AdaptResult
from langlift.training.family import FamilyResult
from langlift.training.pretraining import PretrainResult
from langlift.training.recipes import AdaptRecipe, FamilyRecipe
from langlift.vocab.applying import ApplyResult
from langlift.vocab.building import BuildResult
from langlift.vocab.trimming import TrimResult

RESULTS: dict[str, type] = {
    "demo": DemoResult,
    "languages": LanguageTable,
    "diagnose": Diagnosis,
    "corpus build": CorpusResult,
    "graph build": GraphResult,
    "vocab build": BuildResult,
    "vocab apply": ApplyResult,
    "vocab trim": TrimResult,
    "adapt": AdaptResult,
    "adapt-family": FamilyResult,
    "score": Score,
    "fuse": TaskResult,
    **{f"task {name}": TaskResult for name in TASKS},
    "predict": PredictResult,
    "prompt": PromptResult,
    "pretrain": PretrainResult,
    "study plan": PlanPrice,
    "study run": StudyResult,
    "study status": StudyStatus,
    "study show": RunRecord,
    "costs": CostTable,
    "playground": Served,
    "report": ReportResult,
    **bench.commands().results(),
    "import": ImportResult,
    "export": Exported,
    "push": Pushed,
}
RECIPES: dict[str, type] = {
    "vocab build": VocabRecipe,
    "vocab apply": VocabRecipe,
    "adapt": AdaptRecipe,
    "adapt-family": FamilyRecipe,
    "graph build": GraphRecipe,
    "fuse": TaskRecipe,
    **{f"task {name}": TaskRecipe for name in TASKS},
    "prompt": PromptRecipe,
    "pretrain": PretrainRecipe,
}
UNUSED = {f"task {name}": task.unused for name, task in TASKS.items()}
"""Settings that a command does not read."""

IN_FORCE = "\n".join(
    f"For `--base {name}` the preset `{model.preset}` is in force by itself." for name, model in BUNDLED.items()
)
INTRODUCTION = f"""# Command line

*Written by `make docs` from the commands themselves; a test keeps it true.*

Every command takes `--json` (the result as one JSON object, the last line of stdout) and `--debug` (the
traceback of an error). Progress and notes go to stderr. Errors are one line and a hint on stderr, under `--json`
an object `{{"error": ..., "hint": ...}}`. Exit codes: 0 done, 1 failed, 2 bad usage or bad input, 130 interrupted.

Settings come, later ones winning, from the defaults below, `--preset` (a shipped one such as `nano`, or a YAML
file), `--config` (a YAML file of the same form; a run's `recipe.yaml` is one), `--set key=value`, and flags. A
settings file has a section for each command (`adapt:`, `task:`, `prompt:`, `pretrain:`, `graph:`), in which a
block named after a method (`full:`) holds settings for that method alone; in `task:` so does one named after a
task (`ner:`).
{IN_FORCE}

LANG is an ISO 639 code (`mlt`, `mt`), a code with a script (`mlt_Latn`) or an English name (`Maltese`).
"""


def reference() -> str:
    """The whole page, as Markdown."""
    parts = [INTRODUCTION]
    for name, command in _commands(typer.main.get_command(app), ""):
        parts.append(f"## langlift {name}\n\n{command.help}\n")
        parts.append("| argument or option | meaning |\n|---|---|\n" + "".join(_options(command)))
        if name in RECIPES:
            parts.append(
                "Settings (`--set`):\n\n| setting | default | meaning |\n|---|---|---|\n"
                + _settings(RECIPES[name], UNUSED.get(name, frozenset()))
            )
        if name == "pretrain":
            parts.append(
                "Settings with `--from`:\n\n| setting | default | meaning |\n|---|---|---|\n"
                + _settings(FurtherRecipe)
            )
        keys = ", ".join(f"`{field.name}`" for field in fields(RESULTS[name]))
        parts.append(f"JSON keys: {keys}.\n\n{_prose(RESULTS[name])}\n")
        if name == "score":
            keys = ", ".join(f"`{field.name}`" for field in fields(Perplexity))
            parts.append(f"Of decoders: {keys}.\n\n{_prose(Perplexity)}\n")
    return "\n".join(parts)


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def _options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield f"| `{parameter.metavar or parameter.name.upper()}` | {parameter.help} |\n"
            continue
        value = "" if parameter.is_flag else f" {parameter.metavar or 'VALUE'}"
        default = parameter.default
        shown = "" if parameter.is_flag or default in (None, (), []) else f" Default: `{default}`."
        needed = " **Required.**" if parameter.required else ""
        meaning = (parameter.help or "").replace("[", "\\[")  # in Markdown "[...][...]" would be a link
        yield f"| `{parameter.opts[0]}{value}` | {meaning}{shown}{needed} |\n"


def _settings(recipe: type, unused: Collection[str] = ()) -> str:
    rows = []
    for field in fields(recipe):
        if field.name in unused:
            continue
        meta = field.metadata
        limits = [f"one of {', '.join(meta['choices'])}"] if "choices" in meta else []
        limits += [f"above {meta['above']}"] if "above" in meta else []
        limits += [f"at least {meta['least']}"] if "least" in meta else []
        limits += [f"at most {meta['most']}"] if "most" in meta else []
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        default = "" if default is MISSING else default
        limit = f" ({'; '.join(limits)})" if limits else ""
        rows.append(f"| `{field.name}` | `{default}` | {meta['meaning']}{limit} |\n")
    return "".join(rows)


def _prose(result: type) -> str:
    return " ".join((result.__doc__ or "").replace("``", "`").split())


if __name__ == "__main__":
    sys.stdout.write(reference())
