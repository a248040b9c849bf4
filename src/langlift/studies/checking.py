"""What only reading the data can tell, before anything runs: all that is damaged or missing, at once."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from langlift.backbones.loading import NANO, weightless_model
from langlift.corpus.text_data import load_text_data, texts_to_score
from langlift.errors import InputError
from langlift.evaluation.sentence_vectors import parallel_sentences
from langlift.progress import ProgressBar, heard_by
from langlift.studies.planning import StudyPlan
from langlift.studies.step import Input, Step
from langlift.tasks.known import TASKS

Check = Callable[[], object]


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
                with heard_by(lambda *report: None):
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
    with_triples = step.settings.get("objective") == "targeted"
    for name, sources in step.inputs.items():
        for source in sources:
            path = Path(source.path) if isinstance(source, Input) else None
            if path is None or not (path.exists() or str(path) == NANO):
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


def _task_check(step: Step) -> dict[tuple[str, ...], Check]:
    task = TASKS[step.settings["task"]]
    paths = [
        [one.path for one in step.inputs.get(name, ()) if isinstance(one, Input)]
        for name in ("data", "train_data")
    ]
    data, train = paths[0][0], paths[1]
    if not all(Path(path).exists() for path in (data, *train)):
        return {}
    return {("task", task.name, data, *train): lambda: task.read(data, train, False)}
