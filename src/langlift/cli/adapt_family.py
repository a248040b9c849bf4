"""``langlift adapt-family``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langlift.adapters.method import METHODS, one_of
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
    note,
    print_table,
    show,
    trusting,
)

if TYPE_CHECKING:
    from langlift.training.family import FamilyResult


@trusting
def adapt_family(
    family: Annotated[
        Path, typer.Argument(metavar="FAMILY.yaml", help="Base, languages with their data, and settings.")
    ],
    out: Out,
    base: Annotated[
        BaseName | None,
        model_option("--base", "Another base model than the file's."),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            "--vocabulary", metavar="FOLDER", help="Give the base this vocabulary (of vocab build) first."
        ),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help=f"{one_of(METHODS)}.")] = None,
    alpha: Annotated[
        float | None, typer.Option("--alpha", help="1: share by size; 0: all languages alike.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Optimiser steps.")] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="Tokens of training text, in place of steps.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Examples computed at once.")] = None,
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
    """Train one model, or one adapter, for a whole family of languages."""
    from langlift.errors import InputError
    from langlift.training.family_file import read_family

    if steps is not None and tokens is not None:
        raise InputError("--steps and --tokens are both given", "give one of them")
    languages, recipe = read_family(
        family,
        base=base,
        vocabulary=vocabulary,
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={
            "method": method,
            "alpha": alpha,
            "steps": steps,
            "tokens": tokens,
            "learning_rate": learning_rate,
            "batch_size": batch_size,
            "seed": seed,
            "save_steps": save_steps,
            "precision": precision,
            "path": path,
        },
    )
    from langlift.reports.learning_curves import write_learning_curves
    from langlift.training import family as training

    result = training.adapt_family(languages, out, recipe, resume)
    picture = write_learning_curves(out, {code: one.name for code, one in result.languages.items()})
    show(
        result,
        as_json,
        f"{result.family}: {result.method} on {result.base}",
        [
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            ("mean held-out masked loss before", f"{result.validation_loss_before:.3f}"),
            ("mean held-out masked loss after", f"{result.validation_loss:.3f} (best at step {result.best_step})"),
            ("tokens", f"{result.tokens:,} at {result.tokens_per_second:,.0f} a second"),
            ("operations, time", f"{result.flops:.2e} FLOPs, {result.seconds:,.0f} s"),
            ("peak memory", f"{result.peak_memory_bytes / 2**20:,.0f} MiB"),
            ("learning curves", str(picture)),
            ("written to", result.run),
        ],
    )
    if not as_json:
        _print_languages(result)
        run = shlex.quote(str(out))
        whole = METHODS[result.method].whole_model
        model = f"--base {run}" if whole else f"--base {shlex.quote(result.base)} --adapter {run}"
        note(f"Next: langlift score {model} --text YOUR_SENTENCES.txt")


def _print_languages(result: "FamilyResult") -> None:
    from rich.table import Table

    table = Table(title="Languages", title_justify="left")
    table.add_column("language")
    for heading in ("examples", "share", "tokens", "loss before", "after"):
        table.add_column(heading, justify="right")
    for code, one in result.languages.items():
        before, after = f"{one.validation_loss_before:.3f}", f"{one.validation_loss:.3f}"
        table.add_row(
            f"{one.name} ({code})", f"{one.examples:,}", f"{one.share:.1%}", f"{one.tokens:,}", before, after
        )
    print_table(table)
