"""``langlift task``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import (
    Assignments,
    Base,
    ComputePath,
    Config,
    Debug,
    Json,
    Out,
    Precision,
    Preset,
    Resume,
    TrustRemoteCode,
    show,
)

app = typer.Typer(help="Train and test on a task.", rich_markup_mode=None)


@app.callback()
def task() -> None:
    """Train and test on a task."""


@app.command("topic")
def topic(
    base: Base,
    data: Annotated[
        Path,
        typer.Option("--data", metavar="FOLDER", help="train.tsv, dev.tsv, test.tsv with columns category, text."),
    ],
    out: Out,
    language_adapter: Annotated[
        Path | None,
        typer.Option("--language-adapter", metavar="FOLDER", help="Stack the task adapter on this frozen one."),
    ] = None,
    train_data: Annotated[
        Path | None,
        typer.Option("--train-data", metavar="FOLDER", help="Take train and dev from here, test from --data."),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help="seq_bn or mosa (task adapter), or full.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="One run for each, such as 1,2,3.")] = None,
    train_examples: Annotated[
        int | None, typer.Option("--train-examples", help="Use only so many, drawn by seed (0: all).")
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Passes over the training examples.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Examples a step.")] = None,
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
    """Topic classification (as SIB-200): macro-F1 over several seeds, with baselines beside it."""
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
    )
    from langlift.tasks.topic import train_topic

    result = train_topic(base, data, out, recipe, language_adapter, train_data, resume, trust_remote_code)
    seeds_shown = ", ".join(f"{value:.1f}" for value in result.seeds)
    show(
        result,
        as_json,
        f"Topic classification on {data}: macro-F1",
        [
            (f"{base}, {result.method}", f"{result.mean:.1f} ± {result.std:.1f}  ({seeds_shown})"),
            ("TF-IDF + logistic regression", f"{result.baseline['tfidf']:.1f}"),
            ("majority class", f"{result.baseline['majority']:.1f}"),
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            ("train, test examples", f"{result.train_examples}, {result.test_examples}"),
            ("written to", str(out)),
        ],
    )
