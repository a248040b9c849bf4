"""The tasks: all that is known of each stands here, in one row; imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from langlift.config.loading import resolve
from langlift.config.recipes import TaskRecipe
from langlift.errors import InputError
from langlift.evaluation.metrics import ACCURACY, ENTITY_F1, LAS, MACRO_F1, UAS, Metric

if TYPE_CHECKING:
    from langlift.tasks.learner import Learner

HUB_SET = "or a hub data set ID[:CONFIG]"
TREEBANK = "folder of a treebank: *-ud-train.conllu, *-ud-dev.conllu, *-ud-test.conllu"
MOST_FREQUENT_TAG = {"most_frequent_tag": "each word's most frequent tag"}


@dataclass(frozen=True)
class Columns:
    """The table that a sentence task's data is: the label's column, beside ``text``.

    ``quoted``: fields may be quoted as in CSV. ``hub_labels`` are the names that the label's field has in hub data
    sets.
    """

    label: str
    quoted: bool
    hub_labels: tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """Where a paper's figures for a task stand: the name of the file in ``facts``, and the tables in the paper."""

    table: str
    place: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task; ``learner`` trains a model for it, and measures and uses that."""

    name: str
    """As on the command line; also the name of the task adapter."""
    title: str
    learner_class: str
    """``module:class`` within ``langlift.tasks``; imported when it is needed."""
    data: str
    """What ``--data`` takes, for help."""
    epochs: int
    """The default: as published (2502.10140, 2405.12413)."""
    metric: Metric
    """The run's weights are the best by it on dev."""
    further: tuple[Metric, ...] = ()
    """Metrics reported beside it."""
    baselines: Mapping[str, str]
    """What results are compared with: key in results -> name."""
    pipeline_tag: str
    """The hub's name for this kind of task."""
    verb: str
    """The method of ``Adapted`` that uses a trained run."""
    unused: frozenset[str]
    """Settings of ``TaskRecipe`` that mean nothing here."""
    columns: Columns | None = None
    """The table's columns, where whole texts have labels."""
    word_file: str | None = None
    """Where words have labels, the ending of files that have a word a line."""
    prompt: str | None = None
    """The form of a prompt's answer, ``label`` or ``entities``; tasks without one cannot be prompted."""
    label: str = ""
    """In reports; by default the name."""
    published: Published | None = None
    """The figures of arXiv 2502.10140."""

    @cached_property
    def learner(self) -> "Learner[Any]":
        """What trains, measures and predicts; imports torch."""
        module, name = self.learner_class.split(":")
        learner: Learner[Any] = getattr(import_module(f"langlift.tasks.{module}"), name)(self)
        return learner

    @property
    def help(self) -> str:
        """What ``langlift task NAME`` does, in a sentence."""
        measured = " and ".join(metric.title for metric in (self.metric, *self.further))
        return f"{self.title}: {measured} over several seeds, beside a baseline."


def _sentence_task(
    name: str, title: str, epochs: int, columns: Columns, published: Published | None = None
) -> Task:
    """A task that gives a whole text one label."""
    quoting = "" if columns.quoted else ", not quoted"
    return Task(
        name=name,
        title=title,
        learner_class="sentences:SentenceLearner",
        data=f"train.tsv, dev.tsv, test.tsv with columns {columns.label} and text{quoting}; {HUB_SET}",
        epochs=epochs,
        metric=MACRO_F1,
        baselines={"tfidf": "TF-IDF + logistic regression", "majority": "majority class"},
        pipeline_tag="text-classification",
        verb="classify",
        unused=frozenset({"label_subwords", "decoding"}),
        columns=columns,
        prompt="label",
        published=published,
    )


_ROWS = (
    _sentence_task(
        "topic",
        "Topic classification",
        20,
        Columns("category", True, ("category", "label", "topic")),
        Published("tc", "tables 15, 16"),
    ),
    _sentence_task(
        "sentiment",
        "Sentiment",
        25,
        Columns("label", False, ("label", "sentiment", "labels")),
        Published("sa", "tables 21, 22"),
    ),
    Task(
        name="ner",
        title="Named entity recognition",
        learner_class="ner:NamedEntities",
        data=f"train.conll, dev.conll, test.conll with a word and its BIO tag a line; {HUB_SET}",
        epochs=100,
        metric=ENTITY_F1,
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
        unused=frozenset({"decoding", "label_subwords"}),
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
            "right_attach": "each word hangs on the next: LAS",
            "right_attach_uas": "each word hangs on the next: UAS",
            "left_attach": "each word hangs on the one before: LAS",
            "left_attach_uas": "each word hangs on the one before: UAS",
        },
        pipeline_tag="token-classification",
        verb="parse",
        unused=frozenset({"label_subwords", "fit_head"}),
        word_file=".conllu",
    ),
)
TASKS: Mapping[str, Task] = {task.name: task for task in _ROWS}
PROMPTED = tuple(task.name for task in _ROWS if task.prompt)
"""The tasks that can be prompted."""


def task_called(name: str) -> Task:
    """A task by its name.

    Raises:
        InputError: there is none of this name.
    """
    if name not in TASKS:
        raise InputError(f"unknown task '{name}'", f"one of {', '.join(TASKS)}")
    return TASKS[name]


def task_recipe(task: str | None = None, **sources: Any) -> TaskRecipe:
    """``resolve`` for a task: its own number of epochs is the default, and blocks with its name (``ner:``) count.

    Raises:
        InputError: as ``resolve``.
    """
    defaults = [] if task is None else [("default", "epochs", task_called(task).epochs)]
    return resolve(TaskRecipe, "task", defaults=defaults, block=task, blocks=tuple(TASKS), **sources)
