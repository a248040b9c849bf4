"""``langlift task``, and ``langlift fuse``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langlift.adapters.method import FUSIBLE, one_of
from langlift.cli.options import Base, Out, Resume, Settings, argument, command, option, show
from langlift.errors import InputError
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import TASKS, Task, task_called, task_recipe

if TYPE_CHECKING:
    from langlift.backbones.base_name import BaseName
    from langlift.tasks.runner import TaskResult

app = typer.Typer(help="Train and test on a task.", rich_markup_mode=None)

RESULT = "tasks.runner:TaskResult"
TrainData = Annotated[
    list[str] | None,
    option(
        "--train-data DATA",
        "Data for train and dev, so that --data is used only for test; can be repeated to merge several.",
    ),
]
Strict = Annotated[
    bool, option("--strict", "Report errors in labels, with file and line, instead of repairing them.")
]


def _command(task: Task) -> Callable[..., None]:
    """The command of one task; all have the same options."""

    @command(RESULT, TaskRecipe, defaults={"epochs": task.epochs}, trusting=True)
    def of_task(
        *,
        base: Base,
        data: str = option("--data DATA", f"{task.data}."),
        out: Out,
        language_adapter: list[Path] | None = option(
            "--language-adapter FOLDER",
            "Stack the task adapter on this one; repeat it to stack on a fusion of several (AdapterFusion).",
            None,
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
    base: "BaseName",
    data: str,
    out: Path,
    language_adapters: Sequence[Path] | None,
    train_data: list[str] | None,
    settings: Settings,
    strict: bool,
    resume: bool,
) -> Iterator[Any]:
    recipe = task_recipe(task.name, base=base.name, **settings)
    from langlift.reports.run_charts import write_fusion_map
    from langlift.tasks.runner import train_task
    from langlift.tasks.setups import ATTENTION

    result = train_task(task.name, base, data, out, recipe, language_adapters, train_data, resume, strict)
    attention = result.report.get(ATTENTION, {})
    heat_map = str(write_fusion_map(out, result.report)) if attention else ""
    yield result
    trained = f"fusion of {' and '.join(attention)}" if attention else result.method
    repaired = ", ".join(f"{what.replace('_', ' ')}: {count}" for what, count in result.repaired.items())
    show(
        f"{task.title} on {data}: {task.metric.title}",
        [
            *scores(f"{base}, {trained}", result),
            *baselines(task, result.baseline),
            *((f"attention to {name}", _by_layer(shares)) for name, shares in attention.items()),
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            ("train, test examples", f"{result.train_examples}, {result.test_examples}"),
            *([("repaired or unknown labels", repaired)] if repaired else []),
            *(("data", remark) for remark in result.remarks),
            *([("heat map of the attention", heat_map)] if attention else []),
            ("written to", str(out)),
        ],
    )


def scores(what: str, result: "TaskResult") -> list[tuple[str, str]]:
    """Rows of a table: mean, standard deviation and value of each seed, for the metric and further ones."""
    rows = {what: (result.mean, result.std, result.seeds)}
    rows |= {f"{what}: {name.upper()}": (x["mean"], x["std"], x["seeds"]) for name, x in result.further.items()}
    return [(name, over_seeds(*found)) for name, found in rows.items()]


def over_seeds(mean: float, std: float, seeds: list[float]) -> str:
    """A cell: mean, standard deviation and the value of each seed."""
    return f"{mean:.1f} ± {std:.1f}  ({', '.join(f'{value:.1f}' for value in seeds)})"


def baselines(task: Task, measured: Mapping[str, float]) -> list[tuple[str, str]]:
    """Rows of a table: each baseline by its title."""
    return [(task.baselines[kind], f"{value:.1f}") for kind, value in measured.items()]


def _by_layer(shares: Sequence[float]) -> str:
    return " ".join(f"{share:.2f}" for share in shares) + "  (by layer, lowest first)"


for _task in TASKS.values():
    app.command(_task.name, help=_task.help)(_command(_task))


@command(RESULT, TaskRecipe, defaults={"epochs": "the task's"}, trusting=True)
def fuse(
    *,
    adapters: list[Path] = argument("ADAPTER...", f"Folders of two or more adapters ({one_of(FUSIBLE)})."),
    task: str = option("--task TASK", f"One of {', '.join(TASKS)}."),
    data: str = option("--data DATA", "The task's labelled data, as for langlift task."),
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
