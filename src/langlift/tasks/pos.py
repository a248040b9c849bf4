"""Part-of-speech tagging: the UPOS column of Universal Dependencies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from langlift.evaluation.metrics import accuracy
from langlift.tasks.baselines import most_frequent_label
from langlift.tasks.conllu import UPOS, Sentence
from langlift.tasks.learner import Split, words_in
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.tagging import Tagged, TaggingLearner
from langlift.tasks.treebanks import SentenceLabel, TreebankLearner


@dataclass(frozen=True)
class TaggedSentence(SentenceLabel):
    """A sentence, the tag predicted for each of its words, and the tags' probabilities."""

    columns: ClassVar = {"tags": UPOS}
    sentence: Sentence
    tags: list[str]
    probabilities: list[float]

    @property
    def counted(self) -> list[str]:
        """The tags."""
        return self.tags


class PartsOfSpeech(TreebankLearner[list[str]], TaggingLearner[Sentence]):
    """UPOS of each syntactic word, measured by accuracy."""

    what, column = "tag", "UPOS"

    def labels_of(self, sentence: Sentence) -> list[str]:
        """UPOS."""
        return sentence.tags

    def gold_of(self, sentence: Sentence) -> list[str]:
        """UPOS."""
        return sentence.tags

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """What is classified: the first or last token of a word, or the mean of its tokens."""
        return {"label_subwords": "first", "pooling": recipe.pooling}

    def score(self, split: Split[Sentence, list[str]], answers: Sequence[Tagged]) -> float:
        """The share of words with the right tag: the official CoNLL 2018 scorer's UPOS on gold words."""
        return accuracy(split.gold, [answer.tags for answer in answers])

    def predicted_columns(self, answer: Tagged) -> Mapping[int, Sequence[object]]:
        """UPOS."""
        return {UPOS: answer.tags}

    def labelled(self, item: Sentence, tags: list[str], probabilities: list[float]) -> TaggedSentence:
        """The sentence with its tags."""
        return TaggedSentence(item, tags, probabilities)

    def baselines(self, train: Split[Sentence, list[str]], test: Split[Sentence, list[str]]) -> dict[str, float]:
        """Each word gets its most frequent training tag, an unknown one the most frequent tag of all."""
        words, asked = ([words_in(one) for one in split.inputs] for split in (train, test))
        return {"most_frequent_tag": accuracy(test.gold, most_frequent_label(words, train.gold, asked))}
