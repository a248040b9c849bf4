"""Prompt templates: files with instruction, question and answer that users can read and change."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from langlift.config.loading import yaml_readable
from langlift.config.yaml_reader import load_yaml
from langlift.errors import InputError
from langlift.tasks.task import TASKS

HINT = "a template has instruction, question and answer; docs/prompting.md has an example"
COMMON = {"label": "labels", "entities": "types"}
"""``Task.prompt``, which is also the placeholder of an answer -> the placeholder that any part may have."""
Message = dict[str, str]
"""``role`` (user or assistant) and ``content``."""


@dataclass(frozen=True)
class PromptTemplate:
    """A checked template; ``source`` is its text."""

    name: str
    source: str
    parts: Mapping[str, Template]

    def messages(
        self, common: Mapping[str, Any], shots: Sequence[Mapping[str, Any]], question: Mapping[str, Any]
    ) -> list[Message]:
        """The turns of a prompt: each solved example as question and answer, then the question.

        The instruction is in the first question, because not all chat templates support a system turn.
        """
        turns: list[Message] = []
        for shot in shots:
            turns.append({"role": "user", "content": self.render("question", {**common, **shot})})
            turns.append({"role": "assistant", "content": self.render("answer", {**common, **shot})})
        turns.append({"role": "user", "content": self.render("question", {**common, **question})})
        turns[0]["content"] = f"{self.render('instruction', common)}\n\n{turns[0]['content']}"
        return turns

    def render(self, part: str, values: Mapping[str, Any]) -> str:
        """A part with its values."""
        try:
            return self.parts[part].render(values).strip()
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise InputError(f"{self.name}: {part}: {error}", HINT) from None


def load_template(task: str, file: Path | None) -> PromptTemplate:
    """The template in ``file``, or the task's own, or that of all tasks with the same kind of answer.

    InputError if it cannot be read, or has missing or unknown parts or placeholders; all mistakes are named.
    """
    kind = str(TASKS[task].prompt)
    folder = Path(str(files("langlift") / "prompting" / "templates"))
    shipped = (folder / f"{name}.yaml" for name in (task, kind))
    path = file or next(path for path in shipped if path.is_file())
    with yaml_readable(path):
        source = path.read_text(encoding="utf-8")
        content = load_yaml(source)
    if not isinstance(content, dict) or not all(isinstance(text, str) for text in content.values()):
        raise InputError(f"{path}: must contain texts by name", HINT)
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    # jinja2's own filter is for HTML: it would write ta' as ta\u0027.
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    required = {"instruction": [], "question": ["text"], "answer": [kind]}
    mistakes = [f"no {part}" for part in required if part not in content]
    mistakes += [f"unknown part '{name}'" for name in content if name not in required]
    parts = {}
    for part in (part for part in required if part in content):
        known = [*required[part], COMMON[kind]]
        try:
            used = find_undeclared_variables(environment.parse(content[part]))
            parts[part] = environment.from_string(content[part])
        except TemplateSyntaxError as error:
            mistakes.append(f"{part}, line {error.lineno}: {error.message}")
            continue
        mistakes += [
            f"{part}: unknown placeholder '{name}' (known: {', '.join(known)})"
            for name in sorted(used.difference(known))
        ]
        mistakes += [f"{part}: does not contain {{{{ {name} }}}}" for name in required[part] if name not in used]
    if mistakes:
        raise InputError(f"{path}: {'; '.join(mistakes)}", HINT)
    return PromptTemplate(str(path), source, parts)
