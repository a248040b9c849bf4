"""A prompt, its answer, and the outcome of sending many."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
