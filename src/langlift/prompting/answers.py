"""From what a model wrote to a label or to entities; None where that cannot be read."""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

THINKING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
THINKING_END = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
THINKING_START = re.compile(r"<(?:think|thinking|reasoning)>.*$", re.DOTALL | re.IGNORECASE)
NOTHING = frozenset({"none", "no entities", "no named entities", "there are none"})
"""Answers that say, without JSON, that there is no entity."""
TYPE_NAMES = {
    "PERSON": "PER",
    "PEOPLE": "PER",
    "LOCATION": "LOC",
    "PLACE": "LOC",
    "ORGANIZATION": "ORG",
    "ORGANISATION": "ORG",
    "MISCELLANEOUS": "MISC",
}
"""What models call types of entities that data sets shorten."""
MOST_BRACKETS = 200
"""So many brackets of an answer are tried as the start of its JSON."""

Found = tuple[str, str]
"""An entity as a model names it: (type, text)."""


def without_thinking(text: str) -> str:
    """An answer without the thinking of a reasoning model.

    A closing mark alone ends what a chat template opened; an opening mark alone means that the answer was cut off
    while thinking, so that nothing is left.
    """
    text = THINKING.sub("", text)
    text = THINKING_END.sub("", text)
    return THINKING_START.sub("", text).strip()


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """The label that an answer gives.

    In this order: the value of ``label`` (or the only value) of a JSON object, which must be a label; the whole
    answer; the only label that it names. Case, punctuation and spaces do not count, unless labels differ in them.
    """
    names = _names(labels)
    for value in _json_values(text):
        given = _given_label(value)
        if given is not None:
            return names.get(_name(given, names))
    whole = names.get(_name(text, names))
    return whole if whole is not None else _only_named(text, labels)


def read_entities(text: str, types: Sequence[str]) -> list[Found] | None:
    """The entities that an answer gives, those of other types left out.

    Read are ``{"entities": [{"type": ..., "text": ...}]}``, the list alone, lists of pairs, and objects of lists
    by type, also inside other text.
    """
    known = {kind.casefold(): kind for kind in types}
    known |= {long.casefold(): short for long, short in TYPE_NAMES.items() if short in types}
    for value in _json_values(text):
        found = _given_entities(value, frozenset(known))
        if found is not None:
            return [(known[kind.casefold()], name) for kind, name in found if kind.casefold() in known]
    return [] if _words(text) in NOTHING else None


def tags_of(words: Sequence[str], found: Sequence[Found]) -> tuple[list[str], int]:
    """The BIO tags of a sentence's words by the entities in it, and how many of these are not to be found there.

    Spaces do not count, so that an entity is found however its text was split into words; it must begin and end
    where words do. Each takes the first place that is free: as written, else whatever the case, else without
    punctuation at its ends.
    """
    tags = ["O"] * len(words)
    missed = 0
    places = [_Places(words, fold) for fold in (_plain, _folded)]
    for kind, text in found:
        span = None
        for trimmed in (text, _trimmed(text)):
            span = span or next((s for place in places if (s := place.first_free(trimmed, tags))), None)
        if span is None:
            missed += 1
            continue
        tags[span[0]] = f"B-{kind}"
        tags[span[0] + 1 : span[1]] = [f"I-{kind}"] * (span[1] - span[0] - 1)
    return tags, missed


class _Places:
    """A sentence without its spaces, and where its words begin and end in that."""

    def __init__(self, words: Sequence[str], fold: Any) -> None:
        self._fold = fold
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._text = ""
        for number, word in enumerate(words):
            piece = fold(word)
            if piece:
                self._starts[len(self._text)] = number
                self._text += piece
                self._ends[len(self._text)] = number + 1

    def first_free(self, text: str, tags: Sequence[str]) -> tuple[int, int] | None:
        """(first word, word behind the last) of a text, where no word has a tag yet."""
        wanted = self._fold(text)
        place = self._text.find(wanted) if wanted else -1
        while place >= 0:
            start, end = self._starts.get(place), self._ends.get(place + len(wanted))
            if start is not None and end is not None and all(tag == "O" for tag in tags[start:end]):
                return start, end
            place = self._text.find(wanted, place + 1)
        return None


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).split())


def _folded(text: str) -> str:
    return _plain(text).casefold()


def _trimmed(text: str) -> str:
    start, end = 0, len(text)
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return text[start:end]


def _words(text: str) -> str:
    """A text's words in lower case, parted by single spaces; punctuation is dropped."""
    letters = (c if c.isalnum() or unicodedata.category(c).startswith("M") else " " for c in text)
    return " ".join(unicodedata.normalize("NFC", "".join(letters)).casefold().split())


def _names(labels: Sequence[str]) -> Mapping[str, str]:
    """What labels are told by: their words, or themselves if words do not tell them apart."""
    by_words = {_words(label): label for label in labels}
    if len(by_words) == len(labels) and "" not in by_words:
        return by_words
    return {label.strip(): label for label in labels}


def _name(text: str, names: Mapping[str, str]) -> str:
    stripped = text.strip().strip("\"'`*.")
    return stripped if stripped in names else _words(text)


def _only_named(text: str, labels: Sequence[str]) -> str | None:
    """The label that a text names as whole words, if it is one alone; "very good" does not name "good"."""
    names = _names(labels)
    rest, found = f" {_words(text)} ", set()
    for name in sorted((name for name in names if name == _words(name)), key=len, reverse=True):
        if name and f" {name} " in rest:
            found.add(names[name])
            rest = rest.replace(f" {name} ", " | ")
    return found.pop() if len(found) == 1 else None


def _given_label(value: Any) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        lower = {str(key).casefold(): one for key, one in value.items()}
        value = lower.get("label", next(iter(lower.values())) if len(lower) == 1 else None)
    return value if isinstance(value, str) else None


def _given_entities(value: Any, known: frozenset[str]) -> list[Found] | None:
    """(type, text) pairs of a JSON value in one of the forms; None if it has none of them."""
    if isinstance(value, dict):
        lower = {str(key).casefold(): one for key, one in value.items()}
        if isinstance(lower.get("entities"), list | dict):
            return _given_entities(lower["entities"], known)
        if "type" in lower and "text" in lower:
            return _given_entities([value], known)
        if not lower or not all(isinstance(names, list) for names in lower.values()) or not lower.keys() & known:
            return [] if not lower else None
        return [(kind, name) for kind, names in lower.items() for name in names if isinstance(name, str)]
    if not isinstance(value, list):
        return None
    found = []
    for one in value:
        pair = _given_entity(one)
        if pair is None:
            return None
        found.append(pair)
    return found


def _given_entity(value: Any) -> Found | None:
    if isinstance(value, dict):
        lower = {str(key).casefold(): one for key, one in value.items()}
        pair = (lower.get("type", lower.get("label")), lower.get("text", lower.get("entity")))
    elif isinstance(value, list) and len(value) == 2:
        pair = (value[0], value[1])
    else:
        return None
    kind, name = pair
    return (kind, name) if isinstance(kind, str) and isinstance(name, str) else None


def _json_values(text: str) -> Iterator[Any]:
    """The JSON objects, lists and strings in a text, from the left, none inside another."""
    decoder = json.JSONDecoder()
    place, tried = 0, 0
    stripped = text.strip()
    if stripped.startswith('"'):
        with suppress(ValueError):
            yield json.loads(stripped)
    for match in re.finditer(r"[{\[]", text):
        if match.start() < place:
            continue
        tried += 1
        if tried > MOST_BRACKETS:
            return
        try:
            value, place = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        yield value
