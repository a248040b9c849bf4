"""Named entity recognition over BIO tags."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from torch import nn

from langlift.errors import InputError
from langlift.evaluation.metrics import entity_f1, entity_spans
from langlift.tasks.baselines import most_frequent_label
from langlift.tasks.input_rows import read_word_rows, words_of
from langlift.tasks.learner import Row, TaskData, digest
from langlift.tasks.tagged_words import OUTSIDE, TaggedWords, bio_labels, checked_tags, open_tagged, types_of
from langlift.tasks.tagging import Tagged, TaggingLearner, word_shares
from langlift.tasks.word_encoder import WordEncoder


@dataclass(frozen=True)
class Entity:
    """An entity: words ``start`` up to but not including ``end``; the probability is its least certain word's."""

    type: str
    text: str
    start: int
    end: int
    probability: float


@dataclass(frozen=True)
class FoundEntities:
    """A sentence's words, the tag of each and its probability, and the entities that the tags make."""

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
        """``entities`` as ``PER: Juma Ali; LOC: Dodoma``, and the ``probabilities`` of these."""
        return {
            "entities": "; ".join(f"{entity.type}: {entity.text}" for entity in self.entities),
            "probabilities": "; ".join(f"{entity.probability:.6f}" for entity in self.entities),
        }

    def lines(self) -> list[str]:
        """Each word and its tag."""
        return [f"{word}\t{tag}" for word, tag in zip(self.sentence, self.tags, strict=True)]


class NamedEntities(TaggingLearner[TaggedWords]):
    """BIO tags, measured by entity-level F1 on words (with ``label_subwords: every`` on tokens, as published)."""

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[TaggedWords]:
        """Read CoNLL folders or data sets in the hub's format."""
        names = train_data or [data]
        sources, tested = [open_tagged(name) for name in names], open_tagged(data)
        repaired: dict[str, int] = {}
        sentences = chain.from_iterable(source.sentences("train") for source in sources)
        train = checked_tags(sentences, "train", None, repaired, strict)
        known = types_of(train)
        if not known:
            raise InputError(f"{', '.join(names)} (train): no entity, every tag is O", "nothing can be learned")
        sentences = chain.from_iterable(source.sentences("dev") for source in sources)
        dev = checked_tags(sentences, "dev", known, repaired, strict)
        test = checked_tags(tested.sentences("test"), "test", known, repaired, strict)
        sha256 = digest([source.content for source in sources], tested.content)
        return TaskData(train, dev, test, bio_labels(known), sha256, repaired)

    def score(self, split: TaggedWords, answers: Sequence[Tagged]) -> float:
        """Entity F1 over labelled tokens: one a word, or all of them."""
        gold = [
            [tag for tag, count in zip(tags, answer.counts, strict=True) for _ in range(count)]
            for tags, answer in zip(split.tags, answers, strict=True)
        ]
        return entity_f1(gold, [answer.tags for answer in answers])

    def recorded(self, rows: Sequence[Mapping[str, Any]]) -> TaggedWords:
        """Words and gold tags."""
        return TaggedWords([row["words"] for row in rows], [row["gold"] for row in rows])

    def unlabelled(self, inputs: Sequence[list[str]], labels: Sequence[str]) -> TaggedWords:
        """All words with the first tag."""
        return TaggedWords(list(inputs), [[labels[0]] * len(words) for words in inputs])

    def label(
        self, model: nn.Module, encoder: WordEncoder, inputs: Sequence[list[str]], labels: Sequence[str]
    ) -> list[FoundEntities]:
        """The entities of each sentence."""
        found = []
        for words, shares in zip(inputs, word_shares(model, encoder, inputs), strict=True):
            best = shares.of_words.argmax(axis=1)
            probabilities = [round(float(p), 6) for p in shares.of_words[range(len(words)), best]]
            tags = [labels[number] for number in best]
            entities = [
                Entity(kind, " ".join(words[start:end]), start, end, min(probabilities[start:end]))
                for kind, start, end in entity_spans(tags)
            ]
            found.append(FoundEntities(words, tags, probabilities, entities))
        return found

    def input_of(self, text: str) -> list[str]:
        """Its words."""
        return words_of(text)

    def read_inputs(self, source: Path) -> Iterator[tuple[Row, list[str]]]:
        """Lines, or rows of a TSV file, split into words; or a file with a word a line."""
        return read_word_rows(source)

    def counted(self, labels: Sequence[str]) -> list[str]:
        """The types of entities."""
        return [label[2:] for label in labels if label.startswith("B-")]

    def baselines(self, train: TaggedWords, test: TaggedWords) -> dict[str, float]:
        """Each word gets the tag it had most often in training, an unknown one ``O``; on words."""
        predicted = most_frequent_label(train.words, train.tags, test.words, unknown=OUTSIDE)
        return {"most_frequent_tag": entity_f1(test.tags, predicted)}
