"""The runs on the page: their models, scores and language, and example sentences."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from math import exp
from pathlib import Path
from typing import Any

import numpy as np

from langlift.adapted import Adapted
from langlift.adapters.method import is_whole_model
from langlift.backbones.base_name import BaseName
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.hub_folders import missing
from langlift.languages import Language
from langlift.sharing.published_cards import recorded_languages
from langlift.studies.folder import read_recipe
from langlift.tasks.task import TASKS
from langlift.training.run_folder import METRICS, is_finished, read_metrics

EXAMPLES = 5
EXAMPLE_CHARACTERS = (30, 120)


@dataclass(frozen=True)
class ShownRun:
    """A run on the page; ``task`` is None for an adapted model, ``base`` is None for a task."""

    name: str
    title: str
    task: str | None
    scores: list[tuple[str, str]]
    run: Adapted
    base: Adapted | None


@dataclass(frozen=True)
class Playground:
    """The runs of a page, the name of their language (empty if unknown), and sentences in it."""

    language: str
    runs: list[ShownRun]
    examples: list[str]


def read_playground(
    folders: Sequence[Path], text: Path | None = None, base: BaseName | str | None = None
) -> Playground:
    """Read finished runs of ``adapt``, ``adapt-family``, ``task`` and ``fuse``, without loading their models.

    Examples are from the test split of ``text``, a file or built folder, or else of langlift's own text, if the
    language has one. ``base`` replaces the recorded base model.

    Raises:
        InputError: a folder is not a finished run, or the runs have different languages.
    """
    runs: list[ShownRun] = []
    languages: list[set[Language]] = []
    bases: dict[str, Adapted] = {}
    for folder in dict.fromkeys(folders):
        if not is_finished(folder):
            hint = "give folders that langlift adapt, adapt-family, task or fuse wrote"
            if not folder.exists():
                raise missing(folder, "folder", hint)
            raise InputError(f"{folder}: not a finished run (no {METRICS})", hint)
        recipe = read_recipe(folder)
        runs.append(_shown(folder, recipe, BaseName.of(base), bases))
        languages += [set(found)] if (found := recorded_languages(recipe.get("inputs") or {})) else []
    common = set.intersection(*languages) if languages else set()
    if languages and not common:
        named = sorted({one.name for some in languages for one in some})
        raise InputError(
            f"the runs are of several languages: {', '.join(named)}",
            "show the runs of one language; start another playground with --port for the other",
        )
    language = next(iter(common)) if len(common) == 1 else None  # a family alone has several
    if text is None and language is not None:
        bundled = Path(str(files("langlift"))) / "bundled" / f"{language}.txt"
        text = bundled if bundled.is_file() else None
    examples: list[str] = []
    if text is not None:  # sentences neither short nor long
        least, most = EXAMPLE_CHARACTERS
        fitting = [sentence for sentence in load_text_data(text).test if least <= len(sentence) <= most]
        drawn = np.random.default_rng(0).permutation(len(fitting))[:EXAMPLES]
        examples = [fitting[number] for number in sorted(drawn)]
    return Playground("" if language is None else language.name, runs, examples)


def _shown(folder: Path, recipe: dict[str, Any], base: BaseName, bases: dict[str, Adapted]) -> ShownRun:
    """One run; ``bases`` are the base models so far by their names, which runs share."""
    metrics, command = read_metrics(folder), str(recipe.get("command"))
    name, inputs = folder.resolve().name, recipe.get("inputs") or {}
    settings = dict(recipe.get(command) or {})
    run = Adapted.load(folder, replace(base, name="") if is_whole_model(settings.get("method")) else base)
    if not run.methods:
        raise InputError(
            f"{folder}: a decoder, which cannot fill gaps", "the page is for masked language models and tasks"
        )
    if command == "task":
        task = TASKS.get(str(inputs.get("task")))
        if task is None:
            raise InputError(f"{folder}: a run of an unknown task", "was it made by a newer langlift?")
        measured = metrics.get("mean", metrics.get(f"test_{task.metric.name}"))
        scores = [(task.metric.title, f"{measured:.1f}")] if measured is not None else []
        return ShownRun(name, task.title, task.name, scores, run, None)
    before, after = metrics.get("validation_loss_before"), metrics.get("validation_loss")
    # The geometric mean over the hidden tokens of held-out text.
    scores = (
        []
        if before is None or after is None
        else [("finds hidden word pieces", f"{100 * exp(-before):.2g} % → {100 * exp(-after):.2g} %")]
    )
    of = base.or_else(str(inputs.get("base") or "")).name
    title = f"{settings.get('method', command)} on {Path(of).name}"
    if of and of not in bases:
        bases[of] = Adapted.load(of, replace(base, name=""))
    return ShownRun(name, title, None, scores, run, bases.get(of))
