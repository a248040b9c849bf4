"""Tasks that give every word of a sentence a tag; subclasses define the data, the metric and the answers.

Sentences of words become token ids with a label for each word; long sentences are split into windows.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import PreTrainedModel

from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.errors import InputError
from langlift.heads.classification import CONTINUED, TokenClassifier, TokenHead
from langlift.masking import IGNORED, Offsets
from langlift.tasks.learner import Answer, Encoder, Input, Learner, Settings, probabilities_of, words_in
from langlift.tasks.recipe import TaskRecipe
from langlift.training.examples import Example
from langlift.training.language_model_loss import collate_for


@dataclass(frozen=True)
class Tagged(Answer):
    """A sentence, the tag predicted for each of its words, and the tags' probabilities.

    ``token_tags`` are the tags of all labelled tokens, ``counts`` of them per word: one, or as published all.
    """

    sentence: Any
    tags: list[str]
    probabilities: list[float]
    token_tags: list[str] = field(default_factory=list, repr=False)
    counts: list[int] = field(default_factory=list, repr=False)

    @property
    def gold(self) -> list[str]:
        """The tags."""
        return self.tags


@dataclass(frozen=True)
class EncodedWords:
    """Sentences as ``examples``, in order: sentence i has ``windows[i]`` of them.

    ``counts[i]`` is the number of labelled tokens of each of its words: 1, or all of the word's.
    """

    examples: list[Example]
    windows: list[int]
    counts: list[list[int]]


class WordEncoder(Encoder):
    """Tokenises words as in running text, and finds the tokens of each word by character offsets.

    This works for WordPiece, BPE and Unigram tokenizers. The ``labelled`` token of a word carries its label:
    ``first``, ``last`` or ``every``; with ``mean`` the first token does, and the others are marked as its
    continuation. If every token has a label, the word's is that of the first token, or with ``at_end`` of the
    last: in a decoder only the last one has seen the whole word. A sentence that is too long is split between
    words into windows. A word without tokens is replaced by the unknown token. Sets the model's attention for the
    path, in place.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: PreTrainedModel,
        max_tokens: int,
        labelled: str = "first",
        path: str = "fast",
        at_end: bool = False,
    ) -> None:
        self._tokenizer, self._labelled, self._at_end = tokenizer, labelled, at_end
        self._prefix, self._suffix = _special_tokens(tokenizer)
        self._room = min(max_tokens, longest_input(model, tokenizer)) - len(self._prefix) - len(self._suffix)
        stand_ins = (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id)
        self._unknown = [next(token for token in stand_ins if token is not None)]
        self.collate = collate_for(path, model, tokenizer.pad_token_id)

    def examples(
        self, inputs: Sequence[Any], labels: Sequence[str] = (), gold: Sequence[Any] | None = None
    ) -> list[Example]:
        """One for each window of each sentence; tags that are not among ``labels`` are ignored."""
        numbers = {label: number for number, label in enumerate(labels)}
        of_words = None if gold is None else [[numbers.get(tag, IGNORED) for tag in tags] for tags in gold]
        return self.encode(inputs, of_words).examples

    def encode(self, inputs: Sequence[Any], numbers: Sequence[Sequence[int]] | None = None) -> EncodedWords:
        """Encode sentences of at least one word each, with a number for each word (default: 0)."""
        sentences = [words_in(one) for one in inputs]
        encoded = self._tokenizer(
            [" ".join(words) for words in sentences],
            add_special_tokens=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        numbers = [[0] * len(words) for words in sentences] if numbers is None else numbers
        done = EncodedWords([], [], [])
        of_sentences = zip(sentences, numbers, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        for words, of_words, ids, offsets in of_sentences:
            pieces = self._pieces(words, ids, offsets)
            windows: list[list[tuple[list[int], int]]] = [[]]
            length = 0
            for piece, number in zip(pieces, of_words, strict=True):
                if windows[-1] and length + len(piece) > self._room:
                    windows.append([])
                    length = 0
                windows[-1].append((piece, number))
                length += len(piece)
            done.examples.extend(map(self._example, windows))
            done.windows.append(len(windows))
            done.counts.append([len(piece) if self._labelled == "every" else 1 for piece in pieces])
        return done

    def deciding_tokens(self, counts: Sequence[int]) -> npt.NDArray[np.int64]:
        """Of each word with ``counts`` labelled tokens, the index of the token whose label is the word's."""
        ends = np.cumsum(counts, dtype=np.int64)
        return ends - 1 if self._at_end else ends - np.asarray(counts, dtype=np.int64)

    def notes(self, inputs: Sequence[Any]) -> dict[str, Any]:
        """The number of test sentences that are too long for one input."""
        return {"test_sentences_in_windows": sum(count > 1 for count in self.encode(inputs).windows)}

    def _pieces(self, words: Sequence[str], ids: Sequence[int], offsets: Offsets) -> list[list[int]]:
        """The token ids of each word: at least one, at most as many as fit into the input."""
        pieces: list[list[int]] = [[] for _ in words]
        ends = np.cumsum([len(word) + 1 for word in words]) - 1
        # A token belongs to the word of its last character: SentencePiece's mark of a word start, if it is a token
        # of its own, covers the space before the word.
        last = [max(start, end - 1) for start, end in offsets]
        for token, place in zip(ids, np.searchsorted(ends, last, side="right"), strict=True):
            if place < len(pieces):
                pieces[place].append(token)
        return [piece[: self._room] or self._unknown for piece in pieces]

    def _example(self, window: Sequence[tuple[list[int], int]]) -> Example:
        ids, labels = list(self._prefix), [IGNORED] * len(self._prefix)
        for piece, number in window:
            ids += piece
            labels += self._labels(number, len(piece))
        ids += self._suffix
        labels += [IGNORED] * len(self._suffix)
        return {"input_ids": np.asarray(ids, dtype=np.int64), "labels": np.asarray(labels, dtype=np.int64)}

    def _labels(self, number: int, tokens: int) -> list[int]:
        if self._labelled == "every":
            return [number] * tokens
        other = CONTINUED if self._labelled == "mean" and number != IGNORED else IGNORED
        others = [other] * (tokens - 1)
        return [*others, number] if self._labelled == "last" else [number, *others]


class TaggingLearner(Learner[Input, list[str]], Generic[Input]):
    """A linear head on the first or last token of each word, on their mean, or on every token as published."""

    answer: ClassVar[type[Tagged]]

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """Which tokens of a word carry its label, and what is classified."""
        if recipe.label_subwords == "every" and recipe.pooling == "mean":
            raise InputError(
                "label_subwords: with every, each token has its own label and there is no mean to classify",
                "set pooling to first",
            )
        return {"label_subwords": recipe.label_subwords, "pooling": recipe.pooling}

    def new_model(self, model: PreTrainedModel, labels: int, settings: Settings) -> TokenClassifier:
        """A token classifier."""
        config: Any = model.config
        dropout: float = getattr(config, backbone_of(model).dropout)
        return TokenClassifier(model.base_model, TokenHead(config.hidden_size, labels, dropout))

    def encoder(
        self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, settings: Settings, path: str = "fast"
    ) -> WordEncoder:
        """Words as in running text; long sentences are split into windows."""
        pooling = settings.get("pooling", "first")
        labelled = "every" if settings["label_subwords"] == "every" else pooling
        return WordEncoder(tokenizer, model, max_tokens, labelled, path, at_end=pooling == "last")

    def predict(
        self, model: nn.Module, encoder: Any, inputs: Sequence[Input], labels: Sequence[str], bf16: bool = False
    ) -> list[Tagged]:
        """The most probable tags of each sentence."""
        encoded = encoder.encode(inputs)
        windows = iter(probabilities_of(model, encoded.examples, encoder.collate, bf16))
        answers = []
        for one, count, counts in zip(inputs, encoded.windows, encoded.counts, strict=True):
            shares = np.concatenate([next(windows) for _ in range(count)])
            best = [labels[number] for number in shares.argmax(axis=1)]
            deciding = encoder.deciding_tokens(counts)
            probabilities = [round(float(share), 6) for share in shares[deciding].max(axis=1)]
            answers.append(self.answer(one, [best[place] for place in deciding], probabilities, best, counts))
        return answers


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The ids that the tokenizer puts before and after a sentence."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    first = special.index(0)
    behind = special[::-1].index(0)
    return ids[:first], ids[len(ids) - behind :]


def most_frequent_label(
    words: Sequence[Sequence[str]],
    labels: Sequence[Sequence[str]],
    sentences: Sequence[Sequence[str]],
    unknown: str | None = None,
) -> list[list[str]]:
    """The most frequent label of each word in ``sentences``; unseen words get ``unknown``.

    Without ``unknown`` they get the most frequent label of all words.
    """
    by_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    every: Counter[str] = Counter()
    for sentence, its_labels in zip(words, labels, strict=True):
        every.update(its_labels)
        for word, label in zip(sentence, its_labels, strict=True):
            by_word[word][label] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in by_word.items()}
    fallback = every.most_common(1)[0][0] if unknown is None else unknown
    return [[best.get(word, fallback) for word in sentence] for sentence in sentences]
