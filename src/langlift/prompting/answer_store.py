"""Every answer on disk as it comes, so that none is asked for twice."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from math import inf
from pathlib import Path

from langlift.files import locked, writing
from langlift.prompting.asking import Answer

ANSWERS = "answers.jsonl"
FIELDS = frozenset(field.name for field in fields(Answer))


class AnswerStore:
    """Answers by their prompts' keys; each is a line, appended by one write: a killed process loses none."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path, self._handle = path, handle
        self._answers: dict[str, Answer] = {}
        content = path.read_bytes()
        for line in content.split(b"\n"):
            try:
                row = json.loads(line)
                key = row.pop("key")
                self._answers[key] = Answer(**{name: value for name, value in row.items() if name in FIELDS})
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # a line that a power cut left half written
        if content and not content.endswith(b"\n"):
            os.write(handle, b"\n")

    def get(self, key: str) -> Answer | None:
        """The answer to a prompt, if there is one."""
        return self._answers.get(key)

    def add(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        line = json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False, separators=(",", ":")) + "\n"
        with writing(self._path):
            # A lone surrogate, which JSON may hold, is written as an escape.
            data = line.encode("utf-8", errors="backslashreplace")
            if os.write(self._handle, data) < len(data):
                raise OSError(28, "No space left on device")
        self._answers[key] = answer


@contextmanager
def open_answers(path: Path, wait: bool = False) -> Iterator[AnswerStore]:
    """The store of a file, which is made if there is none; other processes are kept out, or waited for.

    Raises:
        LangliftError: another process has it, or it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        with locked(path, f"{path}: another process is adding answers to it", inf if wait else 0.0):
            yield AnswerStore(path, handle)
    finally:
        os.close(handle)
