"""Tasks as questions and answers: the values in a prompt, and the parsing and scoring of answers.

Parsing gives a label or entities; None if that is impossible.
"""

import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate, chain, zip_longest
from typing import Any

import numpy as np

from langlift.errors import InputError
from langlift.evaluation.metrics import entity_spans, macro_f1
from langlift.tasks.learner import Split
from langlift.tasks.ner import TaggedWords
from langlift.tasks.sentences import LabelledText
from langlift.tasks.task import TASKS, Task

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
TYPE_MEANINGS = {
    "PER": "person",
    "LOC": "location",
    "ORG": "organisation",
    "DATE": "date or time",
    "MISC": "any other name",
}


class AnswerFormat(ABC):
    """A task as questions and answers.

    ``common`` are the values for every part of a template, ``schema`` is the JSON schema of an answer.
    """

    common: Mapping[str, Any]
    schema: dict[str, Any]

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def values(self, split: Split[Any, Any], number: int) -> dict[str, Any]:
        """The values of an example for a template: its text and its answer."""

    @abstractmethod
    def parse(self, text: str, split: Split[Any, Any], number: int) -> tuple[Any, int]:
        """A label or a sentence's tags (None: cannot be parsed), and the number of entities not in the text."""

    @abstractmethod
    def answers(self, split: Split[Any, Any], parsed: Sequence[Any]) -> Any:
        """Parsed answers as the learner scores and writes them; None counts as wrong."""

    def score(self, split: Split[Any, Any], parsed: Sequence[Any]) -> float:
        """The task's metric, 0 to 100."""
        return self.task.learner.scores(split.gold, self.answers(split, parsed))[self.task.metric.name]

    def published_score(self, split: Split[Any, Any], parsed: Sequence[Any]) -> float:
        """The metric of the published script on parsed answers; 0 if there are none."""
        return self.score(split, parsed) if len(split) else 0.0

    def draw(self, train: Split[Any, Any], count: int, seed: int, balanced: bool) -> list[int]:
        """Indices of different training examples, in random order."""
        if count > len(train):
            raise InputError(f"--shots {count}: the train split has {len(train)} examples", "use fewer shots")
        return np.random.default_rng(seed).permutation(len(train)).tolist()[:count]


class LabelFormat(AnswerFormat):
    """A text, and one of the labels."""

    def __init__(self, task: Task, labels: list[str]) -> None:
        super().__init__(task)
        self._labels = labels
        self.common = {"labels": labels}
        self.schema = _object({"label": {"type": "string", "enum": labels}})

    def values(self, split: LabelledText, number: int) -> dict[str, Any]:
        """The text and its label."""
        return {"text": split.inputs[number], "label": split.gold[number]}

    def parse(self, text: str, split: LabelledText, number: int) -> tuple[str | None, int]:
        """The label."""
        return read_label(text, self._labels), 0

    def answers(self, split: LabelledText, parsed: Sequence[str | None]) -> list[str | None]:
        """The labels; None is correct for no class."""
        return list(parsed)

    def published_score(self, split: LabelledText, parsed: Sequence[str]) -> float:
        """Macro-F1 over all labels, including those that occur neither in the data nor in the answers."""
        return macro_f1(split.gold, parsed, self._labels) if len(split) else 0.0

    def draw(self, train: LabelledText, count: int, seed: int, balanced: bool) -> list[int]:
        """With ``balanced``, cycle through the labels in random order, with a random example of each."""
        drawn = super().draw(train, count, seed, balanced)
        if not balanced:
            return drawn
        by_label: dict[str, list[int]] = {}
        for number in super().draw(train, len(train), seed, balanced):
            by_label.setdefault(train.gold[number], []).append(number)
        cycled = chain.from_iterable(zip_longest(*by_label.values()))
        return [number for number in cycled if number is not None][:count]


class EntityFormat(AnswerFormat):
    """A sentence, and its entities by type and text."""

    def __init__(self, task: Task, labels: list[str]) -> None:
        super().__init__(task)
        self._types = task.learner.counted(labels)
        self.common = {"types": [{"name": name, "meaning": TYPE_MEANINGS.get(name, "")} for name in self._types]}
        entity = _object({"type": {"type": "string", "enum": self._types}, "text": {"type": "string"}})
        self.schema = _object({"entities": {"type": "array", "items": entity}})

    def values(self, split: TaggedWords, number: int) -> dict[str, Any]:
        """The words joined by spaces, and the entities."""
        words = split.inputs[number]
        entities = [
            {"type": kind, "text": " ".join(words[start:end])}
            for kind, start, end in entity_spans(split.gold[number])
        ]
        return {"text": " ".join(words), "entities": entities}

    def parse(self, text: str, split: TaggedWords, number: int) -> tuple[list[str] | None, int]:
        """The words' tags."""
        entities = read_entities(text, self._types)
        return (None, 0) if entities is None else tags_of(split.inputs[number], entities)

    def answers(self, split: TaggedWords, parsed: Sequence[list[str] | None]) -> list[list[str]]:
        """The words' tags; without a parsed answer, all entities are missed."""
        return [
            ["O"] * len(words) if one is None else one for words, one in zip(split.inputs, parsed, strict=True)
        ]


def answer_format(task: str, labels: list[str]) -> AnswerFormat:
    """The format of a task's answers; ``labels`` are those of its data."""
    return (LabelFormat if TASKS[task].prompt == "label" else EntityFormat)(TASKS[task], labels)


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


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
