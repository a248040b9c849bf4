"""Part-of-speech tagging: the UPOS column of Universal Dependencies."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from langlift.config.recipes import TaskRecipe
from langlift.evaluation.metrics import accuracy
from langlift.tasks.baselines import most_frequent_label
from langlift.tasks.conllu import UPOS, Sentence, sentence_of
from langlift.tasks.input_rows import words_of
from langlift.tasks.tagging import Tagged, TaggingTask, word_shares
from langlift.tasks.task import Row, TaskData
from langlift.tasks.treebanks import Treebank, WordLabels, read_sentence_rows, read_treebanks
from langlift.tasks.word_encoder import WordEncoder

LABELS = WordLabels("tag", "UPOS", of=lambda sentence: sentence.tags, compared=str, needs_tree=False)


@dataclass(frozen=True)
class TaggedSentence:
    """A sentence, the tag predicted for each of its words, and the tags' probabilities."""

    sentence: Sentence
    tags: list[str]
    probabilities: list[float]

    @property
    def counted(self) -> list[str]:
        """The tags."""
        return self.tags

    def record(self) -> dict[str, Any]:
        """``words``, ``tags`` and ``probabilities``."""
        return {"words": self.sentence.words, "tags": self.tags, "probabilities": self.probabilities}

    def cells(self) -> dict[str, str]:
        """The same, each parted by spaces; a space within a word becomes ``_``."""
        return {
            "words": " ".join(word.replace(" ", "_") for word in self.sentence.words),
            "tags": " ".join(self.tags),
            "probabilities": " ".join(f"{share:.6f}" for share in self.probabilities),
        }

    def lines(self) -> list[str]:
        """CoNLL-U: the sentence as it stood, with these tags."""
        return self.sentence.filled({UPOS: self.tags})


class PartsOfSpeech(TaggingTask[Treebank]):
    """UPOS of each syntactic word, measured by accuracy."""

    name = "pos"
    title = "Part-of-speech tagging"
    metric = "accuracy"
    metric_title = "accuracy"
    word_form = ".conllu"
    unused = TaggingTask.unused | {"label_subwords"}

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[Treebank]:
        """Read folders of CoNLL-U files."""
        return read_treebanks(data, train_data, LABELS, strict)

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

    def input_of(self, text: str) -> Sentence:
        """A sentence of its words."""
        return sentence_of(words_of(text), text, 1)

    def read_inputs(self, source: Path) -> Iterator[tuple[Row, Sentence]]:
        """CoNLL-U, or text that is split into words."""
        return read_sentence_rows(source)

    def counted(self, labels: Sequence[str]) -> list[str]:
        """All tags."""
        return list(labels)

    def baselines(self, train: Treebank, test: Treebank) -> dict[str, float]:
        """Each word gets the tag it had most often in training, an unknown one the most frequent of all."""
        return {"most_frequent_tag": accuracy(test.tags, most_frequent_label(train.words, train.tags, test.words))}


POS = PartsOfSpeech()
