"""Treebanks: folders of CoNLL-U files as Universal Dependencies has them, one or several together."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.tasks.conllu import EMPTY, Sentence, parse_conllu, sentence_of
from langlift.tasks.input_rows import TEXT, read_word_rows, text_lines, words_of
from langlift.tasks.learner import Learner, Row, TaskData, digest

FILE = re.compile(r"(?:(.+)-ud-)?(train|dev|test)(?:-[^.]+)?\.conllu")
DEV_SHARE, DEV_SEED = 0.1, 0
"""Of a treebank without a dev file so much of train serves as dev; drawn alike whatever the seeds of the run."""


@dataclass(frozen=True)
class Treebank:
    """Sentences of one split."""

    sentences: list[Sentence]

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def inputs(self) -> list[Sentence]:
        """The sentences."""
        return self.sentences

    @property
    def words(self) -> list[list[str]]:
        """The forms of each sentence's words."""
        return [sentence.words for sentence in self.sentences]

    @property
    def tags(self) -> list[list[str]]:
        """Their UPOS."""
        return [sentence.tags for sentence in self.sentences]

    def chosen(self, numbers: Sequence[int]) -> "Treebank":
        """The sentences of these numbers, in this order."""
        return Treebank([self.sentences[i] for i in numbers])


@dataclass(frozen=True)
class WordLabels:
    """What a task learns of each word: its ``column``, as a list from a sentence.

    ``compared`` is the part of a label that counts when it is scored.
    """

    what: str
    column: str
    of: Callable[[Sentence], list[str]]
    compared: Callable[[str], str]
    needs_tree: bool


def recorded_sentences(rows: Sequence[Mapping[str, Any]]) -> list[Sentence]:
    """The sentences of predictions in a run's folder, by their words; without annotation."""
    return [sentence_of(row["words"], " ".join(row["words"]), number) for number, row in enumerate(rows, start=1)]


class SentenceLabel:
    """A sentence and what was predicted of its words; ``columns``: these fields, and their columns in CoNLL-U."""

    sentence: Sentence
    probabilities: list[float]
    columns: ClassVar[Mapping[str, int]]

    def record(self) -> dict[str, Any]:
        """``words``, what was predicted of each, and its ``probabilities``."""
        found = {name: getattr(self, name) for name in self.columns}
        return {"words": self.sentence.words, **found, "probabilities": self.probabilities}

    def cells(self) -> dict[str, str]:
        """The same, each parted by spaces; a space within a word becomes ``_``."""
        texts = {**self.record(), "probabilities": [f"{share:.6f}" for share in self.probabilities]}
        return {name: " ".join(str(one).replace(" ", "_") for one in found) for name, found in texts.items()}

    def lines(self) -> list[str]:
        """CoNLL-U: the sentence as it stood, with what was predicted."""
        return self.sentence.filled({column: getattr(self, name) for name, column in self.columns.items()})


class TreebankFolder:
    """A folder of ``*-ud-train.conllu``, ``*-ud-dev.conllu`` and ``*-ud-test.conllu``.

    The names may lack ``*-ud-``. A split may be cut into several files (``-train-a``, ``-train-b``), which are
    read in order.

    Raises:
        InputError: it is no folder, or holds several treebanks.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            what = "a folder is needed, not a file" if folder.exists() else "no such folder"
            raise InputError(f"{folder}: {what}", "it must hold CoNLL-U files, such as mt_mudt-ud-train.conllu")
        self._folder = folder
        self._files: dict[str, list[Path]] = {"train": [], "dev": [], "test": []}
        names = set()
        for path in sorted(folder.iterdir()):
            if match := FILE.fullmatch(path.name):
                names.add(match[1] or "without a name")
                self._files[match[2]].append(path)
        if len(names) > 1:
            raise InputError(
                f"{folder}: holds {len(names)} treebanks ({', '.join(sorted(names))})",
                "give each its own folder; --train-data can be repeated",
            )

    def has(self, split: str) -> bool:
        """Whether there is a file of this split."""
        return bool(self._files[split])

    def read(self, split: str, labels: WordLabels) -> list[Sentence]:
        """The sentences of a split.

        Raises:
            InputError: it is missing, empty or damaged, or a word has no label; file and line are named.
        """
        if not self.has(split):
            found = ", ".join(name for name, files in self._files.items() if files)
            other = ", or give other treebanks to train on with --train-data" if split == "train" else ""
            raise InputError(
                f"{self._folder}: the {split} split is missing (found: {found or 'no CoNLL-U file of a split'})",
                f"name a file *-ud-{split}.conllu{other}",
            )
        sentences = [s for file in self._files[split] for s in parse_conllu(read_raw_lines(file), str(file))]
        for sentence in sentences:
            if labels.needs_tree and not sentence.heads:
                raise InputError(f"{sentence.place(sentence.rows[0])}: no HEAD", "every sentence needs a tree")
            its_labels = labels.of(sentence)
            if EMPTY in its_labels:
                row = sentence.rows[its_labels.index(EMPTY)]
                raise InputError(f"{sentence.place(row)}: no {labels.column}", "every word needs one")
        if not sentences:
            raise InputError(f"{self._files[split][0]}: no sentences", "every split needs at least one")
        return sentences

    def train_and_dev(self, labels: WordLabels) -> tuple[list[Sentence], list[Sentence], list[str]]:
        """Both splits, and what is to be told of them; without a dev file a tenth of train is dev.

        Raises:
            InputError: as ``read``; or there is too little to make a dev split of.
        """
        train = self.read("train", labels)
        if self.has("dev"):
            return train, self.read("dev", labels), []
        if len(train) < 2:
            raise InputError(f"{self._folder}: no dev split, and one training sentence", "add a dev file")
        count = max(1, round(DEV_SHARE * len(train)))
        drawn = set(np.random.default_rng(DEV_SEED).choice(len(train), count, replace=False).tolist())
        remark = (
            f"{self._folder.name} has no dev file: {count} of its {len(train)} training sentences "
            f"(a tenth, drawn with seed {DEV_SEED}) are dev"
        )
        kept = [sentence for number, sentence in enumerate(train) if number not in drawn]
        return kept, [train[number] for number in sorted(drawn)], [remark]

    def content(self, split: str) -> bytes:
        """The bytes of a split's files, where there are any."""
        return b"".join(file.read_bytes() for file in self._files[split])


class TreebankLearner(Learner[Treebank]):
    """What tasks on treebanks have in common: they read folders of CoNLL-U files."""

    word_labels: ClassVar[WordLabels]

    def read(self, data: str, train_data: Sequence[str] | None, strict: bool) -> TaskData[Treebank]:
        """All splits; with ``train_data`` train and dev are those treebanks' together, only test is ``data``'s.

        A label of dev or test that train lacks is counted in ``repaired``: it can only be missed.

        Raises:
            InputError: a treebank cannot be used; with ``strict`` also where a label would be counted.
        """
        labels = self.word_labels
        sources = [TreebankFolder(Path(name)) for name in train_data or [data]]
        tested = TreebankFolder(Path(data))
        train: list[Sentence] = []
        dev: list[Sentence] = []
        remarks: list[str] = []
        for source in sources:
            its_train, its_dev, its_remarks = source.train_and_dev(labels)
            train += its_train
            dev += its_dev
            remarks += its_remarks
        test = tested.read("test", labels)
        every = sorted({label for sentence in train for label in labels.of(sentence)})
        known = {labels.compared(label) for label in every}
        repaired: dict[str, int] = {}
        for split, sentences in (("dev", dev), ("test", test)):
            for sentence in sentences:
                for row, label in zip(sentence.rows, labels.of(sentence), strict=True):
                    if labels.compared(label) in known:
                        continue
                    if strict:
                        raise InputError(
                            f"{sentence.place(row)}: the {labels.what} '{label}' never occurs in the training "
                            "data",
                            f"a misspelt {labels.what}?",
                        )
                    key = f"{split}_of_unknown_{labels.what}"
                    repaired[key] = repaired.get(key, 0) + 1
        sha256 = digest([source.content for source in sources], tested.content)
        return TaskData(Treebank(train), Treebank(dev), Treebank(test), every, sha256, repaired, remarks)

    def input_of(self, text: str) -> Sentence:
        """A sentence of its words."""
        return sentence_of(words_of(text), text, 1)

    def read_inputs(self, source: Path) -> Iterator[tuple[Row, Sentence]]:
        """The rows of a file to label, and each as a sentence: of CoNLL-U as it stands, whatever its HEADs are.

        Other files are read by ``read_word_rows``.

        Raises:
            InputError: the file, or a row of it, is damaged; the line is named.
        """
        if source.suffix.lower() == ".conllu":
            lines = (line.rstrip("\r\n") for line in text_lines(source))
            for sentence in parse_conllu(lines, str(source), trees=False):
                yield {TEXT: " ".join(sentence.words)}, sentence
            return
        for number, (row, words) in enumerate(read_word_rows(source), start=1):
            yield row, sentence_of(words, row[TEXT], number)
