"""``langlift prompt``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from langlift.backbones.base_name import BaseName
from langlift.cli.options import Out, Resume, Settings, command, model_option, note, option, show
from langlift.cli.task import baselines, over_seeds
from langlift.prompting.recipe import PromptRecipe
from langlift.tasks.task import PROMPTED, TASKS


@command("prompting.running:PromptResult", PromptRecipe, trusting=True)
def prompt(
    *,
    task: str = option("--task", f"One of {', '.join(PROMPTED)}."),
    data: str = option("--data DATA", "Labelled data, as for langlift task."),
    model: BaseName = model_option(
        "--model", "Base URL of a server (http://127.0.0.1:8000/v1), or a causal model: folder or hub id."
    ),
    out: Out,
    model_name: str | None = option("--model-name NAME", "With a URL: the server's name for the model.", None),
    template: Path | None = option("--template FILE", "Prompt template to use instead of the task's.", None),
    train_data: list[str] | None = option(
        "--train-data DATA", "Data to draw examples from; can be repeated to merge several.", None
    ),
    answers: Path | None = option(
        "--answers FILE", "File for the answers, which runs can share (default: in the run folder).", None
    ),
    key_variable: str | None = option(
        "--key-variable NAME", "Environment variable with the API key (default: OPENAI_API_KEY).", None
    ),
    settings: Settings,
    resume: Resume = False,
) -> Iterator[Any]:
    """Prompt a large language model on a task, zero-shot or few-shot, to compare it with adapted small models."""
    from langlift.config.loading import resolve

    recipe = resolve(PromptRecipe, "prompt", **settings)
    from langlift.prompting.running import prompt as ask

    result = ask(task, data, model, out, recipe, model_name, template, train_data, answers, key_variable, resume)
    yield result
    for example in result.unparsed_examples:
        note(f"Unreadable answer (test example {example['number'] + 1}): {example['answer']!r}")
    shown, asked = TASKS[task], result.test_examples * len(result.seeds)
    retries = ", ".join(f"{reason}: {count}" for reason, count in result.retries.items())
    how = f"{result.shots}-shot" if result.shots else "zero-shot"
    show(
        f"{shown.title} on {data}: {shown.metric.title}",
        [
            (f"{result.model}, {how}", over_seeds(result.mean, result.std, result.seeds)),
            ("without unreadable answers (as published)", over_seeds(**result.published)),
            *baselines(shown, result.baseline),
            ("unreadable answers", f"{result.unparsed} of {asked}"),
            *([("cut at answer_tokens", f"{result.cut} of {asked}")] if result.cut else []),
            *([("prompts without an answer, counted as wrong", str(result.failed))] if result.failed else []),
            *([("entities that are not in the sentence", str(result.misplaced))] if result.misplaced else []),
            ("prompts sent now, answered before", f"{result.asked}, {result.kept}"),
            *([("retries", retries)] if retries else []),
            ("tokens of prompts, of answers", f"{result.prompt_tokens:,}, {result.answer_tokens:,}"),
            *([("answers without token counts", str(result.uncounted))] if result.uncounted else []),
            *([("cost", f"{result.cost:,.4f}")] if result.cost is not None else []),
            *(("note", remark) for remark in result.remarks),
            ("written to", str(out)),
        ],
    )
