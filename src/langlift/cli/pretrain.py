"""``langlift pretrain``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import (
    Assignments,
    ComputePath,
    Config,
    Debug,
    Json,
    Out,
    Precision,
    Preset,
    Resume,
    show,
)


def pretrain(
    corpus: Annotated[
        list[Path], typer.Option("--corpus", metavar="FILE", help="Text file, or folder of them; may be repeated.")
    ],
    out: Out,
    objective: Annotated[
        str | None, typer.Option("--objective", help="mlm (XLM-R's architecture) or causal (Llama's).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Optimiser steps; may be raised or lowered with --resume.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Rows computed at once.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")] = None,
    save_steps: Annotated[int | None, typer.Option("--save-steps", help="Steps between checkpoints.")] = None,
    precision: Precision = None,
    path: ComputePath = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    resume: Resume = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a small base model from scratch, tokenizer included (how langlift-nano was made)."""
    from langlift.config.loading import resolve
    from langlift.config.recipes import PretrainRecipe

    recipe = resolve(
        PretrainRecipe,
        "pretrain",
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={
            "objective": objective,
            "steps": steps,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "seed": seed,
            "save_steps": save_steps,
            "precision": precision,
            "path": path,
        },
    )
    from langlift.training import pretraining

    result = pretraining.pretrain(corpus, out, recipe, resume)
    show(
        result,
        as_json,
        "Pre-training",
        [
            ("parameters", f"{result.parameters:,}"),
            ("tokens seen", f"{result.tokens:,} at {result.tokens_per_second:,.0f} a second"),
            (
                f"{'loss' if recipe.objective == 'causal' else 'masked loss'} on reserved text",
                f"{result.validation_loss:.3f}",
            ),
            ("written to", result.model),
        ],
    )
