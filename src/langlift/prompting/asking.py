"""One prompt and its answer, and what every model that can be asked has."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langlift.prompting.template import Message


@dataclass(frozen=True)
class Prompt:
    """What is asked, and what else bears on the answer.

    ``seed`` is None at temperature 0, ``schema`` where the answer's form is left to the model.
    """

    messages: list[Message]
    temperature: float
    answer_tokens: int
    seed: int | None
    schema: dict[str, Any] | None

    def key(self, model: str) -> str:
        """By which its answer is found again: a hash of the model's identity and of all of this."""
        content = [model, self.messages, self.temperature, self.answer_tokens, self.seed, self.schema]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What came back: ``text`` as written, ``reasoning`` where it came apart from that.

    ``finish`` is "length" for an answer that was cut. Tokens are None where the server does not count them.
    ``structured`` says whether the server was asked to keep to the schema, and took that.
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
    """What was not answered, by key, and why; how often was tried again, by reason; what is to be told."""

    failures: dict[str, str] = field(default_factory=dict)
    retries: Counter[str] = field(default_factory=Counter)
    remarks: list[str] = field(default_factory=list)


Answered = Callable[[str, Answer], None]
"""Is given every answer as it comes, with its prompt's key."""


class Model(Protocol):
    """A model that can be asked."""

    name: str
    """For people and reports."""
    identity: str
    """What of it bears on answers, for keys."""

    def require(self, prompts: Sequence[Prompt]) -> None:
        """Raise an InputError if it cannot be asked these, before anything is."""

    def ask(self, prompts: dict[str, Prompt], answered: Answered) -> Outcome:
        """Ask all, by key.

        Raises:
            LangliftError: it cannot be asked at all; what was answered so far was handed over.
        """
