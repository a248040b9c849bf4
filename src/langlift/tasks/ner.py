"""Named entity recognition over BIO tags."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from langlift.errors import InputError
from langlift.evaluation.entities import entity_f1
from langlift.tasks.tagged_words import OUTSIDE, TaggedWords, bio_labels, checked_tags, open_tagged, types_of
from langlift.tasks.tagging import Tagged, TaggingTask
from langlift.tasks.task import TaskData, digest


class NamedEntities(TaggingTask):
    """BIO tags, measured by entity-level F1 on words (with ``label_subwords: every`` on tokens, as published)."""

    name = "ner"
    title = "Named entity recognition"
    metric = "entity_f1"
    metric_title = "entity F1"

    def read(self, data: str, train_data: str | None, strict: bool) -> TaskData[TaggedWords]:
        """Read CoNLL folders or data sets in the hub's format."""
        source, tested = open_tagged(train_data or data), open_tagged(data)
        repaired: dict[str, int] = {}
        train = checked_tags(source.sentences("train"), "train", None, repaired, strict)
        known = types_of(train)
        if not known:
            raise InputError(f"{train_data or data} (train): no entity, every tag is O", "nothing can be learned")
        dev = checked_tags(source.sentences("dev"), "dev", known, repaired, strict)
        test = checked_tags(tested.sentences("test"), "test", known, repaired, strict)
        sha256 = digest(source.content, tested.content)
        return TaskData(train, dev, test, bio_labels(known), sha256, repaired)

    def score(self, split: TaggedWords, answers: Sequence[Tagged]) -> float:
        """Entity F1 over labelled tokens: one a word, or all of them."""
        gold = [
            [tag for tag, count in zip(tags, answer.counts, strict=True) for _ in range(count)]
            for tags, answer in zip(split.tags, answers, strict=True)
        ]
        return entity_f1(gold, [answer.tags for answer in answers])

    def baselines(self, train: TaggedWords, test: TaggedWords) -> dict[str, float]:
        """Each word gets the tag it had most often in training, an unknown one ``O``; on words."""
        met: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for words, tags in zip(train.words, train.tags, strict=True):
            for word, tag in zip(words, tags, strict=True):
                met[word][tag] += 1
        best = {word: counts.most_common(1)[0][0] for word, counts in met.items()}
        predicted = [[best.get(word, OUTSIDE) for word in words] for words in test.words]
        return {"most_frequent_tag": entity_f1(test.tags, predicted)}


NER = NamedEntities()
