"""Topic classification, as SIB-200."""

from pathlib import Path

from langlift.config.recipes import TaskRecipe
from langlift.tasks.labelled_text import LabelledText, read_labelled_text, read_test_split, split_files
from langlift.tasks.runner import TaskResult, train_task
from langlift.tasks.sentence_task import SentenceTask
from langlift.tasks.task import TaskData
from langlift.training.run_folder import sha256_of


class Topic(SentenceTask):
    """Sentences with the columns ``category`` and ``text``."""

    name = "topic"
    title = "Topic classification"

    def read(self, data: str, train_data: str | None, strict: bool) -> TaskData[LabelledText]:
        """Read SIB-200's folders."""
        folder, train_folder = Path(data), Path(train_data or data)
        splits = read_labelled_text(train_folder)
        labels = sorted(set(splits["train"].labels))
        if train_data is not None:
            splits["test"] = read_test_split(folder, labels)
        sha256 = sha256_of([*split_files(train_folder), folder / "test.tsv"])
        return TaskData(splits["train"], splits["dev"], splits["test"], labels, sha256)


TOPIC = Topic()


def train_topic(
    base: str,
    data: Path,
    out: Path,
    recipe: TaskRecipe,
    language_adapter: Path | None = None,
    train_data: Path | None = None,
    resume: bool = False,
    trust_remote_code: bool = False,
) -> TaskResult:
    """``train_task`` for topic classification."""
    return train_task(TOPIC, base, data, out, recipe, language_adapter, train_data, resume, trust_remote_code)
