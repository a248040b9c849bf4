"""``langlift adapt``, ``adapt-family`` and ``pretrain``."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.adapters.method import METHODS
from langlift.backbones.base_name import BaseName
from langlift.cli.options import (
    Base,
    Language,
    Out,
    Resume,
    Settings,
    argument,
    command,
    existing_file,
    model_option,
    note,
    option,
    print_table,
    show,
)
from langlift.errors import InputError
from langlift.progress import say
from langlift.training.recipes import CAUSAL, AdaptRecipe, FamilyRecipe, FurtherRecipe, PretrainRecipe


@command("training.adaptation:AdaptResult", AdaptRecipe, trusting=True)
def adapt(
    *,
    language: Language,
    base: Base,
    data: list[Path] = option(
        "--data FILE",
        "Text file (split 80/10/10 by document) or built data folder; can be repeated to mix several.",
        parser=existing_file,
    ),
    out: Out,
    data_weights: str | None = option("--data-weights 3,1", "Proportions of the --data. [default: by size]", None),
    init: Path | None = option("--init FOLDER", "Adapter to start from (written by adapt or import).", None),
    settings: Settings,
    resume: Resume = False,
) -> Iterator[Any]:
    """Train a language adapter (or the whole model) on text in the language."""
    from langlift.config.loading import resolve
    from langlift.languages import find_language

    recipe = resolve(AdaptRecipe, "adapt", base=base.name, **settings)
    resolved = find_language(language)
    say(f"Loading {base} ...")
    from langlift.training import adaptation

    weights = None if data_weights is None else _weights(data_weights)
    result = adaptation.adapt(resolved, base, data, out, recipe, resume, init, weights)
    yield result
    loss = "loss" if recipe.objective == CAUSAL else "masked loss"
    show(
        f"{resolved.name} ({resolved}): {recipe.method} on {base}",
        [
            ("trainable parameters", f"{result.trainable_parameters:,}"),
            (f"held-out {loss} before", f"{result.validation_loss_before:.3f}"),
            (f"held-out {loss} after", f"{result.validation_loss:.3f} (best at step {result.best_step})"),
            *((f"  of {name}", f"{one:.3f}") for name, one in result.validation_losses.items()),
            ("tokens", f"{result.tokens:,} at {result.tokens_per_second:,.0f} per second"),
            ("peak memory", f"{result.peak_memory_bytes / 2**20:,.0f} MiB"),
            ("written to", result.adapter),
        ],
    )
    split = "" if data[0].is_dir() else " --split test"
    text = shlex.quote(str(data[0]))
    note(f"Next: {score_command(recipe.method, base.name, out)} --text {text}{split} --sentences 200")


def score_command(method: str, base: str, run: Path) -> str:
    """The command that scores a text with a run."""
    model, folder = shlex.quote(base), shlex.quote(str(run))
    of_run = f"--base {folder}" if METHODS[method].whole_model else f"--base {model} --adapter {folder}"
    return f"langlift score {of_run}"


def _weights(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--data-weights {text}: not numbers", "one for each --data, such as 3,1") from None


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
    from langlift.reports.charts import write_learning_curves
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


@command("training.pretraining:PretrainResult", PretrainRecipe, trusting=True)
def pretrain(
    *,
    corpus: list[Path] = option(
        "--corpus FILE", "Text file, folder of text files, or built data folder; can be repeated."
    ),
    out: Out,
    base: BaseName | None = model_option(
        "--from",
        "Continue from this encoder (folder or hub id), with its vocabulary; a missing MLM head is added.",
        None,
    ),
    settings: Settings,
    resume: Resume = False,
) -> Iterator[Any]:
    """Train a base model on text: a small new one with its tokenizer, or an existing encoder (--from)."""
    from langlift.config.loading import resolve

    recipe: PretrainRecipe | FurtherRecipe
    if base:
        objective = settings["flags"].pop("objective")
        if objective not in (None, "mlm"):
            raise InputError(f"--objective {objective}: --from supports only masked training", "leave it out")
        recipe = resolve(FurtherRecipe, "pretrain", **settings)
    else:
        recipe = resolve(PretrainRecipe, "pretrain", **settings)
    from langlift.training import pretraining

    result = pretraining.pretrain(corpus, out, recipe, resume, base)
    yield result
    before = "" if result.validation_loss_before is None else f"{result.validation_loss_before:.3f} -> "
    causal = isinstance(recipe, PretrainRecipe) and recipe.objective == CAUSAL
    show(
        "Pre-training",
        [
            ("parameters", f"{result.parameters:,}"),
            ("tokens seen", f"{result.tokens:,} at {result.tokens_per_second:,.0f} per second"),
            (f"{'loss' if causal else 'masked loss'} on reserved text", f"{before}{result.validation_loss:.3f}"),
            ("MLM head", "added: the base had none" if result.made_head else None),
            ("written to", result.model),
        ],
    )
