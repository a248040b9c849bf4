"""Part-of-speech tagging: the UPOS column of Universal Dependencies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import nn

from langlift.evaluation.metrics import accuracy
from langlift.tasks.baselines import most_frequent_label
from langlift.tasks.conllu import UPOS, Sentence
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.tagging import Tagged, TaggingLearner, word_shares
from langlift.tasks.treebanks import SentenceLabel, Treebank, TreebankLearner, WordLabels, recorded_sentences
from langlift.tasks.word_encoder import WordEncoder


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


class PartsOfSpeech(TreebankLearner, TaggingLearner[Treebank]):
    """UPOS of each syntactic word, measured by accuracy."""

    word_labels = WordLabels("tag", "UPOS", of=lambda sentence: sentence.tags, compared=str, needs_tree=False)

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """What is classified: the first or last token of a word, or the mean over all of them."""
        return {"label_subwords": "first", "pooling": recipe.pooling}

    def score(self, split: Treebank, answers: Sequence[Tagged]) -> float:
        """The share of words with the right tag: the official CoNLL 2018 scorer's UPOS on gold words."""
        return accuracy(split.tags, [answer.tags for answer in answers])

    def document(self, split: Treebank, answers: Sequence[Tagged]) -> Iterable[str]:
        """CoNLL-U with the predicted tags."""
        for sentence, answer in zip(split.sentences, answers, strict=True):
            yield from sentence.filled({UPOS: answer.tags})
            yield ""

    def recorded(self, rows: Sequence[Mapping[str, Any]]) -> Treebank:
        """Sentences with their gold tags."""
        pairs = zip(recorded_sentences(rows), rows, strict=True)
        return Treebank([replace(sentence, tags=list(row["gold"])) for sentence, row in pairs])

    def unlabelled(self, inputs: Sequence[Sentence], labels: Sequence[str]) -> Treebank:
        """All words with the first tag."""
        return Treebank([replace(one, tags=[labels[0]] * len(one.words)) for one in inputs])

    def label(
        self, model: nn.Module, encoder: WordEncoder, inputs: Sequence[Sentence], labels: Sequence[str]
    ) -> list[TaggedSentence]:
        """Each word's most probable tag."""
        found = []
        shares_of = word_shares(model, encoder, [sentence.words for sentence in inputs])
        for sentence, shares in zip(inputs, shares_of, strict=True):
            tags = [labels[number] for number in shares.shares.argmax(axis=1)]
            found.append(TaggedSentence(sentence, tags, [round(float(p), 6) for p in shares.shares.max(axis=1)]))
        return found

    def baselines(self, train: Treebank, test: Treebank) -> dict[str, float]:
        """Each word gets the tag it had most often in training, an unknown one the most frequent of all."""
        return {"most_frequent_tag": accuracy(test.tags, most_frequent_label(train.words, train.tags, test.words))}
