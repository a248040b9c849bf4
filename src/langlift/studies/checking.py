"""What only reading the data can tell, before anything runs: all that is damaged or missing, at once."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from langlift.backbones.loading import check_head, weightless_model
from langlift.bundled_models import BUNDLED
from langlift.corpus.text_data import load_text_data, texts_to_score
from langlift.errors import InputError
from langlift.evaluation.sentence_vectors import parallel_sentences
from langlift.language_facts import base_languages
from langlift.progress import ProgressBar, progress_to
from langlift.prompting.running import open_model, prompts_to_ask
from langlift.studies.asking import asked_model, asked_recipe, template_file
from langlift.studies.planning import StudyPlan
from langlift.studies.step import Input, Step, task_data
from langlift.tasks.task import TASKS

Check = Callable[[], object]
WITH_HEAD = ("adapt", "family", "score")
"""The kinds of runs for which a base needs its language modelling head."""


def check_data(plan: StudyPlan, finished: Collection[str] = ()) -> None:
    """Read every base, text and task data set on this machine that the runs use, but for runs of these hashes.

    Data sets of the hub are left to the run that needs them.

    Raises:
        InputError: naming all that is wrong.
    """
    checks: dict[tuple[str, ...], Check] = {}
    for step in plan.steps:
        if step.hash not in finished:
            checks |= _checks(step)
    mistakes: list[InputError] = []
    with ProgressBar("checking the data", len(checks), "sets") as bar:
        for check in checks.values():
            try:
                with progress_to(lambda *report: None):
                    check()
            except InputError as error:
                mistakes.append(error)
            bar.advance()
    if mistakes:
        messages = dict.fromkeys(error.message for error in mistakes)
        raise InputError("; ".join(messages), mistakes[0].hint)


def _checks(step: Step) -> dict[tuple[str, ...], Check]:
    """The checks of one run, by what is checked, so that none is made twice."""
    found: dict[tuple[str, ...], Check] = {}
    if step.kind == "prompt":
        found |= _prompt_checks(step)
    with_triples = step.settings.get("objective") == "targeted"
    for name, sources in step.inputs.items():
        for source in sources:
            path = Path(source.path) if isinstance(source, Input) else None
            if name == "base" and path is not None and step.kind in WITH_HEAD:
                found["head", str(path)] = partial(_check_head, str(path))
            if path is None or not (path.exists() or str(path) in BUNDLED):
                continue
            if name == "base":
                found["base", str(path)] = partial(weightless_model, str(path))
            elif name.startswith("data:") or name in ("of", "corpora"):
                found["text", str(path), str(with_triples)] = partial(load_text_data, path, with_triples)
            elif name == "other_base":
                found["base", str(path)] = partial(weightless_model, str(path))
            elif step.kind == "alignment":
                both = step.texts("text", "other")
                found["parallel", *map(str, both)] = partial(parallel_sentences, both[0], both[-1])
            elif name == "text":
                split = step.settings["split"] if path.is_file() else None
                found["score", str(path), str(split)] = partial(texts_to_score, path, split)
    if "task" in step.settings:
        found |= _task_check(step)
    return found


def _check_head(base: str) -> None:
    if base not in base_languages():  # those all have one: nothing need be fetched
        check_head(base)


def _prompt_checks(step: Step) -> dict[tuple[str, ...], Check]:
    """Whether the model can be asked, and whether there are examples enough, for the first seed."""
    found: dict[tuple[str, ...], Check] = {}
    model, recipe = asked_model(step), asked_recipe(step)
    if model[1] is not None or Path(model[0]).exists():
        found["asked", *map(str, model)] = partial(open_model, *model, recipe)
    if (what := task_data(step)) is not None:
        data, train = what
        task, template = step.settings["task"], template_file(step)
        about = ("prompts", task, data, *train, str(recipe.shots), str(template))
        found[about] = partial(prompts_to_ask, task, data, recipe, template, train)
    return found


def _task_check(step: Step) -> dict[tuple[str, ...], Check]:
    task = TASKS[step.settings["task"]]
    if (what := task_data(step)) is None:
        return {}
    data, train = what
    return {("task", task.name, data, *train): lambda: task.learner.read(data, train, False)}
