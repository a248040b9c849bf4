"""What asking about a task needs to know of it: what goes into a prompt, and how an answer is read and counted."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic

import numpy as np

from langlift.errors import InputError
from langlift.evaluation.metrics import entity_spans, macro_f1
from langlift.prompting.answers import read_entities, read_label, tags_of
from langlift.tasks.labelled_text import LabelledText
from langlift.tasks.learner import Data
from langlift.tasks.tagged_words import TaggedWords
from langlift.tasks.tagging import Tagged
from langlift.tasks.task import TASKS, Task

TYPE_MEANINGS = {
    "PER": "person",
    "LOC": "location",
    "ORG": "organisation",
    "DATE": "date or time",
    "MISC": "any other name",
}


class Form(ABC, Generic[Data]):
    """One task as questions and answers; an answer as the task itself has it: a label, or a sentence's tags."""

    placeholders: ClassVar[dict[str, dict[str, bool]]]
    """Of each part of a template, and whether it must be used there."""

    def __init__(self, task: Task, labels: list[str]) -> None:
        self.task, self.labels = task, labels

    @property
    @abstractmethod
    def common(self) -> dict[str, Any]:
        """What every part of a template may use."""

    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an answer."""

    @abstractmethod
    def question(self, split: Data, number: int) -> dict[str, Any]:
        """What the question about an example may use."""

    @abstractmethod
    def solved(self, split: Data, number: int) -> dict[str, Any]:
        """What the answer of a solved example may use."""

    @abstractmethod
    def read(self, text: str, split: Data, number: int) -> tuple[Any, int]:
        """A model's answer, None if it cannot be read, and how many entities of it are not in the sentence."""

    @abstractmethod
    def gold(self, split: Data, number: int) -> Any:
        """The right answer."""

    @abstractmethod
    def wrong(self, split: Data, number: int) -> Any:
        """What stands for an answer that cannot be read."""

    @abstractmethod
    def answers(self, found: Sequence[Any]) -> Any:
        """Answers as the task's own ``score`` and ``rows`` take them."""

    def score(self, split: Data, found: Sequence[Any]) -> float:
        """The task's measure, 0 to 100."""
        return self.task.learner.score(split, self.answers(found))

    def published_score(self, split: Data, found: Sequence[Any]) -> float:
        """The measure of readable answers as the published script takes it; 0 where there are none."""
        return self.score(split, found) if len(split) else 0.0

    @abstractmethod
    def draw(self, train: Data, count: int, seed: int, balanced: bool) -> list[int]:
        """Numbers of training examples, in random order, none twice."""


class SentenceForm(Form[LabelledText]):
    """A text, and one of the labels."""

    placeholders: ClassVar = {
        "instruction": {"labels": False},
        "question": {"text": True, "labels": False},
        "answer": {"label": True, "labels": False},
    }

    @property
    def common(self) -> dict[str, Any]:
        """The labels."""
        return {"labels": self.labels}

    @property
    def schema(self) -> dict[str, Any]:
        """An object with a ``label``."""
        return _object({"label": {"type": "string", "enum": self.labels}})

    def question(self, split: LabelledText, number: int) -> dict[str, Any]:
        """The text."""
        return {"text": split.texts[number]}

    def solved(self, split: LabelledText, number: int) -> dict[str, Any]:
        """The label."""
        return {"label": split.labels[number]}

    def read(self, text: str, split: LabelledText, number: int) -> tuple[str | None, int]:
        """The label."""
        return read_label(text, self.labels), 0

    def gold(self, split: LabelledText, number: int) -> str:
        """The label."""
        return split.labels[number]

    def wrong(self, split: LabelledText, number: int) -> None:
        """No label: right for no class."""

    def answers(self, found: Sequence[str | None]) -> list[str | None]:
        """The same."""
        return list(found)

    def published_score(self, split: LabelledText, found: Sequence[str]) -> float:
        """Macro-F1 over all labels, also those that occur neither in the data nor in the answers."""
        return macro_f1(split.labels, found, self.labels) if len(split) else 0.0

    def draw(self, train: LabelledText, count: int, seed: int, balanced: bool) -> list[int]:
        """Balanced: the labels in random order, again and again, a random example of each."""
        _require_enough(train, count)
        order = np.random.default_rng(seed).permutation(len(train)).tolist()
        if not balanced:
            return [int(number) for number in order[:count]]
        waiting: dict[str, list[int]] = {}
        for number in order:
            waiting.setdefault(train.labels[number], []).append(int(number))
        drawn: list[int] = []
        # By turns, in the order in which the labels came up.
        while len(drawn) < count:
            for numbers in waiting.values():
                if numbers and len(drawn) < count:
                    drawn.append(numbers.pop(0))
        return drawn


class EntityForm(Form[TaggedWords]):
    """A sentence, and the entities in it by type and text."""

    placeholders: ClassVar = {
        "instruction": {"types": False},
        "question": {"text": True, "types": False},
        "answer": {"entities": True, "types": False},
    }

    def __init__(self, task: Task, labels: list[str]) -> None:
        super().__init__(task, labels)
        self._types = task.learner.counted(labels)

    @property
    def common(self) -> dict[str, Any]:
        """The types."""
        return {"types": [{"name": name, "meaning": TYPE_MEANINGS.get(name, "")} for name in self._types]}

    @property
    def schema(self) -> dict[str, Any]:
        """An object with a list of ``entities``."""
        entity = _object({"type": {"type": "string", "enum": self._types}, "text": {"type": "string"}})
        return _object({"entities": {"type": "array", "items": entity}})

    def question(self, split: TaggedWords, number: int) -> dict[str, Any]:
        """The words."""
        return {"text": " ".join(split.words[number])}

    def solved(self, split: TaggedWords, number: int) -> dict[str, Any]:
        """The entities."""
        words = split.words[number]
        return {
            "entities": [
                {"type": kind, "text": " ".join(words[start:end])}
                for kind, start, end in entity_spans(split.tags[number])
            ]
        }

    def read(self, text: str, split: TaggedWords, number: int) -> tuple[list[str] | None, int]:
        """The words' tags."""
        found = read_entities(text, self._types)
        return (None, 0) if found is None else tags_of(split.words[number], found)

    def gold(self, split: TaggedWords, number: int) -> list[str]:
        """The words' tags."""
        return split.tags[number]

    def wrong(self, split: TaggedWords, number: int) -> list[str]:
        """No entity: every one of the sentence is missed."""
        return ["O"] * len(split.words[number])

    def answers(self, found: Sequence[list[str]]) -> list[Tagged]:
        """A token for each word."""
        return [Tagged(tags, [1] * len(tags)) for tags in found]

    def draw(self, train: TaggedWords, count: int, seed: int, balanced: bool) -> list[int]:
        """Any sentences: sentences without an entity belong to the task."""
        _require_enough(train, count)
        return [int(number) for number in np.random.default_rng(seed).permutation(len(train))[:count]]


FORMS: dict[str, type[Form[Any]]] = {"label": SentenceForm, "entities": EntityForm}
"""By what a task's ``prompt`` says of its answers."""


def form_of(task: str, labels: list[str]) -> Form[Any]:
    """A task's form, for labels as its data has them."""
    return FORMS[str(TASKS[task].prompt)](TASKS[task], labels)


def placeholders_of(task: str) -> Mapping[str, Mapping[str, bool]]:
    """The placeholders of a task's templates."""
    return FORMS[str(TASKS[task].prompt)].placeholders


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _require_enough(train: Any, count: int) -> None:
    if count > len(train):
        raise InputError(f"--shots {count}: the train split has {len(train)} examples", "ask for fewer")
