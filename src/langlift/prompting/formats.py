"""Tasks as questions and answers: the values in a prompt, and the parsing and scoring of answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from langlift.errors import InputError
from langlift.evaluation.metrics import entity_spans, macro_f1
from langlift.prompting.answer_parsing import read_entities, read_label, tags_of
from langlift.tasks.learner import Split
from langlift.tasks.ner import TaggedWords
from langlift.tasks.sentences import LabelledText
from langlift.tasks.task import TASKS, Task

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
