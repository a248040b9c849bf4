"""``langlift pretrain``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.backbones.base_name import BaseName
from langlift.cli.options import Out, Resume, Settings, command, model_option, option, show
from langlift.errors import InputError
from langlift.training.recipes import CAUSAL, FurtherRecipe, PretrainRecipe


@command("training.pretraining:PretrainResult", PretrainRecipe, trusting=True)
def pretrain(
    *,
    corpus: list[Path] = option("--corpus FILE", "Text file, or folder of text files; can be repeated."),
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
            *([("MLM head", "added: the base had none")] if result.made_head else []),
            ("written to", result.model),
        ],
    )
