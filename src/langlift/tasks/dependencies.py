"""Dependency parsing: the HEAD and DEPREL columns of Universal Dependencies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.evaluation.metrics import Tree, attachment_scores, universal
from langlift.evaluation.scores import batches_by_length
from langlift.heads.biaffine import BiaffineHead, DependencyParser, summed_parsing_loss
from langlift.heads.spanning_tree import Scores, greedy_tree, maximum_spanning_tree
from langlift.masking import IGNORED
from langlift.tasks.conllu import DEPREL, HEAD, Sentence
from langlift.tasks.learner import PREDICTION_BATCH, Settings, Split
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.tagging import WordEncoder, most_frequent_label
from langlift.tasks.treebanks import SentenceAnswer, TreebankLearner
from langlift.training.examples import Example
from langlift.training.precision import autocast
from langlift.training.trainer import Batch, on_device

ROOT = "root"
DECODERS: dict[str, Callable[[Scores], list[int]]] = {"mst": maximum_spanning_tree, "greedy": greedy_tree}
ARCS_AT_ONCE = 2_000_000
"""Maximum number of arcs that are scored together (more if one sentence has more)."""


@dataclass(frozen=True)
class Parse(SentenceAnswer):
    """A sentence's predicted tree; a word's probability is that of its head times that of its relation to it."""

    columns: ClassVar = {"heads": HEAD, "relations": DEPREL}
    sentence: Sentence
    heads: list[int]
    relations: list[str]
    probabilities: list[float]

    @property
    def gold(self) -> Tree:
        """The tree: head and relation of each word."""
        return list(zip(self.heads, self.relations, strict=True))

    @property
    def counted(self) -> list[str]:
        """The relations."""
        return self.relations


class ParserEncoder(WordEncoder):
    """Encodes sentences as batches for a parser, and decodes the scores of arcs to a tree."""

    def __init__(
        self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, pooling: str, path: str, decoding: str
    ) -> None:
        super().__init__(tokenizer, model, max_tokens, "every" if pooling == "mean" else pooling, path)
        self._rows, self.collate = self.collate, self._batch
        self.tree = DECODERS[decoding]

    def examples(
        self, inputs: Sequence[Sentence], labels: Sequence[str] = (), gold: Sequence[Tree] | None = None
    ) -> list[Example]:
        """One example per sentence, with these int64 arrays.

        ``input_ids`` [tokens] of all its windows, concatenated; ``windows`` [windows], their lengths; ``words``
        [tokens], the number of each token's word or ``IGNORED``; ``heads`` [words], 0 without ``gold``;
        ``labels`` [words], positions in ``labels`` (``IGNORED`` if not among them, or without ``gold``).
        """
        numbers = {relation: number for number, relation in enumerate(labels)}
        encoded = self.encode(inputs, [range(len(one.words)) for one in inputs])
        parts = iter(encoded.examples)
        examples = []
        for place, (sentence, count) in enumerate(zip(inputs, encoded.windows, strict=True)):
            windows = [next(parts) for _ in range(count)]
            tree = gold[place] if gold else [(0, "")] * len(sentence.words)
            examples.append(
                {
                    "input_ids": np.concatenate([window["input_ids"] for window in windows]),
                    "windows": np.asarray([len(window["input_ids"]) for window in windows]),
                    "words": np.concatenate([window["labels"] for window in windows]),
                    "heads": np.asarray([head for head, _ in tree]),
                    "labels": np.asarray([numbers.get(relation, IGNORED) for _, relation in tree]),
                }
            )
        return examples

    def _batch(self, examples: Sequence[Example]) -> Batch:
        """A batch of ``DependencyParser``; its words are in order of windows, the shortest window first."""
        windows = []
        for number, example in enumerate(examples):
            ends = np.cumsum(example["windows"])[:-1]
            parts = zip(np.split(example["input_ids"], ends), np.split(example["words"], ends), strict=True)
            windows += [(number, ids, words) for ids, words in parts]
        windows.sort(key=lambda window: len(window[1]))  # the order of both layouts
        rows: list[Example] = []
        sentence: list[int] = []
        word: list[int] = []
        done = 0
        for number, ids, words in windows:
            of_word = words != IGNORED
            first, last = int(words[of_word][0]), int(words[of_word][-1])
            rows.append({"input_ids": ids, "labels": np.where(of_word, words - first + done, IGNORED)})
            sentence += [number] * (last - first + 1)
            word += range(first, last + 1)
            done += last - first + 1
        batch = self._rows(rows)
        batch["slots"] = batch.pop("labels")
        places = list(zip(sentence, word, strict=True))
        return batch | {
            "sentence": torch.tensor(sentence),
            "place": torch.tensor(word) + 1,
            "heads": torch.tensor([examples[number]["heads"][at] for number, at in places]),
            "labels": torch.tensor([examples[number]["labels"][at] for number, at in places]),
            "sizes": torch.tensor([len(example["heads"]) for example in examples]),
        }


class Dependencies(TreebankLearner[Tree]):
    """A biaffine parser on word vectors, measured by LAS and UAS as in the CoNLL 2018 shared task."""

    what, column, needs_tree = "relation", "DEPREL", True

    def gold_of(self, sentence: Sentence) -> Tree:
        """The tree."""
        return list(zip(sentence.heads, sentence.relations, strict=True))

    def labels_of(self, gold: Tree) -> list[str]:
        """The relations."""
        return [relation for _, relation in gold]

    def known(self, gold: Tree) -> list[str]:
        """The universal part of each relation."""
        return [universal(relation) for _, relation in gold]

    def settings(self, recipe: TaskRecipe) -> dict[str, Any]:
        """How word vectors and trees are computed."""
        return {"pooling": recipe.pooling, "decoding": recipe.decoding}

    def new_model(self, model: PreTrainedModel, labels: int, settings: Settings) -> DependencyParser:
        """A dependency parser."""
        config: Any = model.config
        return DependencyParser(model.base_model, BiaffineHead(config.hidden_size, labels))

    def encoder(
        self, tokenizer: Any, model: PreTrainedModel, max_tokens: int, settings: Settings, path: str = "fast"
    ) -> ParserEncoder:
        """Words as in running text; a long sentence is encoded in windows and parsed as a whole."""
        return ParserEncoder(tokenizer, model, max_tokens, settings["pooling"], path, settings["decoding"])

    def loss(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy (nats) of heads and relations over words."""
        return summed_parsing_loss(output, batch)

    @torch.inference_mode()
    def predict(
        self, model: Any, encoder: Any, inputs: Sequence[Sentence], labels: Sequence[str], bf16: bool = False
    ) -> list[Parse]:
        """A tree for each sentence; only the root has the relation ``root``.

        ``model`` is a ``DependencyParser``, or an object that computes the same scores.
        """
        model.eval()
        device = next(model.parameters()).device
        examples = encoder.examples(inputs)
        found: dict[int, Parse] = {}
        arcs_of = [len(example["heads"]) ** 2 for example in examples]
        for numbers in batches_by_length(arcs_of, ARCS_AT_ONCE, PREDICTION_BATCH):
            batch = on_device(encoder.collate([examples[number] for number in numbers]), device)
            # Words come window by window; decoding takes them sentence by sentence.
            order = np.lexsort((batch["place"].cpu().numpy(), batch["sentence"].cpu().numpy()))
            ends = np.cumsum([len(examples[number]["heads"]) for number in numbers])[:-1]
            with autocast(device, bf16):
                placed = model.word_vectors(batch)
                arcs = model.head.arcs(placed, batch).log_softmax(dim=-1).cpu().numpy()[order]
                trees = [encoder.tree(rows[:, : len(rows) + 1]) for rows in np.split(arcs, ends)]
                in_order = np.concatenate([np.asarray(tree) for tree in trees])
                heads = np.empty(len(order), dtype=np.int64)
                heads[order] = in_order
                chosen = torch.from_numpy(heads).to(device)
                scores = model.head.relations(placed, batch, chosen).cpu().numpy()[order]
            shares = _relation_shares(scores, in_order, labels)
            sure = np.exp(arcs[np.arange(len(in_order)), in_order]) * shares.max(axis=1)
            best = np.split(shares.argmax(axis=1), ends)
            for number, tree, its_best, its_sure in zip(numbers, trees, best, np.split(sure, ends), strict=True):
                probabilities = [round(float(share), 6) for share in its_sure]
                found[number] = Parse(inputs[number], tree, [labels[label] for label in its_best], probabilities)
        return [found[number] for number in range(len(inputs))]

    def scores(self, gold: Sequence[Tree], predicted: Sequence[Tree]) -> dict[str, float]:
        """LAS and UAS."""
        uas, las = attachment_scores(gold, predicted)
        return {"las": las, "uas": uas}

    def baselines(self, train: Split[Sentence, Tree], test: Split[Sentence, Tree]) -> dict[str, float]:
        """LAS and UAS with each word attached to the next or to the previous one, whichever is better on train.

        The relation is the most frequent training relation of the word's form.
        """
        words, relations = ([getattr(one, name) for one in train.inputs] for name in ("words", "relations"))

        def attached(split: Split[Sentence, Tree], direction: str) -> tuple[float, float]:
            guesses = most_frequent_label(words, relations, [sentence.words for sentence in split.inputs])
            trees = []
            for one in guesses:  # the last word is the root, or the first one
                heads = [*range(2, len(one) + 1), 0] if direction == "right_attach" else range(len(one))
                trees.append([(head, name if head else ROOT) for head, name in zip(heads, one, strict=True)])
            return attachment_scores(split.gold, trees)

        best = max(("right_attach", "left_attach"), key=lambda direction: attached(train, direction)[0])
        uas, las = attached(test, best)
        return {best: las, f"{best}_uas": uas}


def _relation_shares(scores: Scores, heads: npt.NDArray[np.int64], labels: Sequence[str]) -> Scores:
    """The probabilities [words, labels] of the relations, restricted to those possible with these heads."""
    of_root = np.asarray([universal(label) == ROOT for label in labels])
    possible = of_root == (heads == 0)[:, None]
    possible[~possible.any(axis=1)] = True
    scores = np.where(possible, scores, -np.inf)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)
