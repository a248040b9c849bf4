"""``langlift fuse``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.adapters.method import FUSIBLE, one_of
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
    TrustRemoteCode,
    show,
)
from langlift.cli.task import BASELINES, COMMANDS, scores
from langlift.errors import InputError


def fuse(
    adapters: Annotated[
        list[Path],
        typer.Argument(metavar="ADAPTER...", help=f"Folders of two or more adapters ({one_of(FUSIBLE)})."),
    ],
    base: Base,
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="topic, sentiment, ner, pos or dependencies.")
    ],
    data: Annotated[
        str, typer.Option("--data", metavar="DATA", help="The task's labelled data, as for langlift task.")
    ],
    out: Out,
    train_data: TrainData = None,
    method: Annotated[
        str | None, typer.Option("--method", help="What the task adapter is, such as seq_bn.")
    ] = None,
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
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Fuse language adapters under a task adapter (AdapterFusion): score over several seeds, and attention."""
    if task not in COMMANDS:
        raise InputError(f"unknown task '{task}'", f"one of {', '.join(COMMANDS)}")
    from langlift.config.loading import default_preset, resolve
    from langlift.config.recipes import TaskRecipe

    recipe = resolve(
        TaskRecipe,
        "task",
        preset=default_preset(base, preset),
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
        task=task,
    )
    from langlift.reports.fusion_map import write_fusion_map
    from langlift.tasks.fused import ATTENTION, train_fused
    from langlift.tasks.known import TASKS

    result = train_fused(
        TASKS[task], adapters, base, data, out, recipe, train_data, resume, trust_remote_code, strict
    )
    picture = write_fusion_map(out, result.report)
    shares = result.report[ATTENTION]
    mended = ", ".join(f"{what.replace('_', ' ')}: {count}" for what, count in result.repaired.items())
    show(
        result,
        as_json,
        f"{TASKS[task].title} on {data}: {TASKS[task].metric_title}",
        [
            *scores(f"{base}, fusion of {' and '.join(shares)}", result),
            *((BASELINES.get(kind, kind), f"{value:.1f}") for kind, value in result.baseline.items()),
            *(
                (
                    f"attention to {name}",
                    " ".join(f"{share:.2f}" for share in layers) + "  (by layer, lowest first)",
                )
                for name, layers in shares.items()
            ),
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            ("train, test examples", f"{result.train_examples}, {result.test_examples}"),
            *([("labels mended or unknown", mended)] if mended else []),
            *(("data", remark) for remark in result.remarks),
            ("heat map of the attention", str(picture)),
            ("written to", str(out)),
        ],
    )
