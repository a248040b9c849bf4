"""Part-of-speech tagging: the UPOS column of Universal Dependencies."""

from collections.abc import Sequence
from typing import Any, ClassVar

from langlift.evaluation.metrics import accuracy
from langlift.tasks.conllu import UPOS, Sentence
from langlift.tasks.learner import Split, words_in
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.tagging import Tagged, TaggingLearner, most_frequent_label
from langlift.tasks.treebanks import SentenceAnswer, TreebankLearner


class TaggedSentence(SentenceAnswer, Tagged):
    """A sentence, the tag predicted for each of its words, and the tags' probabilities."""

    columns: ClassVar = {"tags": UPOS}


class PartsOfSpeech(TreebankLearner[list[str]], TaggingLearner[Sentence]):
    """UPOS of each syntactic word, measured by accuracy."""

    what, column, answer = "tag", "UPOS", TaggedSentence

    def gold_of(self, sentence: Sentence) -> list[str]:
        """UPOS."""
        return sentence.tags

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """What is classified: the first or last token of a word, or the mean of its tokens."""
        return {"label_subwords": "first", "pooling": recipe.pooling}

    def scores(self, gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
        """The share of words with the right tag: the official CoNLL 2018 scorer's UPOS on gold words."""
        return {self.task.metric.name: accuracy(gold, predicted)}

    def baselines(self, train: Split[Sentence, list[str]], test: Split[Sentence, list[str]]) -> dict[str, float]:
        """Each word gets its most frequent training tag, an unknown one the most frequent tag of all."""
        words, asked = ([words_in(one) for one in split.inputs] for split in (train, test))
        return {"most_frequent_tag": accuracy(test.gold, most_frequent_label(words, train.gold, asked))}
