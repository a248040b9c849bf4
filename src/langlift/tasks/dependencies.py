"""Dependency parsing: the HEAD and DEPREL columns of Universal Dependencies."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.evaluation.metrics import AttachmentScores, attachment_scores, universal
from langlift.heads.biaffine import BiaffineHead, DependencyParser, summed_parsing_loss
from langlift.heads.spanning_tree import Scores, greedy_tree, maximum_spanning_tree
from langlift.tasks.baselines import most_frequent_label
from langlift.tasks.conllu import DEPREL, HEAD, Sentence
from langlift.tasks.inference import PREDICTION_BATCH
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.sentence_windows import ParserBatch, sentence_examples
from langlift.tasks.treebanks import SentenceLabel, Treebank, TreebankLearner, WordLabels, recorded_sentences
from langlift.tasks.word_encoder import WordEncoder
from langlift.training.examples import Collate, Example
from langlift.training.precision import autocast
from langlift.training.trainer import Batch, on_device

ROOT = "root"
DECODERS: dict[str, Callable[[Scores], list[int]]] = {"mst": maximum_spanning_tree, "greedy": greedy_tree}
ARCS_AT_ONCE = 2_000_000
"""So many arcs at most (unless one sentence has more) are scored together when new text is parsed."""


@dataclass(frozen=True)
class Parse(SentenceLabel):
    """A sentence's predicted tree; the probability of a word is that of its head times its relation's to it."""

    columns: ClassVar = {"heads": HEAD, "relations": DEPREL}
    sentence: Sentence
    heads: list[int]
    relations: list[str]
    probabilities: list[float]

    @property
    def tree(self) -> list[tuple[int, str]]:
        """Head and relation of each word."""
        return list(zip(self.heads, self.relations, strict=True))

    @property
    def counted(self) -> list[str]:
        """The relations."""
        return self.relations


@dataclass(frozen=True)
class ParserEncoder:
    """How sentences become batches, and the scores of arcs a tree."""

    words: WordEncoder
    collate: Collate
    tree: Callable[[Scores], list[int]]


class Dependencies(TreebankLearner):
    """A biaffine parser over word vectors, measured by LAS, and UAS, as in the CoNLL 2018 shared task."""

    word_labels = WordLabels(
        "relation", "DEPREL", of=lambda sentence: sentence.relations, compared=universal, needs_tree=True
    )

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """How word vectors are made, and trees."""
        return {"pooling": recipe.pooling, "decoding": recipe.decoding}

    def new_model(
        self, masked_model: PreTrainedModel, labels: int, settings: Mapping[str, Any]
    ) -> DependencyParser:
        """A dependency parser."""
        config: Any = masked_model.config
        return DependencyParser(masked_model.base_model, BiaffineHead(config.hidden_size, labels))

    def encoder(
        self,
        tokenizer: Any,
        masked_model: PreTrainedModel,
        max_tokens: int,
        settings: Mapping[str, Any],
        path: str = "fast",
    ) -> ParserEncoder:
        """Words as they stand in running text; a long sentence is encoded in windows and parsed as a whole."""
        labelled = "every" if settings["pooling"] == "mean" else settings["pooling"]
        words = WordEncoder(tokenizer, masked_model, max_tokens, labelled, path)
        return ParserEncoder(words, ParserBatch(words.collate), DECODERS[settings["decoding"]])

    def examples(self, encoder: ParserEncoder, split: Treebank, labels: Sequence[str]) -> list[Example]:
        """One for each sentence."""
        return sentence_examples(encoder.words, split.sentences, labels)

    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy (nats) of heads and relations over words."""
        return summed_parsing_loss(output, batch)

    def predict(
        self, model: nn.Module, encoder: ParserEncoder, split: Treebank, labels: Sequence[str], bf16: bool
    ) -> list[Parse]:
        """A tree for each sentence."""
        return parsed(model, encoder, split.sentences, labels, bf16)

    def score(self, split: Treebank, answers: Sequence[Parse]) -> float:
        """LAS."""
        return _scores(split, answers).las

    def further(self, split: Treebank, answers: Sequence[Parse]) -> dict[str, float]:
        """UAS."""
        return {"uas": _scores(split, answers).uas}

    def rows(self, split: Treebank, answers: Sequence[Parse]) -> Iterable[dict[str, Any]]:
        """Words, and head with relation of each: gold and predicted."""
        for sentence, answer in zip(split.sentences, answers, strict=True):
            yield {"words": sentence.words, "gold": _gold(sentence), "predicted": answer.tree}

    def document(self, split: Treebank, answers: Sequence[Parse]) -> Iterable[str]:
        """CoNLL-U with the predicted trees."""
        for answer in answers:
            yield from answer.lines()
            yield ""

    def baselines(self, train: Treebank, test: Treebank) -> dict[str, float]:
        """LAS and UAS where each word hangs on the next one, or the one before, as does better on train.

        The relation is the one that a word's form had most often in training.
        """

        def attached(split: Treebank, direction: str) -> AttachmentScores:
            chains = [_chain(len(sentence.words), direction) for sentence in split.sentences]
            guesses = most_frequent_label(train.words, [s.relations for s in train.sentences], split.words)
            guessed = [
                [(head, relation if head else ROOT) for head, relation in zip(chain, its_guesses, strict=True)]
                for chain, its_guesses in zip(chains, guesses, strict=True)
            ]
            return attachment_scores([_gold(sentence) for sentence in split.sentences], guessed)

        best = max(("right_attach", "left_attach"), key=lambda direction: attached(train, direction).uas)
        scores = attached(test, best)
        return {best: scores.las, f"{best}_uas": scores.uas}

    def recorded(self, rows: Sequence[Mapping[str, Any]]) -> Treebank:
        """Sentences with their gold trees."""
        trees = [[list(column) for column in zip(*row["gold"], strict=True)] for row in rows]
        pairs = zip(recorded_sentences(rows), trees, strict=True)
        return Treebank([replace(one, heads=heads, relations=relations) for one, (heads, relations) in pairs])

    def unlabelled(self, inputs: Sequence[Sentence], labels: Sequence[str]) -> Treebank:
        """The sentences as they are."""
        return Treebank(list(inputs))

    def label(
        self, model: nn.Module, encoder: ParserEncoder, inputs: Sequence[Sentence], labels: Sequence[str]
    ) -> list[Parse]:
        """A tree for each sentence."""
        return parsed(model, encoder, inputs, labels)

    def notes(self, encoder: ParserEncoder, test: Treebank) -> dict[str, Any]:
        """How many test sentences were too long for one input."""
        windows = [len(example["windows"]) for example in self.examples(encoder, test, [])]
        return {"test_sentences_in_windows": sum(count > 1 for count in windows)}


@torch.inference_mode()
def parsed(
    parser: Any,
    encoder: ParserEncoder,
    sentences: Sequence[Sentence],
    labels: Sequence[str],
    bf16: bool = False,
) -> list[Parse]:
    """The trees of sentences, in order; the relation ``root`` stands at the root and nowhere else.

    ``parser`` is a ``DependencyParser``, or what gives its scores otherwise.
    """
    parser.eval()
    device = next(parser.parameters()).device
    examples = sentence_examples(encoder.words, sentences, labels)
    found: dict[int, Parse] = {}
    for numbers in _batches([len(example["heads"]) for example in examples]):
        batch = on_device(encoder.collate([examples[number] for number in numbers]), device)
        # Words come window by window; decoding takes them sentence by sentence.
        order = np.lexsort((batch["place"].cpu().numpy(), batch["sentence"].cpu().numpy()))
        ends = np.cumsum([len(examples[number]["heads"]) for number in numbers])[:-1]
        with autocast(device, bf16):
            placed = parser.word_vectors(batch)
            arcs = parser.head.arcs(placed, batch).log_softmax(dim=-1).cpu().numpy()[order]
            trees = [encoder.tree(rows[:, : len(rows) + 1]) for rows in np.split(arcs, ends)]
            in_order = np.concatenate([np.asarray(tree) for tree in trees])
            heads = np.empty(len(order), dtype=np.int64)
            heads[order] = in_order
            scores = parser.head.relations(placed, batch, torch.from_numpy(heads).to(device)).cpu().numpy()[order]
        shares = _relation_shares(scores, in_order, labels)
        sure = np.exp(arcs[np.arange(len(in_order)), in_order]) * shares.max(axis=1)
        best = np.split(shares.argmax(axis=1), ends)
        for number, tree, its_best, its_sure in zip(numbers, trees, best, np.split(sure, ends), strict=True):
            probabilities = [round(float(share), 6) for share in its_sure]
            found[number] = Parse(sentences[number], tree, [labels[label] for label in its_best], probabilities)
    return [found[number] for number in range(len(sentences))]


def _batches(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of sentences of these many words, the shortest first, as many at once as memory allows."""
    batch: list[int] = []
    for number in np.argsort(sizes, kind="stable").tolist():
        if batch and (len(batch) == PREDICTION_BATCH or (len(batch) + 1) * sizes[number] ** 2 > ARCS_AT_ONCE):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _relation_shares(scores: Scores, heads: npt.NDArray[np.int64], labels: Sequence[str]) -> Scores:
    """The probabilities [words, labels] of the relations that are possible to these heads."""
    of_root = np.asarray([universal(label) == ROOT for label in labels])
    possible = of_root == (heads == 0)[:, None]
    possible[~possible.any(axis=1)] = True
    scores = np.where(possible, scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _scores(split: Treebank, answers: Sequence[Parse]) -> AttachmentScores:
    return attachment_scores(
        [_gold(sentence) for sentence in split.sentences], [answer.tree for answer in answers]
    )


def _gold(sentence: Sentence) -> list[tuple[int, str]]:
    return list(zip(sentence.heads, sentence.relations, strict=True))


def _chain(words: int, direction: str) -> list[int]:
    """Heads where each word hangs on the next one, the last being the root, or on the one before."""
    return [*range(2, words + 1), 0] if direction == "right_attach" else list(range(words))
