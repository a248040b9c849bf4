"""Prompts, answers and their outcome; answers are stored on disk, so that no prompt is sent twice."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from errno import ENOSPC
from io import FileIO
from math import inf
from os import strerror
from pathlib import Path
from typing import Any

from langlift.files import locked, writing
from langlift.prompting.template import Message


@dataclass(frozen=True)
class Prompt:
    """A request to a model.

    ``seed`` is None at temperature 0, ``schema`` if the answer's format is not enforced.
    """

    messages: list[Message]
    temperature: float
    answer_tokens: int
    seed: int | None
    schema: dict[str, Any] | None

    def key(self, model: str) -> str:
        """The key of its answer: a hash of the model's identity and of all fields."""
        content = [model, self.messages, self.temperature, self.answer_tokens, self.seed, self.schema]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """A model's answer: ``text`` as written, ``reasoning`` if the server returned it separately.

    ``finish`` is "length" if the answer was truncated. Token counts are None if the server gives none.
    ``structured``: the server accepted the schema.
    """

    text: str
    reasoning: str = ""
    finish: str = ""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    structured: bool = False
    seconds: float = 0.0


@dataclass
class Outcome:
    """Why prompts failed, by key; the number of retries, by reason; and remarks for the result."""

    failures: dict[str, str] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


OnAnswer = Callable[[str, Answer], None]
"""Called with a prompt's key and its answer as soon as it arrives."""

ANSWERS = "answers.jsonl"


class AnswerStore:
    """Answers by their prompts' keys, one per line; each is appended by a single write, so a kill loses none."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self._path, self._file = path, file
        self.answers: dict[str, Answer] = {}
        content = path.read_bytes()
        for line in content.split(b"\n"):
            try:
                row = json.loads(line)
                key = row.pop("key")
                self.answers[key] = Answer(**row)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # an incomplete line, left by a power failure
        if content and not content.endswith(b"\n"):
            file.write(b"\n")

    def add(self, key: str, answer: Answer) -> None:
        """Append an answer."""
        line = json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False, separators=(",", ":")) + "\n"
        # JSON may contain a lone surrogate, which is written as an escape.
        data = line.encode("utf-8", errors="backslashreplace")
        with writing(self._path):
            if self._file.write(data) < len(data):
                raise OSError(ENOSPC, strerror(ENOSPC))
        self.answers[key] = answer


@contextmanager
def open_answers(path: Path, wait: bool = False) -> Iterator[AnswerStore]:
    """The answers in a file, which is created if needed and locked; with ``wait``, wait for another process."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = FileIO(path, "a")
    with file, locked(path, f"{path}: another process is adding answers to it", inf if wait else 0.0):
        yield AnswerStore(path, file)
