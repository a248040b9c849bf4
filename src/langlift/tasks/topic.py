"""Topic classification, as SIB-200."""

from collections.abc import Sequence
from pathlib import Path

from langlift.config.recipes import TaskRecipe
from langlift.tasks.labelled_text import SIB_200
from langlift.tasks.runner import TaskResult, train_task
from langlift.tasks.sentence_task import SentenceTask


class Topic(SentenceTask):
    """Sentences with the columns ``category`` and ``text``, quoted as in CSV where needed."""

    name = "topic"
    title = "Topic classification"
    form = SIB_200


TOPIC = Topic()


def train_topic(
    base: str,
    data: str | Path,
    out: Path,
    recipe: TaskRecipe,
    language_adapter: Path | None = None,
    train_data: Sequence[str | Path] | None = None,
    resume: bool = False,
    trust_remote_code: bool = False,
) -> TaskResult:
    """``train_task`` for topic classification."""
    return train_task(TOPIC, base, data, out, recipe, language_adapter, train_data, resume, trust_remote_code)
