"""``langlift pretrain``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.backbones.base_name import BaseName
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
    model_option,
    show,
    trusting,
)
from langlift.errors import InputError


@trusting
def pretrain(
    corpus: Annotated[
        list[Path], typer.Option("--corpus", metavar="FILE", help="Text file, or folder of them; may be repeated.")
    ],
    out: Out,
    base: Annotated[
        BaseName | None,
        model_option(
            "--from",
            "Go on from this encoder (folder or hub id), on its vocabulary; a missing masked head is made.",
        ),
    ] = None,
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
    """Train a base model on text: a small new one, tokenizer included, or on from an encoder (--from)."""
    from langlift.config.loading import resolve
    from langlift.config.recipes import FurtherRecipe, PretrainRecipe

    if base and objective not in (None, "mlm"):
        raise InputError(f"--objective {objective}: --from goes on with masked training only", "leave it out")
    kind: type[PretrainRecipe] | type[FurtherRecipe] = FurtherRecipe if base else PretrainRecipe
    recipe = resolve(
        kind,
        "pretrain",
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={
            "objective": None if base else objective,
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

    result = pretraining.pretrain(corpus, out, recipe, resume, base)
    before = "" if result.validation_loss_before is None else f"{result.validation_loss_before:.3f} -> "
    causal = isinstance(recipe, PretrainRecipe) and recipe.objective == "causal"
    show(
        result,
        as_json,
        "Pre-training",
        [
            ("parameters", f"{result.parameters:,}"),
            ("tokens seen", f"{result.tokens:,} at {result.tokens_per_second:,.0f} a second"),
            (
                f"{'loss' if causal else 'masked loss'} on reserved text",
                f"{before}{result.validation_loss:.3f}",
            ),
            *((("masked head", "made: the base had none"),) if result.made_head else ()),
            ("written to", result.model),
        ],
    )
