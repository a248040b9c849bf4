"""Parse the answer of a model into a label or entities; None if that is impossible."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

THINKING = re.compile(r"<(think|thinking|reasoning)>.*?</\1>", re.DOTALL | re.IGNORECASE)
THINKING_END = re.compile(r"^.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
THINKING_START = re.compile(r"<(?:think|thinking|reasoning)>.*$", re.DOTALL | re.IGNORECASE)
NO_ENTITIES = frozenset({"none", "no entities", "no named entities", "there are none"})
"""Answers without JSON that mean that there is no entity."""
TYPE_NAMES = {
    "PERSON": "PER",
    "PEOPLE": "PER",
    "LOCATION": "LOC",
    "PLACE": "LOC",
    "ORGANIZATION": "ORG",
    "ORGANISATION": "ORG",
    "MISCELLANEOUS": "MISC",
}
"""Models' names for entity types -> the short names in data sets."""
MAX_BRACKETS = 200
"""Maximum number of brackets that are tried as the start of an answer's JSON."""

NamedEntity = tuple[str, str]
"""An entity as a model gives it: (type, text)."""


def without_thinking(text: str) -> str:
    """An answer without the reasoning in it.

    A closing tag alone ends reasoning that the chat template started; after an opening tag alone, the answer was
    truncated while reasoning, so nothing is left.
    """
    for pattern in (THINKING, THINKING_END, THINKING_START):
        text = pattern.sub("", text)
    return text.strip()


def read_label(text: str, labels: Sequence[str]) -> str | None:
    """The label in an answer.

    It is the value of ``label`` (or the only value) of a JSON object, which must be a label; or the whole answer;
    or the only label that it contains. Case, punctuation and spaces are ignored, unless labels differ only in
    these.
    """
    names = {_words(label): label for label in labels}
    if len(names) < len(labels) or "" in names:
        names = {label.strip(): label for label in labels}
    for value in _json_values(text):
        label = _json_label(value)
        if label is not None:
            return names.get(_name(label, names))
    whole = names.get(_name(text, names))
    return whole if whole is not None else _only_contained(text, names)


def read_entities(text: str, types: Sequence[str]) -> list[NamedEntity] | None:
    """The entities in an answer, without those of other types.

    Accepted are ``{"entities": [{"type": ..., "text": ...}]}``, the list alone, lists of pairs, and objects with
    a list for each type, also with text around them.
    """
    known = {kind.casefold(): kind for kind in types}
    known |= {long.casefold(): short for long, short in TYPE_NAMES.items() if short in types}
    for value in _json_values(text):
        entities = _json_entities(value, frozenset(known))
        if entities is not None:
            return [(known[kind.casefold()], name) for kind, name in entities if kind.casefold() in known]
    return [] if _words(text) in NO_ENTITIES else None


def tags_of(words: Sequence[str], entities: Sequence[NamedEntity]) -> tuple[list[str], int]:
    """The BIO tags of a sentence's words, and the number of entities that were not found in it.

    Spaces are ignored, so that an entity is found however its text was split into words; it must begin and end at
    word boundaries. It takes the first free position: of its exact text, or else ignoring case, or else without
    punctuation at its ends.
    """
    tags = ["O"] * len(words)
    missed = 0
    for kind, text in entities:
        trimmed = re.sub(r"\A[\W_]+|[\W_]+\Z", "", text)
        attempts = ((candidate, fold) for candidate in (text, trimmed) for fold in (str, str.casefold))
        span = next((s for candidate, fold in attempts if (s := _free_span(words, candidate, tags, fold))), None)
        if span is None:
            missed += 1
            continue
        start, end = span
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return tags, missed


def _free_span(
    words: Sequence[str], text: str, tags: Sequence[str], fold: Callable[[str], str]
) -> tuple[int, int] | None:
    """The first words [start, end) without tags that are ``text``, both folded and without spaces."""
    wanted, *pieces = (fold("".join(unicodedata.normalize("NFC", one).split())) for one in (text, *words))
    bounds = [(end - len(piece), end) for piece, end in zip(pieces, accumulate(map(len, pieces)), strict=True)]
    starts = {start: number for number, (start, end) in enumerate(bounds) if start < end}
    ends = {end: number + 1 for number, (start, end) in enumerate(bounds) if start < end}
    sentence = "".join(pieces)
    position = sentence.find(wanted) if wanted else -1
    while position >= 0:
        first, last = starts.get(position), ends.get(position + len(wanted))
        if first is not None and last is not None and all(tag == "O" for tag in tags[first:last]):
            return first, last
        position = sentence.find(wanted, position + 1)
    return None


def _words(text: str) -> str:
    """A text's words in lower case, separated by single spaces, without punctuation."""
    letters = (c if c.isalnum() or unicodedata.category(c).startswith("M") else " " for c in text)
    return " ".join(unicodedata.normalize("NFC", "".join(letters)).casefold().split())


def _name(text: str, names: Mapping[str, str]) -> str:
    stripped = text.strip().strip("\"'`*.")
    return stripped if stripped in names else _words(text)


def _only_contained(text: str, names: Mapping[str, str]) -> str | None:
    """The only label that a text contains as whole words; "very good" does not contain "good"."""
    rest, found = f" {_words(text)} ", set()
    for name in sorted((name for name in names if name and name == _words(name)), key=len, reverse=True):
        if f" {name} " in rest:
            found.add(names[name])
            rest = rest.replace(f" {name} ", " | ")
    return found.pop() if len(found) == 1 else None


def _json_label(value: Any) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        fields = _casefolded(value)
        value = fields.get("label", next(iter(fields.values())) if len(fields) == 1 else None)
    return value if isinstance(value, str) else None


def _json_entities(value: Any, known: frozenset[str]) -> list[NamedEntity] | None:
    """The entities in a JSON value; None if it has none of the accepted forms."""
    if isinstance(value, dict):
        fields = _casefolded(value)
        if isinstance(fields.get("entities"), list | dict):
            return _json_entities(fields["entities"], known)
        if "type" in fields and "text" in fields:
            return _json_entities([value], known)
        if not fields:
            return []
        if not fields.keys() & known or not all(isinstance(names, list) for names in fields.values()):
            return None
        return [(kind, name) for kind, names in fields.items() for name in names if isinstance(name, str)]
    if not isinstance(value, list):
        return None
    entities = []
    for one in value:
        if isinstance(one, dict):
            fields = _casefolded(one)
            one = [fields.get("type", fields.get("label")), fields.get("text", fields.get("entity"))]
        if not isinstance(one, list) or len(one) != 2 or not all(isinstance(part, str) for part in one):
            return None
        entities.append((one[0], one[1]))
    return entities


def _casefolded(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key.casefold(): one for key, one in value.items()}


def _json_values(text: str) -> Iterator[Any]:
    """The text if it is a JSON string, then the outermost JSON objects and lists in it, from the left."""
    decoder = json.JSONDecoder()
    if text.strip().startswith('"'):
        with suppress(ValueError):
            yield json.loads(text.strip())
    end, tried = 0, 0
    for match in re.finditer(r"[{\[]", text):
        if match.start() < end:
            continue
        tried += 1
        if tried > MAX_BRACKETS:
            return
        with suppress(ValueError, RecursionError):
            value, end = decoder.raw_decode(text, match.start())
            yield value
