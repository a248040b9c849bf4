"""``langlift task``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langlift.adapters.method import TASK_METHODS, one_of
from langlift.cli.options import (
    Assignments,
    Base,
    BatchSize,
    ComputePath,
    Config,
    Debug,
    Epochs,
    Json,
    LearningRate,
    Out,
    Precision,
    Preset,
    Resume,
    Seeds,
    Strict,
    TrainData,
    TrainExamples,
    TrustRemoteCode,
    show,
)

if TYPE_CHECKING:
    from langlift.tasks.runner import TaskResult

app = typer.Typer(help="Train and test on a task.", rich_markup_mode=None)

COMMANDS = {
    "topic": "Topic classification (as SIB-200): macro-F1 over several seeds, with baselines beside it.",
    "sentiment": "Sentiment classification: macro-F1 over several seeds, with baselines beside it.",
    "ner": "Named entity recognition: entity-level F1 on words over several seeds, with a baseline beside it.",
    "pos": "Part-of-speech tagging (UPOS): accuracy over several seeds, with a baseline beside it.",
    "dependencies": "Dependency parsing: LAS and UAS over several seeds, with a baseline beside them.",
}
HUB_SET = "; or a hub data set ID[:CONFIG]"
TREEBANK = "folder of a treebank: *-ud-train.conllu, *-ud-dev.conllu, *-ud-test.conllu"
FORMS = {
    "topic": f"train.tsv, dev.tsv, test.tsv with columns category and text{HUB_SET}",
    "sentiment": f"train.tsv, dev.tsv, test.tsv with columns label and text, not quoted{HUB_SET}",
    "ner": f"train.conll, dev.conll, test.conll with a word and its BIO tag a line{HUB_SET}",
    "pos": TREEBANK,
    "dependencies": TREEBANK,
}
BASELINES = {
    "tfidf": "TF-IDF + logistic regression",
    "majority": "majority class",
    "most_frequent_tag": "each word's most frequent tag",
    "right_attach": "each word hangs on the next: LAS",
    "right_attach_uas": "each word hangs on the next: UAS",
    "left_attach": "each word hangs on the one before: LAS",
    "left_attach_uas": "each word hangs on the one before: UAS",
}


def scores(what: str, result: "TaskResult") -> list[tuple[str, str]]:
    """Rows of a table: the mean, the deviation and every seed, of the measure and of further ones."""
    rows = {what: (result.mean, result.std, result.seeds)}
    rows |= {f"{what}: {name.upper()}": (x["mean"], x["std"], x["seeds"]) for name, x in result.further.items()}
    return [(name, over_seeds(*found)) for name, found in rows.items()]


def over_seeds(mean: float, std: float, seeds: list[float]) -> str:
    """A cell: the mean, the deviation and every seed."""
    return f"{mean:.1f} ± {std:.1f}  ({', '.join(f'{value:.1f}' for value in seeds)})"


@app.callback()
def task() -> None:
    """Train and test on a task."""


def _command(name: str) -> Callable[..., None]:
    """The command of one task; all have the same options."""

    def command(
        base: Base,
        data: Annotated[str, typer.Option("--data", metavar="DATA", help=f"{FORMS[name]}.")],
        out: Out,
        language_adapter: Annotated[
            Path | None,
            typer.Option("--language-adapter", metavar="FOLDER", help="Stack the task adapter on this."),
        ] = None,
        train_data: TrainData = None,
        method: Annotated[str | None, typer.Option("--method", help=f"{one_of(TASK_METHODS)}.")] = None,
        seeds: Seeds = None,
        train_examples: TrainExamples = None,
        epochs: Epochs = None,
        learning_rate: LearningRate = None,
        batch_size: BatchSize = None,
        strict: Strict = False,
        precision: Precision = None,
        path: ComputePath = None,
        preset: Preset = None,
        config: Config = None,
        assignments: Assignments = None,
        resume: Resume = False,
        trust_remote_code: TrustRemoteCode = False,
        as_json: Json = False,
        debug: Debug = False,
    ) -> None:
        from langlift.config.loading import default_preset, resolve
        from langlift.config.recipes import TaskRecipe

        recipe = resolve(
            TaskRecipe,
            "task",
            preset=default_preset(base, preset),
            config=config,
            assignments=assignments or (),
            flags={
                "method": method,
                "seeds": seeds,
                "train_examples": train_examples,
                "epochs": epochs,
                "learning_rate": learning_rate,
                "batch_size": batch_size,
                "precision": precision,
                "path": path,
            },
            task=name,
        )
        from langlift.tasks.known import TASKS
        from langlift.tasks.runner import train_task

        result = train_task(
            TASKS[name], base, data, out, recipe, language_adapter, train_data, resume, trust_remote_code, strict
        )
        mended = ", ".join(f"{what.replace('_', ' ')}: {count}" for what, count in result.repaired.items())
        show(
            result,
            as_json,
            f"{TASKS[name].title} on {data}: {TASKS[name].metric_title}",
            [
                *scores(f"{base}, {result.method}", result),
                *((BASELINES.get(kind, kind), f"{value:.1f}") for kind, value in result.baseline.items()),
                ("trainable parameters", f"{result.trainable_parameters:,}"),
                ("train, test examples", f"{result.train_examples}, {result.test_examples}"),
                *([("labels mended or unknown", mended)] if mended else []),
                *(("data", remark) for remark in result.remarks),
                ("written to", str(out)),
            ],
        )

    command.__doc__ = COMMANDS[name]
    return command


for _name in COMMANDS:
    app.command(_name)(_command(_name))
