"""A task's head that starts as a logistic regression on the vectors of the model as it is (LP-FT)."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from langlift.heads import classification
from langlift.heads.classification import INVERSE_PENALTY, ClassificationHead, TaskModel, TokenHead, fit_head
from langlift.masking import IGNORED
from langlift.tasks import runner
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task


def clusters(classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping clouds of points, off the origin and with unequal spread."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(120) % classes
    centres = torch.randn(classes, 8, generator=generator)
    return (centres[labels] + torch.randn(120, 8, generator=generator)) * torch.linspace(0.1, 5, 8) + 3, labels


@pytest.mark.parametrize("head", [ClassificationHead(8, 3, 0.5, "mean"), TokenHead(8, 3, 0.5)])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_fitted_head_says_what_scikit_learn_says(head: nn.Module, classes: int):
    vectors, labels = clusters(classes)
    head.fit(vectors, labels)
    scaled = (vectors - vectors.mean(0)) / vectors.std(0)
    expected = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(scaled, labels).predict_proba(scaled)
    found = head.eval()(vectors).softmax(dim=1)
    assert (found[:, :classes] - torch.tensor(expected)).abs().max() < 0.03, "tanh is nearly linear there"
    assert classes == 3 or found[:, 2].max() < 1e-3, "a label without an example"


class Tokens(TaskModel):
    """A body that is a table of vectors."""

    def forward(self, batch):
        used = batch["labels"] >= 0
        return self.head(self.body(batch["input_ids"])[used])


def test_only_labelled_tokens_are_fitted_and_nothing_random_is_used_up():
    vectors, labels = clusters(3)
    model = Tokens(nn.Embedding.from_pretrained(vectors), TokenHead(8, 3, 0.1)).train()
    alone = TokenHead(8, 3, 0.1)
    alone.fit(vectors[::2], labels[::2])
    ids = torch.arange(120)
    batches = [
        {"input_ids": part, "labels": torch.where(part % 2 == 0, labels[part], IGNORED)} for part in ids.split(50)
    ]
    before = torch.get_rng_state()
    fit_head(model, batches)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.allclose(model.head.output.weight, alone.output.weight, atol=1e-5)
    assert model.training
    kept = model.head.output.weight.clone()
    fit_head(model, [{"input_ids": ids[:3], "labels": torch.zeros(3, dtype=torch.long)}])
    assert torch.equal(kept, model.head.output.weight), "one label alone: the head stays as it is"


def test_a_task_starts_from_the_fitted_head(tiny_bert: Path, topic_folder: Path, tmp_path: Path):
    recipe = TaskRecipe(epochs=1, seeds=(1,), reduction_factor=4.0, pooling="mean")
    starts = {}
    for fitted in (False, True):
        train_task("topic", str(tiny_bert), topic_folder, tmp_path / str(fitted), replace(recipe, fit_head=fitted))
        first = json.loads((tmp_path / str(fitted) / "seed-1/progress.jsonl").read_text().splitlines()[0])
        starts[fitted] = first["validation_macro_f1"]
    assert starts[True] > starts[False] + 20


def test_of_many_examples_sorted_by_label_every_label_is_fitted(
    tiny_bert: Path, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(topic_folder, folder := tmp_path / "sorted")
    header, *rows = (folder / "train.tsv").read_text(encoding="utf-8").splitlines()
    column = header.split("\t").index("category")
    rows.sort(key=lambda row: row.split("\t")[column])
    (folder / "train.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    fitted = []
    monkeypatch.setattr(ClassificationHead, "fit", lambda head, vectors, labels: fitted.append(labels.bincount()))
    for module in (classification, runner):
        monkeypatch.setattr(module, "MOST_FITTED", 8, raising=False)
    monkeypatch.setattr(runner, "PREDICTION_BATCH", 4)
    recipe = TaskRecipe(epochs=1, seeds=(1,), fit_head=True, precision="float32")
    train_task("topic", str(tiny_bert), folder, tmp_path / "run", recipe)
    assert [counts.tolist() for counts in fitted] == [[4, 4]]
