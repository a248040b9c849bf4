"""Treebanks: folders of CoNLL-U files in the layout of Universal Dependencies."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np

from langlift.corpus.text_files import iterate_lines
from langlift.errors import InputError
from langlift.tasks.conllu import EMPTY, Sentence, parse_conllu, sentence_of
from langlift.tasks.input_rows import TEXT, read_word_rows, words_of
from langlift.tasks.learner import Answer, Gold, Item, Learner, Reading, Row
from langlift.tasks.sources import SPLITS, Source, SplitFolder

FILE = re.compile(r"(?:(.+)-ud-)?(train|dev|test)(?:-[^.]+)?\.conllu")
DEV_SHARE, DEV_SEED = 0.1, 0
"""Share of train used as dev in a treebank without a dev file; the sample is the same in every run."""


class SentenceAnswer(Answer):
    """A sentence and the predictions for its words; ``columns`` maps these fields to columns of CoNLL-U."""

    sentence: Sentence
    probabilities: list[float]
    columns: ClassVar[Mapping[str, int]]

    def record(self) -> dict[str, Any]:
        """``words``, the predictions for each, and their ``probabilities``."""
        found = {name: getattr(self, name) for name in self.columns}
        return {"words": self.sentence.words, **found, "probabilities": self.probabilities}

    def cells(self) -> dict[str, str]:
        """The same, separated by spaces; a space within a word becomes ``_``."""
        texts = {**self.record(), "probabilities": [f"{share:.6f}" for share in self.probabilities]}
        return {name: " ".join(str(one).replace(" ", "_") for one in found) for name, found in texts.items()}

    def lines(self) -> list[str]:
        """CoNLL-U: the sentence with the predicted columns."""
        return self.sentence.filled({column: getattr(self, name) for name, column in self.columns.items()})


class TreebankFolder(SplitFolder):
    """A folder of ``*-ud-train.conllu``, ``*-ud-dev.conllu`` and ``*-ud-test.conllu``, with or without ``*-ud-``.

    A split may consist of several files (``-train-a``, ``-train-b``), which are read in order.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, (), "CoNLL-U files, such as mt_mudt-ud-train.conllu")
        matches = [(path, FILE.fullmatch(path.name)) for path in sorted(self.folder.iterdir())]
        self._files = {split: [path for path, m in matches if m and m[2] == split] for split in SPLITS}
        names = sorted({m[1] or "without a name" for _, m in matches if m})
        if len(names) > 1:
            raise InputError(
                f"{self.folder}: contains {len(names)} treebanks ({', '.join(names)})",
                "give each its own folder; --train-data can be repeated",
            )

    def found(self, split: str) -> list[Path]:
        """The files of a split."""
        return self._files[split]


class TreebankLearner(Learner[Sentence, Gold], Generic[Gold]):
    """Tasks on treebanks."""

    column: ClassVar[str]
    """The column of a word's label in CoNLL-U."""
    needs_tree: ClassVar[bool] = False

    @abstractmethod
    def gold_of(self, sentence: Sentence) -> Gold:
        """Its gold tags or tree."""

    def labels_of(self, gold: Gold) -> list[str]:
        """The label of each word."""
        return list(gold)  # type: ignore[call-overload]

    def open(self, data: str) -> Source:
        """A treebank's folder."""
        return TreebankFolder(data)

    def items(self, source: Any, split: str, reading: Reading) -> Iterator[Item[Sentence, Gold]]:
        """The sentences, which must be annotated."""
        for file in source.files(split):
            for sentence in parse_conllu(iterate_lines(file), str(file)):
                if self.needs_tree and not sentence.heads:
                    raise InputError(f"{sentence.place(sentence.rows[0])}: no HEAD", "every sentence needs a tree")
                if len(sentence.words) > 1 and set(sentence.words) == {EMPTY}:
                    raise InputError(
                        f"{sentence.place(sentence.rows[0])}: every FORM is _: the text is withheld",
                        "get the treebank with its text; its README says where",
                    )
                gold = self.gold_of(sentence)
                if EMPTY in (labels := self.labels_of(gold)):
                    row = sentence.rows[labels.index(EMPTY)]
                    raise InputError(f"{sentence.place(row)}: no {self.column}", "every word needs one")
                yield Item(sentence, gold, sentence.place_of_word)

    def labels(self, train: Sequence[Gold], where: str) -> list[str]:
        """All that occur."""
        return sorted(set(chain.from_iterable(map(self.labels_of, train))))

    def train_and_dev(
        self, source: Any, reading: Reading
    ) -> tuple[list[Item[Sentence, Gold]], list[Item[Sentence, Gold]]]:
        """Both splits; without a dev file, dev is a tenth of the training sentences."""
        if source.found("dev"):
            return super().train_and_dev(source, reading)
        train, place = self.split_of(source, "train", reading), Path(source.place("train")).parent
        if len(train) < 2:
            raise InputError(f"{place}: no dev split, and one training sentence", "add a dev file")
        count = max(1, round(DEV_SHARE * len(train)))
        drawn = set(np.random.default_rng(DEV_SEED).choice(len(train), count, replace=False).tolist())
        reading.remark(
            f"{place.absolute().name} has no dev file: {count} of its {len(train)} training sentences "
            f"(a tenth, drawn with seed {DEV_SEED}) are dev"
        )
        kept = [sentence for number, sentence in enumerate(train) if number not in drawn]
        return kept, [train[number] for number in sorted(drawn)]

    def input_of(self, text: str, words: Sequence[str] | None = None) -> Sentence:
        """A sentence without annotation."""
        return sentence_of(words_of(text) if words is None else words, text, 1)

    def read_inputs(self, source: Path, word_column: int = 0) -> Iterator[tuple[Row, Sentence]]:
        """The sentences of a CoNLL-U file, whose trees are ignored; other files are read by ``read_word_rows``."""
        if source.suffix.lower() == ".conllu":
            for sentence in parse_conllu(iterate_lines(source), str(source), trees=False):
                yield {TEXT: " ".join(sentence.words)}, sentence
            return
        for number, (row, words) in enumerate(read_word_rows(source, word_column), start=1):
            yield row, sentence_of(words, row[TEXT], number)
