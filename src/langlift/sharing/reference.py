"""The model of a run as the reference for its exports: the batches they are compared on, and comparing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from langlift.backbones.base_name import BaseName
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import load_language_model
from langlift.corpus.text_data import texts_to_score
from langlift.errors import InputError, LangliftError
from langlift.heads.biaffine import NO_ARC, DependencyParser
from langlift.heads.classification import means_over_words
from langlift.masking import IGNORED
from langlift.tasks.learner import Split, text_of
from langlift.tasks.prediction import TrainedTask, is_task_run, load_trained_task
from langlift.tasks.runner import PREDICTIONS
from langlift.training.examples import Example, PadBatch
from langlift.training.trainer import Batch

BATCH_SIZE = 4
"""Small, so that batches contain both short and long examples, and padding."""
TEST_SENTENCES = 16
"""Number of sentences from a task's test split, from its start."""
SAMPLE = 50
"""Number of random sentences from the text given for a language model."""
GAPS = 100
LIMIT = 1e-3
"""The largest difference between two logits that rounding may cause."""
LANGUAGE_MODEL = {False: "fill-mask", True: "text-generation"}
"""Whether it is a decoder -> the hub's name for the kind of model."""
NEUTRAL = (
    "Anna, Maria, Ali: 3.",
    "Malta 2024",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.",
    "Tokio, Nairobi, Lima, Praha, Bamako (12:30).",
    "a b c d e f g",
    "www.example.org",
)
"""For runs without saved sentences: strings of no particular language."""

Compute = Callable[[Batch], Tensor]
"""A padded batch -> logits [items, classes]."""


@dataclass(frozen=True)
class Parity:
    """A comparison on the same batches of ``items`` (sentences, words or gaps).

    ``difference`` is the largest absolute one between two logits, ``agreement`` the share of items with the same
    most probable class.
    """

    items: int
    difference: float
    agreement: float


def compared(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Parity:
    """Compare logits of the same batches; NaN is an infinite difference."""
    items, same, difference = 0, 0, 0.0
    for theirs, ours in zip(expected, found, strict=True):
        largest = float((theirs - ours).abs().max())
        difference = max(difference, largest if largest == largest else float("inf"))
        same += int((theirs.argmax(dim=-1) == ours.argmax(dim=-1)).sum())
        items += len(theirs)
    return Parity(items, difference, same / items)


def require_parity(parity: Parity, what: str) -> None:
    """Raise a LangliftError if the logits differ by more than ``LIMIT``."""
    if not parity.difference <= LIMIT:
        raise LangliftError(
            f"{what} does not compute what the run computes: logits differ by up to {parity.difference:.2g} "
            f"(allowed: {LIMIT:g}), {parity.agreement:.1%} of the answers are the same",
            "nothing was written; please report this with the method and the name of the base model",
        )


@dataclass(frozen=True)
class Reference:
    """A run's model on the CPU, without dropout, and padded batches to compare its exports on.

    ``compute`` returns the run's own logits for a batch. ``trained`` is the run of a task, ``None`` for a language
    model; ``test`` is its test split as saved by the run, or that of ``--data``.
    """

    model: nn.Module
    tokenizer: Any
    compute: Compute
    batches: list[Batch]
    sentences: list[str]
    trained: TrainedTask | None = None
    test: Split[Any, Any] | None = None

    @property
    def body(self) -> Any:
        """The model without the head of a task."""
        return self.trained.model.body if self.trained else self.model

    @property
    def head(self) -> Any:
        """The head of a task; ``None`` for a language model."""
        return self.trained.model.head if self.trained else None

    @property
    def pipeline_tag(self) -> str:
        """The hub's name for the kind of model."""
        return self.trained.task.pipeline_tag if self.trained else LANGUAGE_MODEL[backbone_of(self.body).causal]

    @property
    def is_parser(self) -> bool:
        """Whether it is a dependency parser."""
        return isinstance(self.model, DependencyParser)

    @torch.inference_mode()
    def logits(self, compute: Compute) -> list[Tensor]:
        """The logits that ``compute`` gives for each batch's items."""
        return [compute(batch).float().cpu() for batch in self.batches]

    def require_same_tokens(self, ids: Callable[[str], list[int]], longest: int | None = None) -> None:
        """Raise a LangliftError if a tokenizer that was written gives other token ids than the run's."""
        for text in self.sentences:
            if ids(text) != self.tokenizer(text, truncation=longest is not None, max_length=longest)["input_ids"]:
                raise LangliftError(
                    "the tokenizer that was written splits text differently than the run's",
                    "nothing was written; please report this with the name of the base model",
                )


def load_reference(run: Path, base: BaseName, data: str | None) -> Reference:
    """Load the model in a run's folder; ``data`` is labelled data of a task, or text for a language model."""
    if is_task_run(run):
        return _task(run, base, data)
    loaded = load_language_model(str(run), base)
    model, tokenizer = loaded.model, loaded.tokenizer
    sentences = list(NEUTRAL if data is None else texts_to_score(Path(data), sample=SAMPLE))
    rows = [ids for text in sentences if len(ids := tokenizer(text)["input_ids"]) <= loaded.longest_input]
    if loaded.backbone.causal:
        examples: list[Example] = [
            {"input_ids": np.asarray(row), "labels": np.asarray(row)} for row in rows if row
        ]
    else:
        examples = _gaps(rows, tokenizer)
    if not examples:
        raise InputError(f"{run}: no comparison sentence fits into the model", "give others with --data")

    batches = _batches(examples, PadBatch(tokenizer.pad_token_id))
    return Reference(model.eval(), tokenizer, partial(plain_logits, model), batches, sentences)


def _task(run: Path, base: BaseName, data: str | None) -> Reference:
    trained = load_trained_task(run, base=base, path="naive", exact=True)
    model, learner = trained.model.cpu(), trained.task.learner
    test = _saved_split(trained) if data is None else learner.read(data, None, False, trained.columns).test
    inputs = list(map(learner.input_of, NEUTRAL)) if test is None else test.inputs[:TEST_SENTENCES]
    parser = isinstance(model, DependencyParser)
    trees = test.gold[:TEST_SENTENCES] if parser and test is not None else None
    examples = trained.encoder.examples(inputs, trained.labels, trees)
    batches = _batches(examples, trained.encoder.collate)
    compute = partial(parser_scores, model) if parser else model
    return Reference(model, trained.tokenizer, compute, batches, list(map(text_of, inputs)), trained, test)


def _saved_split(trained: TrainedTask) -> Split[Any, Any] | None:
    """The sentences and gold labels in a seed's predictions, if they are there."""
    path = trained.folder / PREDICTIONS
    if not path.is_file():
        return None
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        split: Split[Any, Any] = trained.task.learner.recorded(rows)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged", "restore the file, or delete it and give --data") from None
    return split if len(split) else None


def plain_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """The logits of a batch's labelled items, as in ``items_of``, by a model of transformers with a head."""
    options = {"use_cache": False} if backbone_of(model).causal else {}
    output: Any = model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"), **options)
    return items_of(output.logits, batch)


def parser_scores(parser: Any, batch: Batch) -> Tensor:
    """A parser's scores [2 words, classes]: of each word for all heads, and for all relations to its gold head."""
    vectors = parser.word_vectors(batch)
    scores = [parser.head.arcs(vectors, batch), parser.head.relations(vectors, batch, batch["heads"])]
    width = max(one.shape[1] for one in scores)
    return torch.cat([pad(one, (0, width - one.shape[1]), value=NO_ARC) for one in scores])


def items_of(logits: Tensor, batch: Batch) -> Tensor:
    """The logits [items, classes] of a batch's labelled items.

    ``logits`` are of sentences [batch, classes], or of all tokens [batch, length, classes]. If a word's vector is
    the mean over its tokens, its logits are as well, because the head is linear.
    """
    if logits.dim() == 2:
        return logits
    used = batch["labels"] != IGNORED
    return means_over_words(logits[used], batch["labels"][used])


def _batches(examples: Sequence[Example], collate: Callable[[Sequence[Example]], Batch]) -> list[Batch]:
    return [collate(examples[start : start + BATCH_SIZE]) for start in range(0, len(examples), BATCH_SIZE)]


def _gaps(rows: Sequence[Sequence[int]], tokenizer: Any) -> list[Example]:
    """Each row once for each of its tokens, masked; at most ``GAPS`` of these, evenly spaced."""
    special = set(tokenizer.all_special_ids)
    examples = []
    for row in rows:
        for position, token in enumerate(row):
            if token in special:
                continue
            ids, labels = np.asarray(row, dtype=np.int64), np.full(len(row), IGNORED, dtype=np.int64)
            ids[position], labels[position] = tokenizer.mask_token_id, token
            examples.append({"input_ids": ids, "labels": labels})
    step = max(1, -(-len(examples) // GAPS))
    return examples[::step]
