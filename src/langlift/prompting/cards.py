"""The README.md of one seed of a prompt run."""

from collections.abc import Mapping, Sequence
from typing import Any

from langlift.config.recipes import PromptRecipe
from langlift.prompting.template import Message
from langlift.tasks.task import Task


def prompt_card(
    task: Task,
    inputs: Mapping[str, Any],
    recipe: PromptRecipe,
    labels: Sequence[str],
    metrics: Mapping[str, Any],
    example: Sequence[Message],
) -> str:
    """What was asked of what model, how it did, and its first prompt, turn by turn."""
    name = inputs["model_name"] or inputs["model"]
    where = f", served at {inputs['model']}" if inputs["model_name"] else ""
    shots = f"{recipe.shots}-shot" if recipe.shots else "zero-shot"
    source = f" (examples from `{inputs['train_data'] or inputs['data']}`)" if recipe.shots else ""
    left_out = recipe.unparsed == "left_out"
    counted = f"{task.metric.title} on test{' (unreadable answers left out)' if left_out else ''}"
    turns = "\n\n".join(f"**{turn['role']}**\n\n{_quoted(turn['content'])}" for turn in example)
    return f"""---
library_name: langlift
tags: [langlift, {task.pipeline_tag}, prompting]
---

# {task.title}: {name}, {shots}

Asked by langlift{where}{source}, tested on `{inputs["data"]}`. Classes: {", ".join(labels)}.

| | |
|---|---|
| {counted} | {metrics[f"test_{task.metric.name}"]:.1f} |
| the same without unreadable answers, as published | {metrics["published"][task.metric.name]:.1f} |
| answers that could not be read | {metrics["unparsed"]} of {metrics["test_examples"]} |
| answers cut at {recipe.answer_tokens} tokens | {metrics["cut"]} |
| prompts without an answer | {metrics["failed"]} |
| seed of the examples | {metrics["seed"]} |

All settings and the template are in `recipe.yaml`, what was answered in `test_predictions.jsonl`.

## The first prompt

{turns}
"""


def _quoted(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
