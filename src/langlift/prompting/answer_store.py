"""Answers on disk, written as they arrive, so that no prompt is sent twice."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from errno import ENOSPC
from io import FileIO
from math import inf
from os import strerror
from pathlib import Path

from langlift.files import locked, writing
from langlift.prompting.asking import Answer

ANSWERS = "answers.jsonl"
FIELDS = frozenset(field.name for field in fields(Answer))


class AnswerStore:
    """Answers by their prompts' keys, one per line; each is appended by a single write, so a kill loses none."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file
        self._answers: dict[str, Answer] = {}
        content = path.read_bytes()
        for line in content.split(b"\n"):
            try:
                row = json.loads(line)
                key = row.pop("key")
                self._answers[key] = Answer(**{name: value for name, value in row.items() if name in FIELDS})
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # half a line, left by a power cut
        if content and not content.endswith(b"\n"):
            file.write(b"\n")

    def get(self, key: str) -> Answer | None:
        """The answer to a prompt, if there is one."""
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        """Append an answer."""
        line = json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False, separators=(",", ":")) + "\n"
        # JSON may contain a lone surrogate, which is written as an escape.
        data = line.encode("utf-8", errors="backslashreplace")
        with writing(self._path):
            if self._file.write(data) < len(data):
                raise OSError(ENOSPC, strerror(ENOSPC))
        self._answers[key] = answer


@contextmanager
def open_answers(path: Path, wait: bool = False) -> Iterator[AnswerStore]:
    """The answers in a file, which is created if needed and locked; with ``wait``, wait for another process.

    Raises:
        LangliftError: another process has locked it, or it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(path, "a")
    with file, locked(path, f"{path}: another process is adding answers to it", inf if wait else 0.0):
        yield AnswerStore(path, file)
