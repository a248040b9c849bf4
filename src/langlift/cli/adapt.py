"""``langlift adapt``."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.adapters.method import METHODS
from langlift.cli.options import Base, Language, Out, Resume, Settings, command, note, option, show
from langlift.training.recipes import CAUSAL, AdaptRecipe


@command("training.adaptation:AdaptResult", AdaptRecipe, trusting=True)
def adapt(
    *,
    language: Language,
    base: Base,
    data: list[Path] = option(
        "--data FILE",
        "Text file (split 80/10/10 by document) or built data folder; can be repeated to mix several.",
    ),
    out: Out,
    data_weights: str | None = option(
        "--data-weights 3,1", "Proportions in which to mix the --data. [default: by size]", None
    ),
    init: Path | None = option("--init FOLDER", "Adapter to start from (written by adapt or import).", None),
    settings: Settings,
    resume: Resume = False,
) -> Iterator[Any]:
    """Train a language adapter (or the whole model) on text in the language."""
    from langlift.config.loading import resolve
    from langlift.languages import find_language

    recipe = resolve(AdaptRecipe, "adapt", base=base.name, **settings)
    resolved = find_language(language)
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
    from langlift.errors import InputError

    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--data-weights {text}: not numbers", "one for each --data, such as 3,1") from None
