"""``langlift task``, and ``langlift fuse``."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langlift.adapters.method import FUSIBLE, TASK_METHODS, one_of
from langlift.cli.options import (
    Assignments,
    Base,
    BatchSize,
    ComputePath,
    Config,
    Debug,
    Epochs,
    Json,
    LearningRate,
    Out,
    Precision,
    Preset,
    Resume,
    Seeds,
    Strict,
    TrainData,
    TrainExamples,
    show,
    trusting,
)
from langlift.config.loading import default_preset
from langlift.errors import InputError
from langlift.tasks.task import TASKS, Task, task_called, task_recipe

if TYPE_CHECKING:
    from langlift.tasks.runner import TaskResult

app = typer.Typer(help="Train and test on a task.", rich_markup_mode=None)


def scores(what: str, result: "TaskResult") -> list[tuple[str, str]]:
    """Rows of a table: the mean, the deviation and every seed, of the measure and of further ones."""
    rows = {what: (result.mean, result.std, result.seeds)}
    rows |= {f"{what}: {name.upper()}": (x["mean"], x["std"], x["seeds"]) for name, x in result.further.items()}
    return [(name, over_seeds(*found)) for name, found in rows.items()]


def over_seeds(mean: float, std: float, seeds: list[float]) -> str:
    """A cell: the mean, the deviation and every seed."""
    return f"{mean:.1f} ± {std:.1f}  ({', '.join(f'{value:.1f}' for value in seeds)})"


@app.callback()
def tasks() -> None:
    """Train and test on a task."""


def baselines(task: Task, measured: Mapping[str, float]) -> list[tuple[str, str]]:
    """Rows of a table: each baseline by its name for people."""
    return [(task.baselines[kind], f"{value:.1f}") for kind, value in measured.items()]


def _command(task: Task) -> Callable[..., None]:
    """The command of one task; all have the same options."""

    @trusting
    def command(
        base: Base,
        data: Annotated[str, typer.Option("--data", metavar="DATA", help=f"{task.data}.")],
        out: Out,
        language_adapter: Annotated[
            list[Path] | None,
            typer.Option(
                "--language-adapter",
                metavar="FOLDER",
                help="Stack the task adapter on this; may be repeated, then on their fusion (AdapterFusion).",
            ),
        ] = None,
        train_data: TrainData = None,
        method: Annotated[str | None, typer.Option("--method", help=f"{one_of(TASK_METHODS)}.")] = None,
        seeds: Seeds = None,
        train_examples: TrainExamples = None,
        epochs: Epochs = None,
        learning_rate: LearningRate = None,
        batch_size: BatchSize = None,
        strict: Strict = False,
        precision: Precision = None,
        path: ComputePath = None,
        preset: Preset = None,
        config: Config = None,
        assignments: Assignments = None,
        resume: Resume = False,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        recipe = task_recipe(
            task.name,
            preset=default_preset(base.name, preset),
            config=config,
            assignments=assignments or (),
            flags={
                "method": method,
                "seeds": seeds,
                "train_examples": train_examples,
                "epochs": epochs,
                "learning_rate": learning_rate,
                "batch_size": batch_size,
                "precision": precision,
                "path": path,
            },
        )
        from langlift.reports.fusion_map import write_fusion_map
        from langlift.tasks.runner import train_task
        from langlift.tasks.setups import ATTENTION

        result = train_task(task.name, base, data, out, recipe, language_adapter, train_data, resume, strict)
        attention = result.report.get(ATTENTION, {})
        trained = f"fusion of {' and '.join(attention)}" if attention else result.method
        mended = ", ".join(f"{what.replace('_', ' ')}: {count}" for what, count in result.repaired.items())
        show(
            result,
            as_json,
            f"{task.title} on {data}: {task.metric.title}",
            [
                *scores(f"{base}, {trained}", result),
                *baselines(task, result.baseline),
                *((f"attention to {name}", _by_layer(shares)) for name, shares in attention.items()),
                ("trainable parameters", f"{result.trainable_parameters:,}"),
                ("train, test examples", f"{result.train_examples}, {result.test_examples}"),
                *([("labels mended or unknown", mended)] if mended else []),
                *(("data", remark) for remark in result.remarks),
                *([("heat map of the attention", str(write_fusion_map(out, result.report)))] if attention else []),
                ("written to", str(out)),
            ],
        )

    command.__doc__ = task.help
    return command


def _by_layer(shares: Sequence[float]) -> str:
    return " ".join(f"{share:.2f}" for share in shares) + "  (by layer, lowest first)"


_COMMANDS = {task.name: _command(task) for task in TASKS.values()}
for _name, _train in _COMMANDS.items():
    app.command(_name)(_train)


def fuse(
    adapters: Annotated[
        list[Path],
        typer.Argument(metavar="ADAPTER...", help=f"Folders of two or more adapters ({one_of(FUSIBLE)})."),
    ],
    task: Annotated[str, typer.Option("--task", metavar="TASK", help=f"One of {', '.join(TASKS)}.")],
    data: Annotated[
        str, typer.Option("--data", metavar="DATA", help="The task's labelled data, as for langlift task.")
    ],
    **options: Any,
) -> None:
    """Train a task on the fusion of language adapters: langlift task with --language-adapter repeated."""
    if len(adapters) < 2:
        raise InputError("one adapter alone cannot be fused", "give two or more adapter folders")
    _COMMANDS[task_called(task).name](data=data, language_adapter=adapters, **options)


def _with_options_of_tasks(command: Callable[..., None]) -> None:
    """Give a command that takes ``**options`` those of ``langlift task``, for typer to see."""
    own = [one for one in signature(command).parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    names = {"language_adapter", *(one.name for one in own)}
    of_tasks = [one for one in signature(_train).parameters.values() if one.name not in names]
    parameters = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*own, *of_tasks)]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]


_with_options_of_tasks(fuse)
