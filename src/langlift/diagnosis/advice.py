"""Advice from measures: whether to change the vocabulary, what to train and for how long, and the commands.

The texts are in ``templates/advice.txt`` and ``templates/advice_family.txt``. The limits, with their reasons
and origins, are in ``facts/diagnosis_limits.yaml``.
"""

import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from langlift.adapters.method import METHODS
from langlift.bundled_models import BUNDLED
from langlift.config.loading import resolve
from langlift.diagnosis.measures import BaseMeasures, LanguageText
from langlift.language_facts import FACTS
from langlift.languages import find_language
from langlift.progress import readable_seconds
from langlift.training.cost import StepTime
from langlift.training.recipes import AdaptRecipe, FamilyRecipe


@dataclass(frozen=True)
class Threshold:
    """A limit. ``origin`` is ``published``, ``measured`` (here, with langlift-nano) or ``rule of thumb``."""

    name: str
    value: float
    meaning: str
    reason: str
    origin: str


_TABLE = yaml.safe_load((FACTS / "diagnosis_limits.yaml").read_text(encoding="utf-8"))
THRESHOLDS = [Threshold(name, **limit) for name, limit in _TABLE.items()]
LIMITS = {limit.name: limit.value for limit in THRESHOLDS}
REGRET = yaml.safe_load((FACTS / "advice_regret.yaml").read_text(encoding="utf-8"))
"""How far the advice for small models was from the best, in percent (docs/reproduce_advice.sh)."""

KEEP, EXTEND, SPECIALISE = "keep", "extend", "specialise"
PUBLISHED_FULL_RATE = 1e-5
"""Peak learning rate for training a whole model without a preset of its own (arXiv 2405.12413)."""
MAXIMUM_NEW_TOKENS = 4000


@dataclass(frozen=True)
class Plan:
    """What to do with one base model: ``vocabulary`` is keep, extend or specialise.

    ``tokens``: the number to add, or the size of the new vocabulary (0: keep). ``problems``: the limits that the
    vocabulary does not meet for the language.
    """

    vocabulary: str
    tokens: int
    method: str
    objective: str
    problems: list[str]


@dataclass(frozen=True)
class FamilyPlan:
    """A family file, whose languages are to share one model, and its settings."""

    path: Path
    name: str
    recipe: FamilyRecipe


@dataclass(frozen=True)
class Advice:
    """The recommendation for one base model: in words, as settings, and as commands to run in order.

    ``vocabulary`` is keep, extend or specialise; ``seconds`` is the expected time of ``steps`` on this machine
    (None if it was not measured). ``alternative`` are the commands that train an adapter on the current vocabulary
    where the whole model is recommended: cheaper, but worse; ``alternative_seconds`` is the most that takes here.
    """

    vocabulary: str
    method: str
    objective: str
    steps: int
    seconds: float | None
    text: str
    commands: list[str]
    alternative: list[str]
    alternative_seconds: float | None = None


def plan(text: LanguageText, base: BaseMeasures) -> Plan:
    """Whether to keep, extend or replace the vocabulary, and what to train, by the table of limits."""
    problems, size = vocabulary_problems(text, base), text.size.bytes
    missing = 1 - base.vocabulary.letter_coverage
    poor = missing >= LIMITS["most_letters"] or _times_own(text, base) >= LIMITS["times_own"]
    if size < LIMITS["text_for_new_pieces"] or not (problems or _is_small(base)):
        kept = _adapter_plan(text, base, problems)
        return replace(kept, method="full") if _is_small(base) else kept
    if (poor or _is_small(base)) and is_varied(text):
        return Plan(SPECIALISE, vocabulary_size(size), "full", "mlm", problems)
    return Plan(EXTEND, new_tokens([text]), "full", "mlm", problems)


def is_varied(text: LanguageText) -> bool:
    """Whether a text has words enough to learn a vocabulary from; without spaces, bytes."""
    if text.size.distinct_words is None:
        return text.size.bytes >= LIMITS["text_for_own_vocabulary"]
    return text.size.distinct_words >= LIMITS["distinct_words"]


def _adapter_plan(text: LanguageText, base: BaseMeasures, problems: list[str]) -> Plan:
    """An adapter on the vocabulary as it is."""
    if base.exposure.seen:
        method = "lora" if text.size.bytes < LIMITS["small_text"] else "seq_bn"
    else:
        method = "seq_bn_inv"
    return Plan(KEEP, 0, method, "targeted" if _has_graph(text) else "mlm", problems)


def _is_small(base: BaseMeasures) -> bool:
    return base.parameters is not None and base.parameters < LIMITS["small_model"]


def vocabulary_problems(text: LanguageText, base: BaseMeasures) -> list[str]:
    """The limits that the vocabulary does not meet; empty if it fits."""
    fit, problems = base.vocabulary, []
    if fit.unread_share >= LIMITS["unknown_words"]:
        problems.append("unknown_words")
    if 1 - fit.letter_coverage >= LIMITS["missing_letters"]:
        problems.append("missing_letters")
    # A base that was trained on the language has learned its tokens, however short: a change would only save time.
    if not base.exposure.seen and _times_own(text, base) >= LIMITS["times_own"]:
        problems.append("times_own")
    return problems


def _times_own(text: LanguageText, base: BaseMeasures) -> float:
    """Tokens per word relative to those of the language's own vocabulary; 1 if not measured."""
    fertility = base.vocabulary.fertility
    return fertility / text.own_fertility if fertility and text.own_fertility else 1.0


def _has_graph(text: LanguageText) -> bool:
    return text.graph is not None and text.graph.sentences >= LIMITS["graph_sentences"]


def vocabulary_size(size: int) -> int:
    """The size of a new vocabulary for a number of bytes of text."""
    sizes = {1e9: 64_000, 1e8: 32_000, 5e6: 16_000, 1e6: 8_000}
    return next((tokens for least, tokens in sizes.items() if size >= least), 4_000)


def new_tokens(texts: Sequence[LanguageText]) -> int:
    """The number of tokens to add to a vocabulary, given the amount of text."""
    words = sum(text.size.words or text.size.characters // 3 for text in texts)
    return min(MAXIMUM_NEW_TOKENS, max(100, round(words / LIMITS["words_per_piece"] / 100) * 100))


def recipe_for(base: str, chosen: Plan) -> AdaptRecipe:
    """The settings of the recommended training; the number of steps is decided by ``advise``."""
    flags: dict[str, Any] = {"method": chosen.method, "objective": chosen.objective}
    if METHODS[chosen.method].whole_model and base not in BUNDLED:
        flags |= {"learning_rate": PUBLISHED_FULL_RATE}
    return resolve(AdaptRecipe, "adapt", base=base, flags=flags)


def advise(text: LanguageText, base: BaseMeasures, chosen: Plan, recipe: AdaptRecipe) -> Advice:
    """The plan in words and commands."""
    maximum = ceil(LIMITS["passes"] * len(text.train) / recipe.batch_size)
    # A preset's number of steps is meant for an adapter; new tokens need as much training as the text allows.
    schedule = recipe.steps if chosen.vocabulary == KEEP else AdaptRecipe.steps
    steps = max(1, min(schedule, maximum))
    seconds = None if base.step is None else round(steps * base.step.seconds, 1)
    overnight = 0 if base.step is None else max(1, int(LIMITS["one_sitting"] / base.step.seconds))
    sizes = {source: text.published[source] for source in ("glotcc", "wikipedia") if source in text.published}
    alternative, quick = [], None
    if METHODS[chosen.method].whole_model:
        kept = _adapter_plan(text, base, [])
        kept_recipe = recipe_for(base.base, kept)
        fewer = max(1, min(kept_recipe.steps, maximum))
        alternative = _commands(text, base, kept, kept_recipe, fewer)
        quick = None if base.step is None else round(fewer * base.step.seconds, 1)
    words = _in_words(
        "advice.txt",
        text=text,
        base=base,
        plan=chosen,
        times_own=_times_own(text, base),
        related=", ".join(find_language(code).name for code in base.exposure.same_script[:1]),
        steps=steps,
        batch_size=recipe.batch_size,
        passes=steps * recipe.batch_size / max(1, len(text.train)),
        seconds=seconds,
        steps_overnight=max(1, round(overnight, 1 - len(str(overnight)))),
        with_graph=_has_graph(text),
        varied=is_varied(text),
        regret=REGRET if _is_small(base) else None,
        more_text=next((name for name, one in sizes.items() if one.megabytes * 1e6 > 2 * text.size.bytes), None),
    )
    commands = _commands(text, base, chosen, recipe, steps)
    return Advice(
        chosen.vocabulary, chosen.method, chosen.objective, steps, seconds, words, commands, alternative, quick
    )


def _commands(text: LanguageText, base: BaseMeasures, chosen: Plan, recipe: AdaptRecipe, steps: int) -> list[str]:
    language = str(text.language)
    corpora = _repeated("--corpus", text.paths)
    commands, start = _with_head(base, corpora)
    if chosen.vocabulary != KEEP:
        vocabulary, result = f"{language}-vocabulary", f"{Path(base.base).name}-{language}"
        apply = ["--base", start, "--vocabulary", vocabulary, "--init", "focus", *corpora, "--out", result]
        commands += [
            _build_vocabulary(language, base.base, chosen.vocabulary, chosen.tokens, corpora, vocabulary),
            _command("vocab", "apply", *apply),
        ]
        start = result
    data = _repeated("--data", text.paths)
    if text.graph_path is not None and chosen.objective == "targeted":
        data += ["--data", str(text.graph_path)]
    settings = ["--method", chosen.method, "--objective", chosen.objective, "--steps", str(steps)]
    if start != base.base and base.base in BUNDLED:
        settings += ["--preset", BUNDLED[base.base].preset]  # the default only under the model's own name
    if METHODS[chosen.method].whole_model:
        settings += ["--lr", f"{recipe.learning_rate:g}"]
    out = f"{language}-{chosen.method.replace('_', '-')}"
    return [*commands, _command("adapt", language, "--base", start, *data, *settings, "--out", out)]


def advise_family(
    family: FamilyPlan,
    texts: Sequence[LanguageText],
    measures: Sequence[BaseMeasures],
    step: StepTime | None,
) -> Advice:
    """Advice for one model for all languages, with a new shared vocabulary if half of the languages need one.

    ``measures`` are those of one base model, one for each of ``texts``; ``step`` is the time of one batch.
    """
    recipe, base = family.recipe, measures[0]
    problematic = [
        text.language.name for text, one in zip(texts, measures, strict=True) if vocabulary_problems(text, one)
    ]
    size = sum(text.size.bytes for text in texts)
    if not problematic or size < LIMITS["text_for_new_pieces"]:
        vocabulary = KEEP
    elif 2 * len(problematic) >= len(texts) and size >= LIMITS["text_for_own_vocabulary"]:
        vocabulary = SPECIALISE
    else:
        vocabulary = EXTEND
    steps = recipe.steps
    batches = steps * recipe.accumulation
    if recipe.tokens and step is not None:
        batches = max(1, round(recipe.tokens / step.tokens))
        steps = max(1, batches // recipe.accumulation)
    seconds = None if step is None else round(batches * step.seconds, 1)
    corpora = _repeated("--corpus", [path for text in texts for path in text.paths])
    before, start = _with_head(base, corpora)
    adapt = ["adapt-family", str(family.path), "--base", start]
    commands = keep = [*before, _command(*adapt, "--out", f"{family.name}-model")]
    if vocabulary != KEEP:
        tokens = max(16_000, vocabulary_size(size)) if vocabulary == SPECIALISE else new_tokens(texts)
        target = f"{family.name}-vocabulary"
        corpora += ["--alpha", f"{recipe.alpha:g}"]
        commands = [
            *before,
            _build_vocabulary(family.name, base.base, vocabulary, tokens, corpora, target),
            _command(*adapt, "--vocabulary", target, "--out", f"{family.name}-model"),
        ]
    words = _in_words(
        "advice_family.txt",
        base=base,
        vocabulary=vocabulary,
        problematic=problematic,
        texts=texts,
        size=size,
        recipe=recipe,
        steps=steps,
        seconds=seconds,
    )
    others = [] if vocabulary == KEEP else keep
    return Advice(vocabulary, recipe.method, recipe.objective, steps, seconds, words, commands, others)


def _with_head(base: BaseMeasures, corpora: Sequence[str]) -> tuple[list[str], str]:
    """The command that gives a base an MLM head, if it has none, and the model to continue from."""
    if base.has_head:
        return [], base.base
    out = f"{Path(base.base).name}-with-head"
    return [_command("pretrain", "--from", base.base, *corpora, "--out", out)], f"{out}/model"


def _build_vocabulary(name: str, base: str, vocabulary: str, tokens: int, corpora: list[str], out: str) -> str:
    option, number = ("--base", "--size") if vocabulary == SPECIALISE else ("--extend", "--pieces")
    return _command("vocab", "build", name, option, base, number, str(tokens), *corpora, "--out", out)


def _repeated(option: str, paths: Sequence[Path]) -> list[str]:
    return [part for path in paths for part in (option, str(path))]


def _command(*words: str) -> str:
    """A command line of langlift that can be pasted into a shell."""
    return shlex.join(("langlift", *words))


def _in_words(template: str, **values: Any) -> str:
    """A template of ``templates/`` with its values, as one paragraph."""
    return " ".join(_templates().get_template(template).render(values).split())


@cache
def _templates() -> Environment:
    environment = Environment(loader=PackageLoader("langlift"), undefined=StrictUndefined)
    environment.globals["limits"] = LIMITS
    environment.filters |= {
        "number": format,
        "megabytes": _megabytes,
        "readable_seconds": readable_seconds,
        "visible": visible,
    }
    return environment


def visible(letter: str) -> str:
    """A letter as it can be displayed: a combining mark on a dotted circle."""
    return "\u25cc" + letter if unicodedata.category(letter).startswith("M") else letter


def _megabytes(size: float) -> str:
    """Bytes in a readable unit."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    if size >= 1e6:
        return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"
    return f"{size / 1e3:.0f} kB"
