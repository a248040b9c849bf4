"""The test split of a task's run as the run itself recorded it, beside its predictions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from langlift.errors import InputError
from langlift.sharing.parity import NEUTRAL
from langlift.tasks.conllu import Sentence, sentence_of
from langlift.tasks.dependencies import Dependencies
from langlift.tasks.input_rows import words_of
from langlift.tasks.labelled_text import LabelledText
from langlift.tasks.runner import PREDICTIONS
from langlift.tasks.sentence_task import SentenceTask
from langlift.tasks.tagged_words import TaggedWords
from langlift.tasks.task import Split, Task
from langlift.tasks.treebanks import Treebank


def recorded_split(task: Task[Any], folder: Path) -> Split | None:
    """The sentences and gold labels in a seed's predictions, if they are there.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / PREDICTIONS
    if not path.is_file():
        return None
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        inputs = [row["text"] if isinstance(task, SentenceTask) else row["words"] for row in rows]
        if isinstance(task, Dependencies):
            inputs = [sentence_of(words, " ".join(words), at) for at, words in enumerate(inputs, start=1)]
        split = _split_of(task, inputs, [row["gold"] for row in rows])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged", "restore the file, or delete it and give --data") from None
    return split if len(split) else None


def inputs_of(split: Any) -> list[Any]:
    """What of a split is put in: texts, the words of each sentence, or sentences."""
    if isinstance(split, LabelledText):
        return list(split.texts)
    return list(split.sentences if isinstance(split, Treebank) else split.words)


def neutral_inputs(task: Task[Any]) -> list[Any]:
    """The same of strings of no language."""
    if isinstance(task, Dependencies):
        return [task.input_of(text) for text in NEUTRAL]
    return [text if isinstance(task, SentenceTask) else words_of(text) for text in NEUTRAL]


def text_of(one: Any) -> str:
    """An input as running text."""
    return one if isinstance(one, str) else " ".join(one.words if isinstance(one, Sentence) else one)


def unlabelled(task: Task[Any], inputs: Sequence[Any], labels: Sequence[str]) -> Split:
    """A split with labels that mean nothing."""
    if isinstance(task, Dependencies):
        return Treebank(list(inputs))
    gold = [labels[0] if isinstance(task, SentenceTask) else [labels[0]] * len(one) for one in inputs]
    return _split_of(task, inputs, gold)


def _split_of(task: Task[Any], inputs: Sequence[Any], gold: Sequence[Any]) -> Split:
    if isinstance(task, SentenceTask):
        return LabelledText(list(inputs), list(gold))
    if isinstance(task, Dependencies):
        trees = [(list(heads), list(relations)) for heads, relations in (zip(*tree, strict=True) for tree in gold)]
        pairs = zip(inputs, trees, strict=True)
        return Treebank([replace(one, heads=heads, relations=relations) for one, (heads, relations) in pairs])
    return TaggedWords(list(inputs), list(gold))
