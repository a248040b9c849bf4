"""Answers as HTML: gaps, coloured words, labels, entities, tags and trees. All text is escaped."""

import unicodedata
from collections.abc import Sequence
from functools import singledispatch
from html import escape

from langlift.evaluation.gap_words import WordGuess, around_gap
from langlift.evaluation.surprise import WordSurprise
from langlift.tasks.dependencies import Parse
from langlift.tasks.ner import FoundEntities
from langlift.tasks.pos import TaggedSentence
from langlift.tasks.sentences import Prediction

MOST_BITS = 6.0
"""Bits per character from which on a word has the strongest colour."""
WORD_GAP, LETTER, LEVEL, TEXT_HEIGHT = 26.0, 9.0, 22.0, 20.0
"""Of a tree, in pixels: between words, a letter's width, the height of an arc over one word, a line of text."""


def guesses_html(text: str, guesses: Sequence[WordGuess]) -> str:
    """The likely words for a gap as a list, the best one in the sentence, bold."""
    if not guesses:
        return "<p>No word of this vocabulary fits there.</p>"
    before, after = around_gap(text)
    rows = "".join(
        f"<li><bdi>{escape(guess.word)}</bdi>{_bar(guess.probability)}<span>{guess.probability:.1%}</span></li>"
        for guess in guesses
    )
    best = f"<b>{escape(guesses[0].word)}</b>"
    return f"<p dir=auto class=sentence>{escape(before)}{best}{escape(after)}</p><ol class=guesses>{rows}</ol>"


def surprise_html(words: Sequence[WordSurprise]) -> str:
    """The words on a background that is the darker the more surprising they are, with their bits below."""
    parts, known = [], [word for word in words if word.bits is not None]
    for word in words:
        if word.bits is None:
            parts.append(f"<span class=word><bdi>{escape(word.word)}</bdi><small>not read</small></span>")
            continue
        strength = min(1.0, (word.bits_per_character or 0.0) / MOST_BITS)
        parts.append(
            f"<span class=word style='--surprise:{strength:.2f}'><bdi>{escape(word.word)}</bdi>"
            f"<small>{word.bits:.0f}</small></span>"
        )
    characters = sum(len(word.word) for word in known)
    mean = sum(word.bits or 0.0 for word in known) / max(1, characters)
    return (
        f"<p dir=auto class='sentence words'>{' '.join(parts)}</p>"
        f"<p class=note>{mean:.2f} bits a character on average</p>"
    )


@singledispatch
def label_html(answer: object) -> str:
    """What a task's run says of a text, drawn by the kind of its answer."""
    raise TypeError(f"no drawing of a {type(answer).__name__}")


@label_html.register
def prediction_html(answer: Prediction) -> str:
    """Every label with its probability, the most probable first."""
    rows = "".join(
        f"<li><bdi>{escape(label)}</bdi>{_bar(share)}<span>{share:.0%}</span></li>"
        for label, share in sorted(answer.probabilities.items(), key=lambda pair: -pair[1])
    )
    return f"<ol class=guesses>{rows}</ol>"


def _bar(share: float) -> str:
    return f"<span class=bar style='--share:{share:.4f}' aria-hidden=true></span>"


@label_html.register
def entities_html(answer: FoundEntities) -> str:
    """The sentence with its entities marked and named."""
    starts = {entity.start: entity for entity in answer.entities}
    parts, at = [], 0
    while at < len(answer.sentence):
        entity = starts.get(at)
        end = entity.end if entity else at + 1
        words = escape(" ".join(answer.sentence[at:end]))
        parts.append(f"<mark><bdi>{words}</bdi> <small>{escape(entity.type)}</small></mark>" if entity else words)
        at = end
    found = "" if answer.entities else "<p class=note>No entity found.</p>"
    return f"<p dir=auto class=sentence>{' '.join(parts)}</p>{found}"


@label_html.register
def tags_html(answer: TaggedSentence) -> str:
    """Each word with its part of speech below."""
    parts = [
        f"<span class=word><bdi>{escape(word)}</bdi><small>{escape(tag)}</small></span>"
        for word, tag in zip(answer.sentence.words, answer.tags, strict=True)
    ]
    return f"<p dir=auto class='sentence words'>{' '.join(parts)}</p>"


@label_html.register
def parse_html(answer: Parse) -> str:
    """The tree as arcs above the words (from right to left in scripts written so), and as a table to be read."""
    words, heads, relations = answer.sentence.words, answer.heads, answer.relations
    widths = [max(len(word), len(relation)) * LETTER for word, relation in zip(words, relations, strict=True)]
    middles, right = [], 0.0
    for width in widths:
        middles.append(right + width / 2)
        right += width + WORD_GAP
    if is_right_to_left(" ".join(words)):
        middles = [right - WORD_GAP - middle for middle in middles]
    arcs = [(min(number, head), max(number, head)) for number, head in enumerate(heads, start=1) if head]
    highest = max([last - first for first, last in arcs], default=1)
    base = LEVEL * (min(highest, 9) + 1) + TEXT_HEIGHT
    drawn = []
    for number, (head, relation) in enumerate(zip(heads, relations, strict=True), start=1):
        x, name = middles[number - 1], escape(relation)
        drawn.append(f"<text x={x:.0f} y={base + TEXT_HEIGHT:.0f} class=w>{escape(words[number - 1])}</text>")
        if not head:
            drawn.append(f"<path d='M {x:.0f} {TEXT_HEIGHT:.0f} V {base:.0f}'/>")
            drawn.append(f"<text x={x:.0f} y={TEXT_HEIGHT - 5:.0f}>{name}</text>")
            continue
        start = middles[head - 1]
        top = base - LEVEL * min(abs(number - head), 9)
        drawn.append(
            f"<path d='M {start:.0f} {base:.0f} C {start:.0f} {top:.0f} {x:.0f} {top:.0f} {x:.0f} {base:.0f}'/>"
        )
        drawn.append(f"<text x={(start + x) / 2:.0f} y={base - (base - top) * 0.75 - 4:.0f}>{name}</text>")
    rows = "".join(
        f"<tr><td>{number}</td><td><bdi>{escape(word)}</bdi></td><td>{escape(relation)}</td>"
        f"<td>{f'<bdi>{escape(words[head - 1])}</bdi> ({head})' if head else 'root'}</td></tr>"
        for number, (word, head, relation) in enumerate(zip(words, heads, relations, strict=True), start=1)
    )
    width, height = right + WORD_GAP, base + 2 * TEXT_HEIGHT
    return (
        f"<div class=tree tabindex=0 role=group aria-label='tree; the table below says the same'>"
        f"<svg width={width:.0f} height={height:.0f} viewBox='0 0 {width:.0f} {height:.0f}' aria-hidden=true>"
        f"{''.join(drawn)}</svg></div><details><summary>As a table</summary><table><thead><tr><th>#</th>"
        f"<th>word</th><th>relation</th><th>of</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )


def is_right_to_left(text: str) -> bool:
    """Whether the first letter that has a direction is written from right to left."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((found in ("R", "AL") for found in directions if found in ("L", "R", "AL")), False)
