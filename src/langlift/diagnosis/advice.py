"""From measures to advice: what to do with the vocabulary, what to train and for how long, and the commands."""

import shlex
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from langlift.adapters.method import METHODS
from langlift.bundled_models import BUNDLED, MINI, NANO
from langlift.config.loading import resolve
from langlift.diagnosis.measures import BaseMeasures, LanguageText
from langlift.diagnosis.thresholds import (
    CUT_FINELY,
    GRAPH_SENTENCES,
    MISSING_LETTERS,
    MOST_LETTERS,
    ONE_SITTING,
    PASSES,
    SMALL_TEXT,
    TEXT_FOR_OWN,
    TEXT_FOR_PIECES,
    TIMES_OWN,
    UNKNOWN_WORDS,
    WORDS_PER_PIECE,
)
from langlift.languages import find_language
from langlift.progress import readable_seconds
from langlift.training.recipes import AdaptRecipe
from langlift.vocab.diagnosis import unread_share

KEEP, EXTEND, SPECIALISE = "keep", "extend", "specialise"
FULL_RATES = {NANO: 3e-4, MINI: 3e-4}
"""Peak learning rate of whole-model training: for others that of arXiv 2405.12413."""
PUBLISHED_FULL_RATE = 1e-5
MOST_PIECES = 4000
SHOWN_LETTERS = 12


@dataclass(frozen=True)
class Plan:
    """What is advised for one base: ``vocabulary`` is keep, extend or specialise.

    ``pieces`` are those to add, or of the new vocabulary (0: keep). ``reasons`` say why the vocabulary stays or
    changes, one sentence each.
    """

    vocabulary: str
    pieces: int
    method: str
    objective: str
    reasons: list[str]


@dataclass(frozen=True)
class Advice:
    """The recommendation for one base model: in words, as settings, and as commands to run in order.

    ``vocabulary`` is keep, extend or specialise; ``seconds`` is the expected time of ``steps`` on this machine,
    None where it was not measured. ``alternative`` are the commands that keep the vocabulary where it should
    change: cheaper, and not so good.
    """

    vocabulary: str
    method: str
    objective: str
    steps: int
    seconds: float | None
    text: str
    commands: list[str]
    alternative: list[str]


def plan(text: LanguageText, base: BaseMeasures) -> Plan:
    """Whether to keep, extend or replace the vocabulary, and what to train, by the table of thresholds."""
    fit, size = base.vocabulary, text.size
    reasons = troubles(text, base)
    enough = size.bytes >= TEXT_FOR_PIECES.value
    own = size.bytes >= TEXT_FOR_OWN.value
    if reasons and enough:
        poor = 1 - fit.letter_coverage >= MOST_LETTERS.value or _times_own(text, base) >= TIMES_OWN.value
        vocabulary = SPECIALISE if own and poor else EXTEND
        pieces = own_pieces(size.bytes) if vocabulary == SPECIALISE else new_pieces([text])
        if vocabulary == EXTEND and not own:
            reasons.append(f"For a vocabulary from scratch the text is too small ({megabytes(size.bytes)}).")
        if vocabulary == EXTEND and own:
            reasons.append("The rest of its pieces serve the language well enough to stay.")
        return Plan(vocabulary, pieces, "full", "mlm", reasons)
    if reasons:
        reasons.append(
            f"But {megabytes(size.bytes)} of text is too little to learn new pieces from: more text comes first."
        )
    else:
        reasons = [_fits(text, base)]
    return _with_vocabulary_kept(text, base, reasons)


def _with_vocabulary_kept(text: LanguageText, base: BaseMeasures, reasons: list[str]) -> Plan:
    if base.exposure.seen:
        method = "lora" if text.size.bytes < SMALL_TEXT.value else "seq_bn"
    else:
        method = "seq_bn_inv"
    finely = (base.vocabulary.fertility or 0.0) >= CUT_FINELY.value
    objective = "targeted" if _with_graph(text) else "full_word" if finely else "mlm"
    return Plan(KEEP, 0, method, objective, reasons)


def recipe_for(base: str, chosen: Plan) -> AdaptRecipe:
    """The settings that the advised training runs with; without steps of its own."""
    flags: dict[str, Any] = {"method": chosen.method, "objective": chosen.objective}
    if METHODS[chosen.method].whole_model:
        flags |= {"learning_rate": FULL_RATES.get(base, PUBLISHED_FULL_RATE)}
    return resolve(AdaptRecipe, "adapt", base=base, flags=flags)


def advise(text: LanguageText, base: BaseMeasures, chosen: Plan, recipe: AdaptRecipe) -> Advice:
    """Put the plan in words and commands."""
    most = ceil(PASSES.value * len(text.train) / recipe.batch_size)
    # A preset's steps are an adapter's; pieces that are new need all that the text gives.
    schedule = recipe.steps if chosen.vocabulary == KEEP else AdaptRecipe.steps
    steps = max(1, min(schedule, most))
    seconds = None if base.step is None else steps * base.step.seconds
    sentences = [
        "" if base.has_head else f"{base.base} {NO_HEAD}",
        f"{VERBS[chosen.vocabulary]} of {base.base}.",
        *chosen.reasons,
        _seen(text, base),
        _training(text, base, chosen, recipe, steps, seconds),
        *_warnings(text, base),
    ]
    kept = _with_vocabulary_kept(text, base, [])
    kept_recipe = recipe_for(base.base, kept)
    kept_steps = max(1, min(kept_recipe.steps, most))
    return Advice(
        vocabulary=chosen.vocabulary,
        method=chosen.method,
        objective=chosen.objective,
        steps=steps,
        seconds=None if seconds is None else round(seconds, 1),
        text=" ".join(sentence for sentence in sentences if sentence),
        commands=_commands(text, base, chosen, recipe, steps),
        alternative=[] if chosen.vocabulary == KEEP else _commands(text, base, kept, kept_recipe, kept_steps),
    )


NO_HEAD = (
    "has no masked head (a sentence encoder, or trained for a task?). Tasks work with it as it is; to be adapted "
    "or scored it needs a head, and the first command trains one."
)
VERBS = {KEEP: "Keep the vocabulary", EXTEND: "Extend the vocabulary", SPECIALISE: "Replace the vocabulary"}


def _times_own(text: LanguageText, base: BaseMeasures) -> float:
    """Tokens per word over those of the language's own vocabulary; 1 where that was not measured."""
    fertility = base.vocabulary.fertility
    return fertility / text.own_fertility if fertility and text.own_fertility else 1.0


def troubles(text: LanguageText, base: BaseMeasures) -> list[str]:
    """Why the vocabulary should change, a sentence each; none if it should not."""
    fit, found = base.vocabulary, []
    unknown = unread_share(fit)
    what = "words have a part" if fit.unknown_words is not None else "tokens are ones"
    if unknown >= UNKNOWN_WORDS.value:
        found.append(f"{unknown:.0%} of the {what} that it cannot represent at all: the model sees a blank there.")
    missing = 1 - fit.letter_coverage
    if missing >= MISSING_LETTERS.value:
        letters = " ".join(visible(m.letter) for m in fit.missing[:SHOWN_LETTERS])
        more = f" and {len(fit.missing) - SHOWN_LETTERS} more" if len(fit.missing) > SHOWN_LETTERS else ""
        how = "spells them in bytes" if fit.byte_share > fit.unknown_share else "loses them"
        found.append(f"It has no piece for {missing:.1%} of the letters in the text ({letters}{more}) and {how}.")
    if base.exposure.seen:
        return found  # it learned to read its pieces, however fine: changing them would only save time
    times = _times_own(text, base)
    if times >= TIMES_OWN.value and fit.fertility and text.own_fertility:
        found.append(
            f"It cuts a word into {fit.fertility:.1f} pieces on average, {times:.1f} times as many as a "
            f"vocabulary of the language's own would ({text.own_fertility:.1f})."
        )
    elif text.size.bytes < TEXT_FOR_OWN.value and fit.fertility and fit.fertility >= CUT_FINELY.value:
        found.append(
            f"It cuts a word into {fit.fertility:.1f} pieces on average, more than a base does in "
            "languages that it was made for."
        )
    return found


def _fits(text: LanguageText, base: BaseMeasures) -> str:
    fit = base.vocabulary
    if fit.fertility is None or text.own_fertility is None:
        return f"It has the letters of the text, {fit.characters_per_token:.1f} characters to a piece."
    if base.exposure.seen and _times_own(text, base) >= TIMES_OWN.value:
        return (
            f"It has the letters of the text. It cuts a word into {fit.fertility:.1f} pieces on average, where a "
            f"vocabulary of the language's own would need {text.own_fertility:.1f}: that costs time, but it has "
            "learned to read them."
        )
    return (
        f"It has the letters of the text, and cuts a word into {fit.fertility:.1f} pieces on average; a "
        f"vocabulary of the language's own would need {text.own_fertility:.1f}."
    )


def _with_graph(text: LanguageText) -> bool:
    return text.graph is not None and text.graph.sentences >= GRAPH_SENTENCES.value


def own_pieces(size: int) -> int:
    """The size of a new vocabulary for so many bytes of text."""
    return 64_000 if size >= 1e9 else 32_000 if size >= 1e8 else 16_000 if size >= 5e6 else 8_000


def new_pieces(texts: Sequence[LanguageText]) -> int:
    """How many pieces may be added by so much text."""
    words = sum(text.size.words or text.size.characters // 3 for text in texts)
    return min(MOST_PIECES, max(100, round(words / WORDS_PER_PIECE.value / 100) * 100))


def _seen(text: LanguageText, base: BaseMeasures) -> str:
    saw, name = base.exposure, text.language.name
    if saw.seen is None:
        return f"What it was pre-trained on is not in langlift's tables; it is taken not to have seen {name}."
    if saw.seen:
        amount = f" (about {megabytes(saw.megabytes * 1e6)})" if saw.megabytes else ""
        return f"It saw {name} in pre-training{amount}."
    if not saw.same_script:
        return f"It has seen neither {name} nor any other language in this script."
    count = len(saw.same_script)
    others = find_language(saw.same_script[0]).name if count == 1 else f"{count} other languages"
    return f"It has not seen {name}, but {others} in the same script."


TRAIN = {
    "seq_bn": "a bottleneck adapter (seq_bn), which of three kinds reached the lowest perplexity in languages "
    "that a base had seen (arXiv 2502.10140)",
    "seq_bn_inv": "a bottleneck adapter with an invertible part (seq_bn_inv): it also adapts the embeddings, and "
    "of three kinds it did best at topic classification in languages that a base had not seen (arXiv 2502.10140)",
    "lora": "a LoRA adapter: it changes least, and there is little text in a language that the base knows already",
    "full": "the whole model (full), because an adapter would leave the new pieces untrained",
}
OBJECTIVES = {
    "mlm": "The objective is masked language modelling (mlm)",
    "full_word": "The objective is to predict whole words (full_word), because a piece of a finely cut word is "
    "given away by the others",
    "targeted": "Train on text and graph together: in triples the arguments are predicted, not the stock phrase "
    "between them (targeted)",
}


def _training(
    text: LanguageText, base: BaseMeasures, chosen: Plan, recipe: AdaptRecipe, steps: int, seconds: float | None
) -> str:
    changed = chosen.vocabulary != KEEP
    passes = steps * recipe.batch_size / max(1, len(text.train))
    said = (
        f"{'Then train' if changed else 'Train'} {TRAIN[chosen.method]}. {OBJECTIVES[chosen.objective]}, for "
        f"{steps:,} steps of {recipe.batch_size} sentences, {_times(passes)} over the text"
    )
    if seconds is None or base.step is None:
        said += "."
    else:
        now = " with the vocabulary as it is now" if changed else ""
        said += f": about {readable_seconds(seconds)} on this machine{now}."
        if seconds > ONE_SITTING.value:
            fits = max(1, int(ONE_SITTING.value / base.step.seconds))
            rounded = max(1, round(fits, 1 - len(str(fits))))
            said += f" In twelve hours it makes about {rounded:,}, which is a start (--steps {rounded})."
    if changed and _with_graph(text):
        said += " The graph can follow, in an adapter on the result."
    return said


def _times(passes: float) -> str:
    if passes < 0.95:
        return f"{max(passes, 0.01):.0%} of one pass"
    return "one pass" if passes < 1.5 else f"{passes:.0f} passes"


def _warnings(text: LanguageText, base: BaseMeasures) -> list[str]:
    found = []
    if text.size.script_share < 0.5:
        found.append(
            f"Only {text.size.script_share:.0%} of the letters are in the script of {text.language}: is it the "
            "right text, and the right code?"
        )
    for source in ("glotcc", "wikipedia"):
        size = text.published.get(source)
        if size is not None and size.megabytes * 1e6 > 2 * text.size.bytes:
            found.append(
                f"There is more text, and more text helps most: {megabytes(size.megabytes * 1e6)} in "
                f"{SOURCES[source]} (langlift corpus build {text.language} --source {source})."
            )
            break
    if base.truncated:
        found.append(f"{base.truncated} of the sentences scored were longer than its input and were cut.")
    return found


SOURCES = {"glotcc": "GlotCC", "wikipedia": "Wikipedia"}


def _commands(
    text: LanguageText, measured: BaseMeasures, chosen: Plan, recipe: AdaptRecipe, steps: int
) -> list[str]:
    language, base = str(text.language), measured.base
    corpora = [part for path in text.paths for part in ("--corpus", str(path))]
    commands, start = with_head(measured, corpora)
    if chosen.vocabulary != KEEP:
        vocabulary, result = f"{language}-vocabulary", f"{Path(base).name}-{language}"
        build = ["--base", base] if chosen.vocabulary == SPECIALISE else ["--extend", base]
        build += ["--size" if chosen.vocabulary == SPECIALISE else "--pieces", str(chosen.pieces)]
        commands += [
            command("vocab", "build", language, *build, *corpora, "--out", vocabulary),
            command("vocab", "apply", "--base", start, "--vocabulary", vocabulary, "--init", "focus", *corpora,
                     "--out", result),
        ]  # fmt: skip
        start = result
    data = [part for path in text.paths for part in ("--data", str(path))]
    if text.graph_path is not None and chosen.objective == "targeted":
        data += ["--data", str(text.graph_path)]
    settings = ["--method", chosen.method, "--objective", chosen.objective, "--steps", str(steps)]
    if start != base and base in BUNDLED:
        settings += ["--preset", BUNDLED[base].preset]  # in force by itself only under the model's own name
    if METHODS[chosen.method].whole_model:
        settings += ["--lr", f"{recipe.learning_rate:g}"]
    out = f"{language}-{chosen.method.replace('_', '-')}"
    commands.append(command("adapt", language, "--base", start, *data, *settings, "--out", out))
    return commands


def with_head(measured: BaseMeasures, corpora: Sequence[str]) -> tuple[list[str], str]:
    """The command that gives a base a masked head, where it has none, and the model to go on from."""
    if measured.has_head:
        return [], measured.base
    out = f"{Path(measured.base).name}-with-head"
    return [command("pretrain", "--from", measured.base, *corpora, "--out", out)], f"{out}/model"


def command(*words: str) -> str:
    """A command line of langlift that can be pasted into a shell."""
    return shlex.join(("langlift", *words))


def visible(letter: str) -> str:
    """A letter as it can be shown: a combining mark on a dotted circle."""
    return "\u25cc" + letter if unicodedata.category(letter).startswith("M") else letter


def megabytes(size: float) -> str:
    """Bytes in a readable unit."""
    if size >= 1e9:
        return f"{size / 1e9:.1f} GB"
    if size >= 1e6:
        return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"
    return f"{size / 1e3:.0f} kB"
