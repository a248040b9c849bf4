"""The test split of a task's run as the run itself recorded it, beside its predictions."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langlift.errors import InputError
from langlift.tasks.input_rows import words_of
from langlift.tasks.labelled_text import LabelledText
from langlift.tasks.runner import PREDICTIONS
from langlift.tasks.sentence_task import SentenceTask
from langlift.tasks.tagged_words import TaggedWords
from langlift.tasks.task import Split, Task


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
        inputs = [row["text" if isinstance(task, SentenceTask) else "words"] for row in rows]
        split = _split_of(task, inputs, [row["gold"] for row in rows])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged", "restore the file, or delete it and give --data") from None
    return split if len(split) else None


def neutral_split(task: Task[Any], texts: Sequence[str], labels: Sequence[str]) -> Split:
    """Texts of no language, with labels that mean nothing."""
    if isinstance(task, SentenceTask):
        return _split_of(task, texts, [labels[0]] * len(texts))
    words = [words_of(text) for text in texts]
    return _split_of(task, words, [[labels[0]] * len(some) for some in words])


def _split_of(task: Task[Any], inputs: Sequence[Any], gold: Sequence[Any]) -> Split:
    if isinstance(task, SentenceTask):
        return LabelledText(list(inputs), list(gold))
    return TaggedWords(list(inputs), list(gold))
