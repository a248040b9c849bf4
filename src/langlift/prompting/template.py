"""What a model is asked, as a file that a person can read and change: instruction, question and answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from langlift.config.loading import yaml_readable
from langlift.errors import InputError
from langlift.tasks.task import TASKS

PARTS = ("instruction", "question", "answer")
HINT = "a template holds instruction, question and answer; docs/prompting.md has one to start from"
Message = dict[str, str]
"""``role`` (user or assistant) and ``content``."""


@dataclass(frozen=True)
class PromptTemplate:
    """A checked template; ``source`` is its text."""

    name: str
    source: str
    parts: Mapping[str, Template]

    def messages(
        self,
        common: Mapping[str, Any],
        shots: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
        asked: Mapping[str, Any],
    ) -> list[Message]:
        """The turns of a prompt: every shot a question and its answer, then the question.

        The instruction opens the first question: not all chat templates know a system's turn.
        """
        turns: list[Message] = []
        for question, answer in shots:
            turns.append({"role": "user", "content": self._text("question", {**common, **question})})
            turns.append({"role": "assistant", "content": self.answer(common, answer)})
        turns.append({"role": "user", "content": self._text("question", {**common, **asked})})
        turns[0]["content"] = f"{self._text('instruction', common)}\n\n{turns[0]['content']}"
        return turns

    def answer(self, common: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """The answer of a solved example."""
        return self._text("answer", {**common, **answer})

    def _text(self, part: str, values: Mapping[str, Any]) -> str:
        try:
            return self.parts[part].render(values).strip()
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise InputError(f"{self.name}: {part}: {error}", HINT) from None


def load_template(task: str, file: Path | None, allowed: Mapping[str, Mapping[str, bool]]) -> PromptTemplate:
    """The template of a file, or else the task's own, or else that of all tasks with such answers.

    ``allowed`` says for each part which placeholders it may have, and whether it must.

    Raises:
        InputError: it cannot be read, a part is missing, or has a wrong placeholder; all mistakes are named.
    """
    folder = Path(str(files("langlift") / "prompting" / "templates"))
    shipped = (folder / f"{name}.yaml" for name in (task, TASKS[task].prompt))
    path = file or next(path for path in shipped if path.is_file())
    with yaml_readable(path):
        source = path.read_text(encoding="utf-8")
        content = yaml.safe_load(source)
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise InputError(f"{path}: must hold texts by name", HINT)
    mistakes = [f"no {part}" for part in PARTS if part not in content]
    mistakes += [f"unknown part '{name}'" for name in content if name not in PARTS]
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    # jinja2's own is made for HTML: it would write ta' as ta\u0027.
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    parts = {}
    for part in PARTS:
        if part not in content:
            continue
        try:
            used = find_undeclared_variables(environment.parse(content[part]))
            parts[part] = environment.from_string(content[part])
        except TemplateSyntaxError as error:
            mistakes.append(f"{part}, line {error.lineno}: {error.message}")
            continue
        known = allowed[part]
        mistakes += [
            f"{part}: unknown placeholder '{name}' (known: {', '.join(known)})"
            for name in sorted(used - known.keys())
        ]
        mistakes += [
            f"{part}: lacks {{{{ {name} }}}}" for name, must in known.items() if must and name not in used
        ]
    if mistakes:
        raise InputError(f"{path}: {'; '.join(mistakes)}", HINT)
    return PromptTemplate(str(path), source, parts)
