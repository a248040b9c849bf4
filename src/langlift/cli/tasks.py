"""``langlift task``, ``fuse``, ``predict`` and ``prompt``."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langlift.adapters.method import FUSIBLE, one_of
from langlift.backbones.base_name import BaseName
from langlift.cli.options import (
    Base,
    MovedBase,
    Out,
    Resume,
    Settings,
    argument,
    command,
    existing_file,
    existing_folder,
    labelled_data,
    model_option,
    note,
    option,
    print_json,
    show,
)
from langlift.errors import InputError
from langlift.progress import say
from langlift.prompting.recipe import PromptRecipe
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import PROMPTED, TASKS, Task, task_called, task_recipe

if TYPE_CHECKING:
    from langlift.tasks.runner import TaskResult

app = typer.Typer(help="Train and test on a task.", rich_markup_mode=None)

RESULT = "tasks.runner:TaskResult"
GUESSED = {"columns": "guessed"}
TrainData = Annotated[
    list[str] | None,
    option(
        "--train-data DATA",
        "Data for train and dev, so that --data is used only for test; can be repeated to merge several.",
    ),
]
Strict = Annotated[bool, option("--strict", "Report errors in labels, with file and line; do not repair them.")]


def _command(task: Task) -> Callable[..., None]:
    @command(RESULT, TaskRecipe, without=task.unused, defaults=GUESSED | {"epochs": task.epochs}, trusting=True)
    def of_task(
        *,
        base: Base,
        data: str = option("--data DATA", f"{task.data}.", parser=labelled_data),
        out: Out,
        language_adapter: list[Path] | None = option(
            "--language-adapter FOLDER",
            "Stack the task adapter on this one; repeat it to stack on a fusion of several (AdapterFusion).",
            None,
            parser=existing_folder,
        ),
        train_data: TrainData = None,
        settings: Settings,
        strict: Strict = False,
        resume: Resume = False,
    ) -> Iterator[Any]:
        return _train(task, base, data, out, language_adapter, train_data, settings, strict, resume)

    return of_task


def _train(
    task: Task,
    base: BaseName,
    data: str,
    out: Path,
    language_adapters: Sequence[Path] | None,
    train_data: list[str] | None,
    settings: Settings,
    strict: bool,
    resume: bool,
) -> Iterator[Any]:
    recipe = task_recipe(task.name, base=base.name, **settings)
    say(f"Loading {base} ...")
    from langlift.reports.charts import write_fusion_map
    from langlift.tasks.runner import train_task
    from langlift.tasks.setups import ATTENTION

    result = train_task(task.name, base, data, out, recipe, language_adapters, train_data, resume, strict)
    attention = result.report.get(ATTENTION, {})
    heat_map = str(write_fusion_map(out, result.report)) if attention else None
    yield result
    trained = f"fusion of {' and '.join(attention)}" if attention else result.method
    repaired = ", ".join(f"{what.replace('_', ' ')}: {count}" for what, count in result.repaired.items())
    show(
        f"{task.title} on {data}: {task.metric.title}",
        [
            *scores(task, f"{base}, {trained}", result),
            *baselines(task, result.baseline),
            *(
                (f"attention to {name} (by layer, lowest first)", " ".join(f"{share:.2f}" for share in shares))
                for name, shares in attention.items()
            ),
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            ("train, test examples", f"{result.train_examples}, {result.test_examples}"),
            ("repaired or unknown labels", repaired or None),
            *(("data", remark) for remark in result.remarks),
            ("heat map of the attention", heat_map),
            ("written to", str(out)),
        ],
    )
    note(f"Next: langlift predict {shlex.quote(str(out))} --text YOUR_SENTENCES.txt")


def scores(task: Task, what: str, result: "TaskResult") -> list[tuple[str, str]]:
    """Rows of a table: mean, standard deviation and value of each seed, for the metric and further ones."""
    rows = {what: (result.mean, result.std, result.seeds)}
    titles = {metric.name: metric.title for metric in task.further}
    rows |= {f"{what}: {titles[key]}": (x["mean"], x["std"], x["seeds"]) for key, x in result.further.items()}
    return [(name, over_seeds(*found)) for name, found in rows.items()]


def over_seeds(mean: float, std: float | None, seeds: list[float]) -> str:
    """A cell: mean, standard deviation and the value of each seed; for one seed only its value."""
    if std is None:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {std:.1f}  ({', '.join(f'{value:.1f}' for value in seeds)})"


def baselines(task: Task, measured: Mapping[str, float]) -> list[tuple[str, str]]:
    """Rows of a table: each baseline by its title."""
    return [(task.baselines[kind], f"{value:.1f}") for kind, value in measured.items()]


for _task in TASKS.values():
    app.command(_task.name, help=_task.help)(_command(_task))


@command(RESULT, TaskRecipe, defaults=GUESSED | {"epochs": "the task's"}, trusting=True)
def fuse(
    *,
    adapters: list[Path] = argument(
        "ADAPTER...", f"Folders of two or more adapters ({one_of(FUSIBLE)}).", parser=existing_folder
    ),
    task: str = option("--task TASK", f"One of {', '.join(TASKS)}."),
    data: str = option("--data DATA", "The task's labelled data, as for langlift task.", parser=labelled_data),
    base: Base,
    out: Out,
    train_data: TrainData = None,
    settings: Settings,
    strict: Strict = False,
    resume: Resume = False,
) -> Iterator[Any]:
    """Train a task on the fusion of language adapters, like langlift task with --language-adapter repeated."""
    if len(adapters) < 2:
        raise InputError("one adapter alone cannot be fused", "give two or more adapter folders")
    return _train(task_called(task), base, data, out, adapters, train_data, settings, strict, resume)


WORD_FILES = {
    ending: [task.name for task in TASKS.values() if task.word_file == ending]
    for ending in sorted({task.word_file for task in TASKS.values() if task.word_file})
}
"""File ending -> the tasks whose predictions have it."""
OUT_FILES = ", ".join([".tsv", ".jsonl", *(f"{end} ({', '.join(names)})" for end, names in WORD_FILES.items())])


@command("tasks.prediction:PredictResult", trusting=True)
def predict(
    *,
    run: Path = argument(
        "RUN",
        "Folder written by langlift task or fuse, one of its seed folders, or a hub repository.",
        parser=existing_folder,
    ),
    text: Path = option(
        "--text FILE",
        "One sentence per line, .tsv with a column text, .conll (one word per line) or .conllu; - is stdin.",
        parser=existing_file,
    ),
    out: Path = option("--out FILE", f"{OUT_FILES}; - is stdout, as JSON lines.", Path("-")),
    seed: int | None = option("--seed", "Seed of the run. [default: best on dev]", None),
    word_column: int | None = option(
        "--word-column N",
        "Column of the words in a .conll file, from 1. [default: as given in training, or guessed]",
        None,
        min=1,
    ),
    base: MovedBase = None,
    as_json: bool,
) -> None:
    """Label your own text, of any length, with a trained task run; predictions have probabilities."""
    from langlift.corpus.text_files import STANDARD

    if as_json and out == STANDARD:
        raise InputError("--json cannot be combined with predictions on stdout", "name a file with --out")
    if STANDARD not in (text, out) and out.resolve() == text.resolve():
        raise InputError(f"--out {out}: is the input file", "choose another name")
    say(f"Loading {run} ...")
    from langlift.hub_folders import local_folder
    from langlift.tasks.prediction import label_file, load_trained_task

    result = label_file(load_trained_task(local_folder(run), seed, base), text, out, word_column)
    if as_json:
        print_json(result)
    elif out != STANDARD:
        most = ", ".join(f"{label} {number}" for label, number in result.counts.items())
        note(f"{result.rows:,} rows labelled with {result.run} ({most}); written to {out}")
        note(f"Next: langlift playground {shlex.quote(str(run))}")


@command("prompting.running:PromptResult", PromptRecipe, defaults=GUESSED, trusting=True)
def prompt(
    *,
    task: str = option("--task", f"One of {', '.join(PROMPTED)}."),
    data: str = option("--data DATA", "Labelled data, as for langlift task.", parser=labelled_data),
    model: BaseName = model_option(
        "--model", "Base URL of a server (http://127.0.0.1:8000/v1), or a causal model: folder or hub id."
    ),
    out: Out,
    model_name: str | None = option("--model-name NAME", "With a URL: the server's name for the model.", None),
    template: Path | None = option("--template FILE", "Prompt template to use instead of the task's.", None),
    train_data: list[str] | None = option(
        "--train-data DATA", "Data to draw examples from; can be repeated to merge several.", None
    ),
    answers: Path | None = option(
        "--answers FILE", "File for the answers, which runs can share (default: in the run folder).", None
    ),
    key_variable: str | None = option(
        "--key-variable NAME", "Environment variable with the API key (default: OPENAI_API_KEY).", None
    ),
    settings: Settings,
    resume: Resume = False,
) -> Iterator[Any]:
    """Prompt a large language model on a task, zero-shot or few-shot, to compare it with adapted small models."""
    from langlift.config.loading import resolve

    recipe = resolve(PromptRecipe, "prompt", **settings)
    from langlift.prompting.running import prompt as ask

    result = ask(task, data, model, out, recipe, model_name, template, train_data, answers, key_variable, resume)
    yield result
    for example in result.unparsed_examples:
        note(f"Unreadable answer (test example {example['number'] + 1}): {example['answer']!r}")
    shown, asked = TASKS[task], result.test_examples * len(result.seeds)
    retries = ", ".join(f"{reason}: {count}" for reason, count in result.retries.items())
    how = f"{result.shots}-shot" if result.shots else "zero-shot"
    show(
        f"{shown.title} on {data}: {shown.metric.title}",
        [
            (f"{result.model}, {how}", over_seeds(result.mean, result.std, result.seeds)),
            ("without unreadable answers (as published)", over_seeds(**result.published)),
            *baselines(shown, result.baseline),
            ("unreadable answers", f"{result.unparsed} of {asked}"),
            ("cut at answer_tokens", f"{result.cut} of {asked}" if result.cut else None),
            ("prompts without an answer, counted as wrong", str(result.failed) if result.failed else None),
            ("entities that are not in the sentence", str(result.misplaced) if result.misplaced else None),
            ("prompts sent now, answered before", f"{result.asked}, {result.kept}"),
            ("retries", retries or None),
            ("tokens of prompts, of answers", f"{result.prompt_tokens:,}, {result.answer_tokens:,}"),
            ("answers without token counts", str(result.uncounted) if result.uncounted else None),
            ("cost", None if result.cost is None else f"{result.cost:,.4f}"),
            *(("note", remark) for remark in result.remarks),
            ("written to", str(out)),
        ],
    )
