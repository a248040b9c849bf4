"""``langlift adapt``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from langlift.adapters.method import METHODS, one_of
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
    note,
    show,
    trusting,
)


@trusting
def adapt(
    language: Annotated[str, typer.Argument(metavar="LANG", help="Language: mlt, mlt_Latn, mt or Maltese.")],
    base: Base,
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            metavar="FILE",
            help="A text file (split 80/10/10 by document) or a built data folder; may be repeated to mix.",
        ),
    ],
    out: Out,
    data_weights: Annotated[
        str | None,
        typer.Option(
            "--data-weights", metavar="3,1", help="Share of the examples from each --data (default: by size)."
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", metavar="FOLDER", help="Go on from this adapter: of adapt, or imported."),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help=f"{one_of(METHODS)}.")] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            "--objective", help="What it learns to predict: mlm, full_word or targeted; causal for decoders."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Sentences a step.")] = None,
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
    """Train a language adapter (or the whole model) on text in the language."""
    from langlift.config.loading import default_preset, resolve
    from langlift.languages import find_language
    from langlift.training.recipes import AdaptRecipe

    recipe = resolve(
        AdaptRecipe,
        "adapt",
        preset=default_preset(base.name, preset),
        config=config,
        assignments=assignments or (),
        flags={
            "method": method,
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
    found = find_language(language)
    from langlift.training import adaptation

    weights = None if data_weights is None else _weights(data_weights)
    result = adaptation.adapt(found, base, data, out, recipe, resume, init, weights)
    loss = "loss" if recipe.objective == "causal" else "masked loss"
    each = [(f"  of {name}", f"{loss:.3f}") for name, loss in result.validation_losses.items()]
    show(
        result,
        as_json,
        f"{found.name} ({found}): {recipe.method} on {base}",
        [
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            (f"held-out {loss} before", f"{result.validation_loss_before:.3f}"),
            (f"held-out {loss} after", f"{result.validation_loss:.3f} (best at step {result.best_step})"),
            *each,
            ("tokens", f"{result.tokens:,} at {result.tokens_per_second:,.0f} a second"),
            ("peak memory", f"{result.peak_memory_bytes / 2**20:,.0f} MiB"),
            ("written to", result.adapter),
        ],
    )
    if not as_json:
        run, text = shlex.quote(str(out)), shlex.quote(str(data[0]))
        whole = METHODS[recipe.method].whole_model
        model = f"--base {run}" if whole else f"--base {shlex.quote(base.name)} --adapter {run}"
        split = "" if data[0].is_dir() else " --split test"
        note(f"Next: langlift score {model} --text {text}{split} --sentences 200")


def _weights(text: str) -> list[float]:
    """``3,1`` as numbers."""
    from langlift.errors import InputError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--data-weights {text}: not numbers", "one for each --data, such as 3,1") from None
