"""``langlift adapt-family``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.backbones.base_name import BaseName
from langlift.cli.adapt import score_command
from langlift.cli.options import (
    Out,
    Resume,
    Settings,
    argument,
    command,
    model_option,
    note,
    option,
    print_table,
    show,
)
from langlift.errors import InputError
from langlift.training.recipes import FamilyRecipe


@command("training.family:FamilyResult", FamilyRecipe, without=["vocabulary_init"], trusting=True)
def adapt_family(
    *,
    family: Path = argument("FAMILY.yaml", "Base, languages with their data, and settings."),
    out: Out,
    base: BaseName | None = model_option("--base", "Base model; overrides the one in the file.", None),
    vocabulary: str | None = option(
        "--vocabulary FOLDER", "Vocabulary (from vocab build) to give the base before training.", None
    ),
    settings: Settings,
    resume: Resume = False,
) -> Iterator[Any]:
    """Train one model, or one adapter, for a whole family of languages."""
    from langlift.training.family_file import read_family

    if settings["flags"]["steps"] is not None and settings["flags"]["tokens"] is not None:
        raise InputError("--steps and --tokens are both given", "give one of them")
    languages, recipe = read_family(family, base=base, vocabulary=vocabulary, **settings)
    from langlift.reports.run_charts import write_learning_curves
    from langlift.training import family as training

    result = training.adapt_family(languages, out, recipe, resume)
    picture = write_learning_curves(out, {code: share.name for code, share in result.languages.items()})
    yield result
    show(
        f"{result.family}: {result.method} on {result.base}",
        [
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            ("mean held-out masked loss before", f"{result.validation_loss_before:.3f}"),
            ("mean held-out masked loss after", f"{result.validation_loss:.3f} (best at step {result.best_step})"),
            ("tokens", f"{result.tokens:,} at {result.tokens_per_second:,.0f} per second"),
            ("operations, time", f"{result.flops:.2e} FLOPs, {result.seconds:,.0f} s"),
            ("peak memory", f"{result.peak_memory_bytes / 2**20:,.0f} MiB"),
            ("learning curves", str(picture)),
            ("written to", result.run),
        ],
    )
    print_table(
        "Languages",
        ("language", "examples", "share", "tokens", "loss before", "after"),
        [
            (
                f"{share.name} ({code})",
                f"{share.examples:,}",
                f"{share.share:.1%}",
                f"{share.tokens:,}",
                f"{share.validation_loss_before:.3f}",
                f"{share.validation_loss:.3f}",
            )
            for code, share in result.languages.items()
        ],
    )
    note(f"Next: {score_command(result.method, result.base, out)} --text YOUR_SENTENCES.txt")
