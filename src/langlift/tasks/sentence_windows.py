"""Sentences as batches of a parser: their words found among the tokens of one or several windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from langlift.masking.masked_language_model import IGNORED
from langlift.tasks.conllu import Sentence
from langlift.tasks.word_encoder import WordEncoder
from langlift.training.examples import Collate, Example
from langlift.training.trainer import Batch


def sentence_examples(
    encoder: WordEncoder, sentences: Sequence[Sentence], relations: Sequence[str]
) -> list[Example]:
    """One example a sentence, whatever its length, with these arrays of int64.

    ``input_ids`` [tokens] of all its windows on end, ``windows`` [windows] their lengths, ``words`` [tokens] the
    number of each token's word or ``IGNORED``, ``heads`` [words] (0 throughout where there is no tree) and
    ``labels`` [words], the numbers of the relations (``IGNORED`` where not among ``relations``).
    """
    numbers = {relation: number for number, relation in enumerate(relations)}
    encoded = encoder([s.words for s in sentences], [list(range(len(s.words))) for s in sentences])
    parts = iter(encoded.examples)
    examples = []
    for sentence, count in zip(sentences, encoded.windows, strict=True):
        windows = [next(parts) for _ in range(count)]
        examples.append(
            {
                "input_ids": np.concatenate([window["input_ids"] for window in windows]),
                "windows": np.asarray([len(window["input_ids"]) for window in windows]),
                "words": np.concatenate([window["labels"] for window in windows]),
                "heads": np.asarray(sentence.heads or [0] * len(sentence.words)),
                "labels": np.asarray([numbers.get(relation, IGNORED) for relation in sentence.relations]),
            }
        )
    return examples


@dataclass(frozen=True)
class ParserBatch:
    """Collates such examples into a batch of ``DependencyParser``; ``rows`` lays the windows out."""

    rows: Collate

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """The examples as one batch; its words come window by window, the shortest window first."""
        windows = []
        for number, example in enumerate(examples):
            ends = np.cumsum(example["windows"])[:-1]
            parts = zip(np.split(example["input_ids"], ends), np.split(example["words"], ends), strict=True)
            windows += [(number, ids, words) for ids, words in parts]
        windows.sort(key=lambda window: len(window[1]))  # the order that either layout has
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
        batch = self.rows(rows)
        batch["slots"] = batch.pop("labels")
        places = list(zip(sentence, word, strict=True))
        return batch | {
            "sentence": torch.tensor(sentence),
            "place": torch.tensor(word) + 1,
            "heads": torch.tensor([examples[number]["heads"][at] for number, at in places]),
            "labels": torch.tensor([examples[number]["labels"][at] for number, at in places]),
            "sizes": torch.tensor([len(example["heads"]) for example in examples]),
        }
