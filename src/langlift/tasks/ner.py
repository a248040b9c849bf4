"""Named entity recognition over BIO tags."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from langlift.errors import InputError
from langlift.evaluation.metrics import entity_f1, entity_spans
from langlift.tasks.baselines import most_frequent_label
from langlift.tasks.input_rows import read_word_rows, words_of
from langlift.tasks.learner import Row, TaskData
from langlift.tasks.sources import digest
from langlift.tasks.tagged_words import OUTSIDE, TaggedWords, checked_tags, open_tagged, read_tagged
from langlift.tasks.tagging import Tagged, TaggingLearner


@dataclass(frozen=True)
class Entity:
    """An entity: words ``start`` up to ``end`` (exclusive); the probability is that of its least certain word."""

    type: str
    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class FoundEntities:
    """A sentence's words, the tag of each and its probability, and the entities in these tags."""

    sentence: list[str]
    tags: list[str]
    probabilities: list[float]
    entities: list[Entity]

    @property
    def counted(self) -> list[str]:
        """The entities' types."""
        return [entity.type for entity in self.entities]

    def record(self) -> dict[str, Any]:
        """``words``, ``tags``, ``probabilities`` (of each word's tag) and ``entities``."""
        return {
            "words": self.sentence,
            "tags": self.tags,
            "probabilities": self.probabilities,
            "entities": [asdict(entity) for entity in self.entities],
        }

    def cells(self) -> dict[str, str]:
        """``entities`` as ``PER: Juma Ali; LOC: Dodoma``, and their ``probabilities``."""
        return {
            "entities": "; ".join(f"{entity.type}: {entity.text}" for entity in self.entities),
            "probabilities": "; ".join(f"{entity.probability:.6f}" for entity in self.entities),
        }

    def lines(self) -> list[str]:
        """Each word and its tag."""
        return [f"{word}\t{tag}" for word, tag in zip(self.sentence, self.tags, strict=True)]


class NamedEntities(TaggingLearner[list[str]]):
    """BIO tags, measured by entity-level F1 on words (with ``label_subwords: every`` on tokens, as published)."""

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[list[str], list[str]]:
        """Read CoNLL folders or hub data sets."""
        names = train_data or [data]
        sources, tested = [open_tagged(name) for name in names], open_tagged(data)
        repaired: dict[str, int] = {}
        sentences = chain.from_iterable(read_tagged(source, "train") for source in sources)
        train = checked_tags(sentences, "train", None, repaired, strict)
        types = {tag[2:] for tags in train.gold for tag in tags if tag != OUTSIDE}
        if not types:
            raise InputError(f"{', '.join(names)} (train): no entity, every tag is O", "nothing can be learned")
        sentences = chain.from_iterable(read_tagged(source, "dev") for source in sources)
        dev = checked_tags(sentences, "dev", types, repaired, strict)
        test = checked_tags(read_tagged(tested, "test"), "test", types, repaired, strict)
        labels = [OUTSIDE, *(f"{mark}-{kind}" for kind in sorted(types) for mark in "BI")]
        return TaskData(train, dev, test, labels, digest(sources, tested), repaired)

    def input_of(self, text: str, words: Sequence[str] | None = None) -> list[str]:
        """The words."""
        return words_of(text) if words is None else list(words)

    def read_inputs(self, source: Path) -> Iterator[tuple[Row, list[str]]]:
        """Lines, or rows of a TSV file, split into words; or a file with one word per line."""
        return read_word_rows(source)

    def score(self, split: TaggedWords, answers: Sequence[Tagged]) -> float:
        """Entity F1 over labelled tokens: one per word, or all of them."""
        gold = [
            [tag for tag, count in zip(tags, answer.counts, strict=True) for _ in range(count)]
            for tags, answer in zip(split.gold, answers, strict=True)
        ]
        return entity_f1(gold, [answer.tags for answer in answers])

    def baselines(self, train: TaggedWords, test: TaggedWords) -> dict[str, float]:
        """Each word gets its most frequent training tag, an unknown one ``O``; on words."""
        predicted = most_frequent_label(train.inputs, train.gold, test.inputs, unknown=OUTSIDE)
        return {"most_frequent_tag": entity_f1(test.gold, predicted)}

    def labelled(self, item: list[str], tags: list[str], probabilities: list[float]) -> FoundEntities:
        """The entities of a sentence."""
        entities = [
            Entity(kind, " ".join(item[start:end]), start, end, min(probabilities[start:end]))
            for kind, start, end in entity_spans(tags)
        ]
        return FoundEntities(item, tags, probabilities, entities)

    def counted(self, labels: Sequence[str]) -> list[str]:
        """The types of entities."""
        return [label[2:] for label in labels if label.startswith("B-")]
