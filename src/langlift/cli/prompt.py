"""``langlift prompt``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.backbones.base_name import BaseName
from langlift.cli.options import (
    Assignments,
    Config,
    Debug,
    Json,
    Out,
    Preset,
    Resume,
    model_option,
    note,
    show,
    trusting,
)
from langlift.cli.task import baselines, over_seeds
from langlift.tasks.task import PROMPTED, TASKS


@trusting
def prompt(
    task: Annotated[str, typer.Option("--task", help=f"One of {', '.join(PROMPTED)}.")],
    data: Annotated[str, typer.Option("--data", metavar="DATA", help="Labelled data, as langlift task takes it.")],
    model: Annotated[
        BaseName,
        model_option(
            "--model", "Base URL of a server (http://127.0.0.1:8000/v1), or a causal model: folder or hub id."
        ),
    ],
    out: Out,
    model_name: Annotated[
        str | None,
        typer.Option(
            "--model-name", metavar="NAME", help="With a URL: the name by which the server knows the model."
        ),
    ] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", help="Solved examples in a prompt, drawn from train (0: none).")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="One run for each draw of examples, such as 1,2,3.")
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option("--template", metavar="FILE", help="What is asked, in place of the task's own template."),
    ] = None,
    train_data: Annotated[
        list[str] | None,
        typer.Option(
            "--train-data", metavar="DATA", help="Draw examples from here; may be repeated, then merged."
        ),
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="FILE", help="Keep answers here, for several runs (default: in the run folder)."
        ),
    ] = None,
    key_variable: Annotated[
        str | None,
        typer.Option(
            "--key-variable", metavar="NAME", help="Environment variable that holds the key (OPENAI_API_KEY)."
        ),
    ] = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    resume: Resume = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Ask a large model about a task, with or without solved examples, to set it beside small adapted ones."""
    from langlift.config.loading import resolve
    from langlift.config.recipes import PromptRecipe

    recipe = resolve(
        PromptRecipe,
        "prompt",
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={"shots": shots, "seeds": seeds},
    )
    from langlift.prompting.running import prompt as ask

    result = ask(
        task,
        data,
        model,
        out,
        recipe,
        model_name,
        template,
        train_data,
        answers,
        key_variable,
        resume,
    )
    if not as_json:
        for example in result.unparsed_examples:
            note(f"Could not be read (test example {example['number'] + 1}): {example['answer']!r}")
    shown = TASKS[task]
    published, asked = result.published, result.test_examples * len(result.seeds)
    retries = ", ".join(f"{reason}: {count}" for reason, count in result.retries.items())
    how = f"{result.shots}-shot" if result.shots else "zero-shot"
    show(
        result,
        as_json,
        f"{shown.title} on {data}: {shown.metric.title}",
        [
            (f"{result.model}, {how}", over_seeds(result.mean, result.std, result.seeds)),
            ("unreadable answers left out (as published)", over_seeds(**published)),
            *baselines(shown, result.baseline),
            ("answers that could not be read", f"{result.unparsed} of {asked}"),
            *([("cut at answer_tokens", f"{result.cut} of {asked}")] if result.cut else []),
            *([("prompts without an answer, counted as wrong", str(result.failed))] if result.failed else []),
            *([("entities that are not in the sentence", str(result.misplaced))] if result.misplaced else []),
            ("prompts asked now, answered before", f"{result.asked}, {result.kept}"),
            *([("tried again", retries)] if retries else []),
            ("tokens of prompts, of answers", f"{result.prompt_tokens:,}, {result.answer_tokens:,}"),
            *([("answers without token counts", str(result.uncounted))] if result.uncounted else []),
            *([("cost", f"{result.cost:,.4f}")] if result.cost is not None else []),
            *(("note", remark) for remark in result.remarks),
            ("written to", str(out)),
        ],
    )
