"""The table of tasks, with all properties of a task in its row. Does not import heavy libraries."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langlift.config.loading import resolve
from langlift.errors import InputError
from langlift.evaluation.metrics import ACCURACY, ENTITY_F1, LAS, MACRO_F1, STRICT_F1, UAS, Metric
from langlift.tasks.recipe import TaskRecipe

if TYPE_CHECKING:
    from langlift.tasks.learner import Learner

HUB_SET = "or a hub data set ID[:CONFIG]"
TREEBANK = "Folder of a treebank: *-ud-train.conllu, *-ud-dev.conllu, *-ud-test.conllu"
MOST_FREQUENT_TAG = {"most_frequent_tag": "each word's most frequent tag"}


@dataclass(frozen=True)
class Columns:
    """The data of a task that labels whole texts: the label's column, next to ``text``.

    ``quoted``: fields may be quoted as in CSV. ``hub_labels``: other names of the label's column, as in hub data
    sets.
    """

    label: str
    quoted: bool
    hub_labels: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """A paper's figures for a task: the name of the file in ``facts``, and the tables in the paper."""

    table: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task; its ``learner`` trains, evaluates and uses models."""

    name: str
    """Its name on the command line, and the name of the task adapter."""
    title: str
    learner_class: str
    """``module:class`` within ``langlift.tasks``; imported when needed."""
    data: str
    """Description of the data that ``--data`` accepts."""
    epochs: int
    """Default number of epochs, as published (arXiv 2502.10140, 2405.12413)."""
    metric: Metric
    """The metric; a run keeps the weights with the best value on dev."""
    further: tuple[Metric, ...] = ()
    """Metrics reported beside it."""
    baselines: Mapping[str, str]
    """The baselines that results are compared with: key in results -> title."""
    pipeline_tag: str
    """The hub's name for this kind of task."""
    verb: str
    """The method of ``Adapted`` that uses a trained run."""
    unused: frozenset[str]
    """Settings of ``TaskRecipe`` that the task does not use."""
    columns: Columns | None = None
    """The data's columns, for tasks that label whole texts."""
    word_file: str | None = None
    """The ending of files with one word per line, for tasks that label words."""
    prompt: str | None = None
    """The form of an answer, ``label`` or ``entities``; tasks without one cannot be prompted."""
    label: str = ""
    """Name in reports (default: ``name``)."""
    published: Published | None = None
    """The figures of arXiv 2502.10140."""

    @cached_property
    def learner(self) -> "Learner[Any, Any]":
        """The task's learner; imports torch."""
        module, name = self.learner_class.split(":")
        return getattr(import_module(f"langlift.tasks.{module}"), name)(self)

    @property
    def help(self) -> str:
        """Help of ``langlift task NAME``."""
        measured = " and ".join(metric.title for metric in (self.metric, *self.further))
        return f"{self.title}: {measured} over several seeds, with baselines."


def _sentence_task(
    name: str, title: str, epochs: int, columns: Columns, published: Published | None = None
) -> Task:
    quoting = "" if columns.quoted else ", not quoted"
    return Task(
        name=name,
        title=title,
        learner_class="sentences:SentenceLearner",
        data=f"train.tsv, dev.tsv, test.tsv with columns {columns.label} and text{quoting}; {HUB_SET}; or one "
        "file (.tsv, .csv, .jsonl, .parquet), which is split",
        epochs=epochs,
        metric=MACRO_F1,
        baselines={"tfidf": "TF-IDF + logistic regression", "majority": "majority class"},
        pipeline_tag="text-classification",
        verb="classify",
        unused=frozenset({"columns", "label_subwords", "decoding"}),
        columns=columns,
        prompt="label",
        published=published,
    )


_ROWS = (
    _sentence_task(
        "topic",
        "Topic classification",
        20,
        Columns("category", True, ("category", "label", "topic", "class")),
        Published("tc", "tables 15, 16"),
    ),
    _sentence_task(
        "sentiment",
        "Sentiment",
        25,
        Columns("label", False, ("label", "sentiment", "labels", "class", "category")),
        Published("sa", "tables 21, 22"),
    ),
    Task(
        name="ner",
        title="Named entity recognition",
        learner_class="ner:NamedEntities",
        data=f"train.conll, dev.conll, test.conll with one word and its BIO tag per line; {HUB_SET}",
        epochs=100,
        metric=ENTITY_F1,
        further=(STRICT_F1,),
        baselines=MOST_FREQUENT_TAG,
        pipeline_tag="token-classification",
        verb="tag",
        unused=frozenset({"decoding"}),
        word_file=".conll",
        prompt="entities",
        label="NER",
        published=Published("ner", "tables 18, 19"),
    ),
    Task(
        name="pos",
        title="Part-of-speech tagging",
        learner_class="pos:PartsOfSpeech",
        data=TREEBANK,
        epochs=64,
        metric=ACCURACY,
        baselines=MOST_FREQUENT_TAG,
        pipeline_tag="token-classification",
        verb="tag",
        unused=frozenset({"columns", "decoding", "label_subwords"}),
        word_file=".conllu",
        label="POS",
    ),
    Task(
        name="dependencies",
        title="Dependency parsing",
        learner_class="dependencies:Dependencies",
        data=TREEBANK,
        epochs=64,
        metric=LAS,
        further=(UAS,),
        baselines={
            "right_attach": "each word attached to the next: LAS",
            "right_attach_uas": "each word attached to the next: UAS",
            "left_attach": "each word attached to the previous one: LAS",
            "left_attach_uas": "each word attached to the previous one: UAS",
        },
        pipeline_tag="token-classification",
        verb="parse",
        unused=frozenset({"columns", "label_subwords", "fit_head"}),
        word_file=".conllu",
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ROWS}
PROMPTED = tuple(task.name for task in _ROWS if task.prompt)
"""The tasks that can be prompted."""


def task_called(name: str) -> Task:
    """A task by its name; raises an InputError if there is no such task."""
    if name not in TASKS:
        raise InputError(f"unknown task '{name}'", f"one of {', '.join(TASKS)}")
    return TASKS[name]


def task_recipe(task: str | None = None, **sources: Any) -> TaskRecipe:
    """As ``resolve``, with the task's default number of epochs and its blocks of settings (``ner:``)."""
    defaults = [] if task is None else [("default", "epochs", task_called(task).epochs)]
    return resolve(TaskRecipe, "task", defaults=defaults, block=task, blocks=tuple(TASKS), **sources)
