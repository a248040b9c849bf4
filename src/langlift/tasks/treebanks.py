"""Treebanks: folders of CoNLL-U files in the layout of Universal Dependencies."""

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic

import numpy as np

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.tasks.conllu import EMPTY, Sentence, parse_conllu, sentence_of
from langlift.tasks.input_rows import TEXT, read_word_rows, text_lines, words_of
from langlift.tasks.learner import Gold, Learner, Row, Split, TaskData
from langlift.tasks.sources import SPLITS, SplitFolder, digest

FILE = re.compile(r"(?:(.+)-ud-)?(train|dev|test)(?:-[^.]+)?\.conllu")
DEV_SHARE, DEV_SEED = 0.1, 0
"""Share of train used as dev in a treebank without a dev file; the sample is the same in every run."""


class SentenceLabel:
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

    Raises:
        InputError: there is no such folder, or it contains several treebanks.
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

    def files(self, split: str) -> list[Path]:
        """The files of a split."""
        return self._files[split]

    def sentences(self, split: str) -> list[Sentence]:
        """The sentences of a split.

        Raises:
            InputError: it is missing, empty or damaged; file and line are named.
        """
        files = self.files(split)
        if not files:
            found = ", ".join(name for name in SPLITS if self.files(name))
            other = ", or give other treebanks to train on with --train-data" if split == "train" else ""
            raise InputError(
                f"{self.folder}: the {split} split is missing (found: {found or 'no CoNLL-U file of a split'})",
                f"name a file *-ud-{split}.conllu{other}",
            )
        sentences = [s for file in files for s in parse_conllu(read_raw_lines(file), str(file))]
        if not sentences:
            raise InputError(f"{files[0]}: no sentences", "every split needs at least one")
        return sentences


class TreebankLearner(Learner[Sentence, Gold], Generic[Gold]):
    """Tasks on treebanks."""

    what: ClassVar[str]
    """A word's label, in messages."""
    column: ClassVar[str]
    """Its column in CoNLL-U."""
    needs_tree: ClassVar[bool] = False

    @abstractmethod
    def labels_of(self, sentence: Sentence) -> list[str]:
        """The label of each word."""

    @abstractmethod
    def gold_of(self, sentence: Sentence) -> Gold:
        """Its gold tags or tree."""

    def compared(self, label: str) -> str:
        """The part of a label that is scored."""
        return label

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[Sentence, Gold]:
        """Read treebanks; a label of dev or test that train lacks is counted in ``repaired``.

        Raises:
            InputError: a treebank cannot be used; with ``strict`` also if a label would be counted.
        """
        sources, tested = [TreebankFolder(name) for name in train_data or [data]], TreebankFolder(data)
        train: list[Sentence] = []
        dev: list[Sentence] = []
        remarks: list[str] = []
        for source in sources:
            train_part = self._sentences(source, "train")
            if source.files("dev"):
                dev_part = self._sentences(source, "dev")
            else:
                train_part, dev_part, remark = _dev_from_train(train_part, source.folder)
                remarks.append(remark)
            train += train_part
            dev += dev_part
        test = self._sentences(tested, "test")
        labels = sorted({label for sentence in train for label in self.labels_of(sentence)})
        known = {self.compared(label) for label in labels}
        repaired: dict[str, int] = {}
        for split, sentences in (("dev", dev), ("test", test)):
            for sentence in sentences:
                for row, label in zip(sentence.rows, self.labels_of(sentence), strict=True):
                    if self.compared(label) in known:
                        continue
                    if strict:
                        raise InputError(
                            f"{sentence.place(row)}: the {self.what} '{label}' never occurs in the training data",
                            f"a misspelt {self.what}?",
                        )
                    key = f"{split}_of_unknown_{self.what}"
                    repaired[key] = repaired.get(key, 0) + 1
        splits = [Split(part, [self.gold_of(sentence) for sentence in part]) for part in (train, dev, test)]
        return TaskData(splits[0], splits[1], splits[2], labels, digest(sources, tested), repaired, remarks)

    def _sentences(self, folder: TreebankFolder, split: str) -> list[Sentence]:
        """The sentences of a split, which must be annotated."""
        sentences = folder.sentences(split)
        for sentence in sentences:
            if self.needs_tree and not sentence.heads:
                raise InputError(f"{sentence.place(sentence.rows[0])}: no HEAD", "every sentence needs a tree")
            if EMPTY in (labels := self.labels_of(sentence)):
                row = sentence.rows[labels.index(EMPTY)]
                raise InputError(f"{sentence.place(row)}: no {self.column}", "every word needs one")
        return sentences

    def input_of(self, text: str, words: Sequence[str] | None = None) -> Sentence:
        """A sentence without annotation."""
        return sentence_of(words_of(text) if words is None else words, text, 1)

    def read_inputs(self, source: Path) -> Iterator[tuple[Row, Sentence]]:
        """The sentences of a CoNLL-U file, whose trees are ignored; other files are read by ``read_word_rows``.

        Raises:
            InputError: the file, or a row of it, is damaged; the message gives the line.
        """
        if source.suffix.lower() == ".conllu":
            lines = (line.rstrip("\r\n") for line in text_lines(source))
            for sentence in parse_conllu(lines, str(source), trees=False):
                yield {TEXT: " ".join(sentence.words)}, sentence
            return
        for number, (row, words) in enumerate(read_word_rows(source), start=1):
            yield row, sentence_of(words, row[TEXT], number)

    def document(self, split: Split[Sentence, Gold], answers: Sequence[Any]) -> Iterator[str]:
        """CoNLL-U with the predicted columns."""
        for sentence, answer in zip(split.inputs, answers, strict=True):
            yield from sentence.filled(self.predicted_columns(answer))
            yield ""

    @abstractmethod
    def predicted_columns(self, answer: Any) -> Mapping[int, Sequence[object]]:
        """The columns of CoNLL-U in an answer of ``predict``."""


def _dev_from_train(train: list[Sentence], folder: Path) -> tuple[list[Sentence], list[Sentence], str]:
    """Split off a tenth of the training sentences as dev; returns train, dev and a remark."""
    if len(train) < 2:
        raise InputError(f"{folder}: no dev split, and one training sentence", "add a dev file")
    count = max(1, round(DEV_SHARE * len(train)))
    drawn = set(np.random.default_rng(DEV_SEED).choice(len(train), count, replace=False).tolist())
    remark = (
        f"{folder.name} has no dev file: {count} of its {len(train)} training sentences "
        f"(a tenth, drawn with seed {DEV_SEED}) are dev"
    )
    kept = [sentence for number, sentence in enumerate(train) if number not in drawn]
    return kept, [train[number] for number in sorted(drawn)], remark
