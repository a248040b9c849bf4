"""Render answers as HTML: words for gaps, coloured words, labels, entities, tags and trees."""

import unicodedata
from collections.abc import Sequence
from functools import cache, singledispatch
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langlift.evaluation.gap_filling import WordGuess, around_gap
from langlift.evaluation.pseudo_perplexity import WordSurprise
from langlift.tasks.dependencies import Parse
from langlift.tasks.ner import FoundEntities
from langlift.tasks.pos import TaggedSentence

MAX_BITS = 6.0
"""Bits per character from which a word has the strongest colour."""
WORD_GAP, LETTER, LEVEL, TEXT_HEIGHT = 26.0, 9.0, 22.0, 20.0
"""In a tree, in pixels: space between words, width of a letter, height of an arc over one word, and of a line."""
MAX_LEVEL = 9


@cache
def _macros() -> Any:
    environment = Environment(
        loader=PackageLoader("langlift.playground"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["number"] = format
    return environment.get_template("answers.html.j2").module


def draw(macro: str, *values: Any) -> Markup:
    """The HTML of a macro in ``answers.html.j2``."""
    return Markup(getattr(_macros(), macro)(*values))


def guesses_html(text: str, guesses: Sequence[WordGuess]) -> Markup:
    """The most likely words for a gap as a list, with the best one in the sentence, in bold."""
    if not guesses:
        return Markup("<p>No word of this vocabulary fits there.</p>")
    before, after = around_gap(text)
    words = [(guess.word, guess.probability) for guess in guesses]
    return draw("gap", before, guesses[0].word, after) + draw("shares", words, ".1%")


def surprise_html(words: Sequence[WordSurprise]) -> Markup:
    """The words with their bits below; the background is darker the more surprising a word is for its length."""
    parts = [
        (word.word, "not read", None)
        if word.bits is None
        else (word.word, f"{word.bits:.0f}", min(1.0, (word.bits_per_character or 0.0) / MAX_BITS))
        for word in words
    ]
    read = [word for word in words if word.bits is not None]
    mean = sum(word.bits or 0.0 for word in read) / max(1, sum(len(word.word) for word in read))
    return draw("words", parts) + draw("note", f"{mean:.2f} bits a character on average")


@singledispatch
def label_html(answer: Any) -> Markup:
    """The answer of a task's run, by its type; of a ``Prediction`` all labels, the most probable first."""
    return draw("shares", sorted(answer.probabilities.items(), key=lambda pair: -pair[1]), ".0%")


@label_html.register
def entities_html(answer: FoundEntities) -> Markup:
    """The sentence with its entities highlighted and named."""
    parts: list[tuple[str, str]] = []
    start = 0
    for entity in sorted(answer.entities, key=lambda entity: entity.start):
        parts += [(word, "") for word in answer.sentence[start : entity.start]]
        parts.append((" ".join(answer.sentence[entity.start : entity.end]), entity.type))
        start = entity.end
    parts += [(word, "") for word in answer.sentence[start:]]
    return draw("entities", parts) + (Markup() if answer.entities else draw("note", "No entity found."))


@label_html.register
def tags_html(answer: TaggedSentence) -> Markup:
    """Each word with its part of speech below."""
    return draw("words", [(word, tag, None) for word, tag in zip(answer.sentence.words, answer.tags, strict=True)])


@label_html.register
def parse_html(answer: Parse) -> Markup:
    """The tree as arcs above the words, in the direction of their script, and as a table for screen readers."""
    words, heads, relations = answer.sentence.words, answer.heads, answer.relations
    middles, right = [], 0.0
    for word, relation in zip(words, relations, strict=True):
        width = max(len(word), len(relation)) * LETTER
        middles.append(right + width / 2)
        right += width + WORD_GAP
    if is_right_to_left(" ".join(words)):
        middles = [right - WORD_GAP - middle for middle in middles]
    lengths = [abs(number - head) for number, head in enumerate(heads, start=1) if head]
    base = LEVEL * (min(max(lengths, default=1), MAX_LEVEL) + 1) + TEXT_HEIGHT
    arcs = []
    for number, (x, head, relation) in enumerate(zip(middles, heads, relations, strict=True), start=1):
        if not head:
            path = f"M {x:.0f} {TEXT_HEIGHT:.0f} V {base:.0f}"
            arcs.append((path, x, TEXT_HEIGHT - 5, relation))
            continue
        start, top = middles[head - 1], base - LEVEL * min(abs(number - head), MAX_LEVEL)
        path = f"M {start:.0f} {base:.0f} C {start:.0f} {top:.0f} {x:.0f} {top:.0f} {x:.0f} {base:.0f}"
        arcs.append((path, (start + x) / 2, base - (base - top) * 0.75 - 4, relation))
    placed = [(x, base + TEXT_HEIGHT, word) for x, word in zip(middles, words, strict=True)]
    rows = [
        (word, relation, head, words[head - 1] if head else "")
        for word, relation, head in zip(words, relations, heads, strict=True)
    ]
    return draw("tree", right + WORD_GAP, base + 2 * TEXT_HEIGHT, placed, arcs, rows)


def is_right_to_left(text: str) -> bool:
    """Whether the first letter with a direction is written from right to left."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((found in ("R", "AL") for found in directions if found in ("L", "R", "AL")), False)
