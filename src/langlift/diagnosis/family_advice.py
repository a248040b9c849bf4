"""Advice for a family: one model, and perhaps one vocabulary, for all its languages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.diagnosis.advice import (
    EXTEND,
    KEEP,
    NO_HEAD,
    SPECIALISE,
    VERBS,
    Advice,
    command,
    megabytes,
    new_pieces,
    own_pieces,
    troubles,
    with_head,
)
from langlift.diagnosis.measures import BaseMeasures, LanguageText
from langlift.diagnosis.thresholds import TEXT_FOR_OWN, TEXT_FOR_PIECES
from langlift.progress import readable_seconds
from langlift.training.recipes import FamilyRecipe
from langlift.training.step_time import StepTime


@dataclass(frozen=True)
class FamilyPlan:
    """A family file, for which one model for all its languages is advised, and its settings."""

    path: Path
    name: str
    recipe: FamilyRecipe


def advise_family(
    family: FamilyPlan,
    base: str,
    texts: Sequence[LanguageText],
    measures: Sequence[BaseMeasures],
    step: StepTime | None,
) -> Advice:
    """One vocabulary of the family's own where half of its languages need one, by the table of thresholds.

    ``measures`` are those of ``base``, one for each of ``texts``; ``step`` is the time of one computed batch.
    """
    recipe = family.recipe
    troubled = [text.language.name for text, one in zip(texts, measures, strict=True) if troubles(text, one)]
    size = sum(text.size.bytes for text in texts)
    if troubled and size < TEXT_FOR_PIECES.value:
        vocabulary = KEEP
        rest = f"{megabytes(size)} of text is too little to learn new pieces from"
        why = f"It does not fit {', '.join(troubled)}, but {rest}."
    elif not troubled:
        vocabulary, why = KEEP, "It has the letters of all its languages and cuts none of them too finely."
    elif 2 * len(troubled) >= len(texts) and size >= TEXT_FOR_OWN.value:
        vocabulary = SPECIALISE
        why = f"It does not fit {len(troubled)} of the {len(texts)} languages ({', '.join(troubled)})."
    else:
        vocabulary = EXTEND
        rest = "but it fits the others"
        if size < TEXT_FOR_OWN.value:
            rest = f"and {megabytes(size)} of text is too little for a new one"
        why = f"It does not fit {', '.join(troubled)}, {rest}."
    steps = recipe.steps
    batches = steps * recipe.accumulation
    if recipe.tokens and step is not None:
        batches = max(1, round(recipe.tokens / step.tokens))
        steps = max(1, batches // recipe.accumulation)
    seconds = None if step is None else batches * step.seconds
    smallest = min(texts, key=lambda text: text.size.bytes)
    largest = max(texts, key=lambda text: text.size.bytes)
    said = (
        f"Train one model for all ({recipe.method}), {recipe.objective}; alpha {recipe.alpha:g} gives languages "
        f"with little text more than their share ({smallest.language.name} has {megabytes(smallest.size.bytes)}, "
        f"{largest.language.name} {megabytes(largest.size.bytes)}); {steps:,} steps of "
        f"{recipe.batch_size * recipe.accumulation} examples"
    )
    said += "." if seconds is None else f": about {readable_seconds(seconds)} on this machine."
    head = "" if measures[0].has_head else f"{base} {NO_HEAD} "
    return Advice(
        vocabulary=vocabulary,
        method=recipe.method,
        objective=recipe.objective,
        steps=steps,
        seconds=None if seconds is None else round(seconds, 1),
        text=f"{head}{VERBS[vocabulary]} of {base}. {why} {said}",
        commands=_commands(family, measures[0], vocabulary, texts, size),
        alternative=[] if vocabulary == KEEP else _commands(family, measures[0], KEEP, texts, size),
    )


def _commands(
    family: FamilyPlan, measured: BaseMeasures, vocabulary: str, texts: Sequence[LanguageText], size: int
) -> list[str]:
    base = measured.base
    corpora = [part for text in texts for path in text.paths for part in ("--corpus", str(path))]
    commands, start = with_head(measured, corpora)
    last = ["adapt-family", str(family.path), "--base", start]
    if vocabulary == KEEP:
        return [*commands, command(*last, "--out", f"{family.name}-model")]
    target = f"{family.name}-vocabulary"
    if vocabulary == SPECIALISE:
        build = ["--base", base, "--size", str(max(16_000, own_pieces(size)))]
    else:
        build = ["--extend", base, "--pieces", str(new_pieces(texts))]
    alpha = ["--alpha", f"{family.recipe.alpha:g}"]
    return [
        *commands,
        command("vocab", "build", family.name, *build, *corpora, *alpha, "--out", target),
        command(*last, "--vocabulary", target, "--out", f"{family.name}-model"),
    ]
