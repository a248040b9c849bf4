"""Checks of data and models before anything runs: everything damaged or missing is reported at once."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from langlift.backbones.loading import check_head, read_config, weightless_model
from langlift.bundled_models import BUNDLED
from langlift.corpus.sources import KNOWN
from langlift.corpus.text_data import load_text_data, texts_to_score
from langlift.errors import InputError
from langlift.evaluation.alignment import parallel_sentences
from langlift.language_facts import base_languages
from langlift.progress import ProgressBar, progress_to
from langlift.prompting.running import open_model, prompts_to_ask
from langlift.studies.planning import StudyPlan
from langlift.studies.step import SCORED, Input, Step, on_disk
from langlift.tasks.task import TASKS

Checks = dict[tuple[str, ...], Callable[[], object]]
"""Checks by what they check, so that each is done once."""
WITH_HEAD = ("adapt", "family", "score")
"""The kinds of runs for which a base needs its language modelling head."""


def check_data(plan: StudyPlan) -> None:
    """Read every base, text and task data set on this machine that the runs use.

    Data sets of the hub are left to the run that needs them.

    Raises:
        InputError: all errors.
    """
    checks: Checks = {}
    for step in plan.steps:
        checks |= _checks(step)
    _run(checks, "checking the data", "sets")


def check_bases(steps: Iterable[Step]) -> None:
    """Look for the bases of these runs that are not on this machine, without which every run of theirs fails.

    Raises:
        InputError: all that are not found.
    """
    names = (str(path) for step in steps for path in step.paths("base", "other_base"))
    absent = [name for name in dict.fromkeys(names) if not (Path(name).exists() or name in BUNDLED)]
    _run({(name,): partial(read_config, name) for name in absent}, "looking for base models", "models")


def _run(checks: Checks, what: str, unit: str) -> None:
    errors: list[InputError] = []
    if not checks:
        return
    with ProgressBar(what, len(checks), unit) as bar:
        for check in checks.values():
            try:
                with progress_to(lambda *report: None):
                    check()
            except InputError as error:
                errors.append(error)
            bar.advance()
    if errors:
        raise InputError("; ".join(dict.fromkeys(error.message for error in errors)), errors[0].hint)


def hub_remarks(steps: Iterable[Step]) -> list[str]:
    """What must be known before runs read data sets of the hub: which are not checked, and where to log in."""
    steps = list(steps)
    labelled = {
        path
        for step in steps
        if "task" in step.settings
        for name in ("data", "train_data")
        for path in map(str, step.paths(name))
        if not Path(path).exists()
    }
    on_hub = {path.split(":")[0] for path in labelled if not on_disk(path).exists()}
    sources = {str(one) for step in steps if step.kind == "corpus" for one in step.paths("sources")}
    known = {one: KNOWN[one] for one in sorted(sources & KNOWN.keys())}
    remarks = []
    if names := [*(one.id for one in known.values()), *sorted(on_hub)]:
        remarks.append(f"not checked here, but by the runs that read them from the hub: {', '.join(names)}")
    for one in (one for one in known.values() if one.gated):
        remarks.append(
            f"{one.id} is gated: accept its terms at huggingface.co/datasets/{one.id}, and run hf auth login first"
        )
    if labelled and sources - {SCORED}:
        remarks.append(
            "corpora may contain sentences of tasks in the hub's format; only those of other files are excluded"
        )
    return remarks


def _checks(step: Step) -> Checks:
    checks: Checks = {}
    if (call := step.call) is not None:
        model = call.model
        if model.model_name is not None or Path(model.model).exists():
            opened = partial(open_model, model.model, model.model_name, model.key_variable, call.recipe)
            checks["model", repr(model)] = opened
    with_triples = step.settings.get("objective") == "targeted"
    for name, sources in step.inputs.items():
        for path in (Path(source.path) for source in sources if isinstance(source, Input)):
            base = str(path)
            if name == "base" and step.kind in WITH_HEAD and base not in base_languages():
                checks["head", base] = partial(check_head, base)  # the known bases all have one
            if not (path.exists() or base in BUNDLED):
                continue
            if name in ("base", "other_base"):
                checks["base", base] = partial(weightless_model, base)
            elif name.startswith("data:") or name in ("of", "corpora"):
                checks["text", base, str(with_triples)] = partial(load_text_data, path, with_triples)
            elif step.kind == "alignment":
                texts = step.paths("text", "other")
                checks["parallel", *map(str, texts)] = partial(parallel_sentences, texts[0], texts[-1])
            elif name == "text":
                split = step.settings["split"] if path.is_file() else None
                checks["score", base, str(split)] = partial(texts_to_score, path, split, sample=1)  # reads all
    if "task" in step.settings and (data := step.task_data()) is not None:
        task, (test, train) = step.settings["task"], data
        columns = call.recipe.columns if call is not None else step.settings.get("columns", ())
        read = partial(TASKS[task].learner.read, test, train, False, columns)
        checks["task", task, test, *train, str(columns)] = read
        if call is not None:  # raises if there are too few examples, for the first seed
            key = ("prompts", task, test, *train, str(call.recipe.shots), str(call.template), str(columns))
            checks[key] = partial(prompts_to_ask, task, test, call.recipe, call.template, train)
    return checks
