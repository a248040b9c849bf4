"""What is exported: the model of a run, and the batches that show whether it is the same elsewhere."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from langlift.adapters.composition import attached
from langlift.backbones.base_name import BaseName
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.language_models import load_language_model
from langlift.corpus.text_data import texts_to_score
from langlift.errors import InputError
from langlift.heads.biaffine import NO_ARC, DependencyParser
from langlift.heads.classification import means_over_words
from langlift.masking.masked_language_model import IGNORED
from langlift.sharing.parity import NEUTRAL, Computed
from langlift.tasks.learner import Split, text_of
from langlift.tasks.prediction import TrainedTask, is_task_run, load_trained_task
from langlift.tasks.runner import PREDICTIONS
from langlift.training.examples import Example, PadBatch
from langlift.training.trainer import Batch

AT_ONCE = 4
TRIED_ON = 16
"""So many sentences of a run's test split, the first ones, are tried."""
SAMPLE = 50
"""So many sentences of the text that is given for a language model, drawn at random."""
GAPS = 100


@dataclass(frozen=True)
class Subject:
    """A model on the CPU, without dropout, and padded batches to try it on.

    ``computed`` is what the run itself computes of a batch. ``trained`` is the task's run, ``None`` of a language
    model; ``test`` its test split as the run recorded it, or as ``--data`` has it.
    """

    model: nn.Module
    tokenizer: Any
    computed: Computed
    batches: list[Batch]
    sentences: list[str]
    trained: TrainedTask | None = None
    test: Split | None = None

    @property
    def adapters(self) -> list[str]:
        """The names of the adapters in it."""
        return attached(self.body)

    @property
    def body(self) -> Any:
        """The model without the head of a task."""
        return self.trained.model.body if self.trained else self.model

    @property
    def head(self) -> Any:
        """The head of a task; ``None`` of a language model."""
        return self.trained.model.head if self.trained else None

    @property
    def is_parser(self) -> bool:
        """Whether it is a dependency parser."""
        return isinstance(self.model, DependencyParser)


def subject_of(run: Path, base: BaseName, data: str | None) -> Subject:
    """What a run's folder holds; ``data`` is labelled data of a task, or text for a language model.

    Raises:
        InputError: no finished run and no model.
    """
    if is_task_run(run):
        return _task_subject(run, base, data)
    texts = None if data is None else texts_to_score(Path(data), sample=SAMPLE)
    return _language_model_subject(run, base, texts)


def _task_subject(run: Path, base: BaseName, data: str | None) -> Subject:
    """The model of a task's run, and its test sentences, or those of ``data``, or neutral ones."""
    trained = load_trained_task(run, base=base, path="naive")
    model, learner = trained.model.cpu(), trained.task.learner
    if data is not None:
        test: Split | None = learner.read(data, None, False).test
    else:
        test = _recorded_split(trained)
    inputs = test.inputs[:TRIED_ON] if test is not None else list(map(learner.input_of, NEUTRAL))
    tried = learner.unlabelled(inputs, trained.labels)
    examples = learner.examples(trained.encoder, tried, trained.labels)
    texts = list(map(text_of, inputs))
    batches = list(batches_of(examples, trained.encoder.collate))
    parser = isinstance(model, DependencyParser)
    computed = partial(parser_scores, model) if parser else model
    return Subject(model, trained.tokenizer, computed, batches, texts, trained, test)


def _recorded_split(trained: TrainedTask) -> Split | None:
    """The sentences and gold labels in a seed's predictions, if they are there.

    Raises:
        InputError: the file is damaged.
    """
    path = trained.folder / PREDICTIONS
    if not path.is_file():
        return None
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
        split: Split = trained.task.learner.recorded(rows)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged", "restore the file, or delete it and give --data") from None
    return split if len(split) else None


def _language_model_subject(run: Path, base: BaseName, texts: Sequence[str] | None) -> Subject:
    """A language model, and sentences: those given, else neutral ones; a masked one has a gap for each token."""
    loaded = load_language_model(str(run), base)
    model, tokenizer, longest = loaded.model, loaded.tokenizer, loaded.longest_input
    sentences = list(texts or NEUTRAL)
    rows = [ids for text in sentences if len(ids := tokenizer(text)["input_ids"]) <= longest]
    examples = _next_tokens(rows) if loaded.backbone.causal else _gaps(rows, tokenizer)
    if not examples:
        raise InputError(f"{run}: no sentence to try the model on fits into it", "give others with --data")

    def computed(batch: Batch) -> Tensor:
        return items_of(logits_of(model, batch), batch)

    collate = PadBatch(tokenizer.pad_token_id)
    return Subject(model.eval(), tokenizer, computed, list(batches_of(examples, collate)), sentences)


def parser_scores(parser: Any, batch: Batch) -> Tensor:
    """A parser's scores [2 words, most]: of each word for all heads, and for all relations to the batch's head."""
    vectors = parser.word_vectors(batch)
    scores = [parser.head.arcs(vectors, batch), parser.head.relations(vectors, batch, batch["heads"])]
    width = max(one.shape[1] for one in scores)
    return torch.cat([pad(one, (0, width - one.shape[1]), value=NO_ARC) for one in scores])


def logits_of(model: PreTrainedModel, batch: Batch) -> Tensor:
    """A language model's logits [batch, length, vocabulary]."""
    kept: dict[str, Any] = {"use_cache": False} if backbone_of(model).causal else {}
    logits: Tensor = model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"), **kept).logits
    return logits


def batches_of(examples: Sequence[Example], collate: Callable[[Sequence[Example]], Batch]) -> Iterator[Batch]:
    """The examples a few at a time, in their order, so that short ones stand beside long ones and are padded."""
    return (collate(examples[start : start + AT_ONCE]) for start in range(0, len(examples), AT_ONCE))


def items_of(logits: Tensor, batch: Batch) -> Tensor:
    """The logits [items, classes] of a batch's labelled items.

    From those of sentences [batch, classes], or of all tokens [batch, length, classes]; where a word is the mean
    over its tokens, so are its logits, the head being linear.
    """
    if logits.dim() == 2:
        return logits
    used = batch["labels"] != IGNORED
    return means_over_words(logits[used], batch["labels"][used])


def _gaps(rows: Sequence[Sequence[int]], tokenizer: Any) -> list[Example]:
    """Each row once for each of its tokens, masked; at most ``GAPS`` of them, evenly."""
    special = set(tokenizer.all_special_ids)
    examples = []
    for row in rows:
        for place, token in enumerate(row):
            if token in special:
                continue
            ids, labels = np.asarray(row, dtype=np.int64), np.full(len(row), IGNORED, dtype=np.int64)
            ids[place], labels[place] = tokenizer.mask_token_id, token
            examples.append({"input_ids": ids, "labels": labels})
    step = max(1, -(-len(examples) // GAPS))
    return examples[::step]


def _next_tokens(rows: Sequence[Sequence[int]]) -> list[Example]:
    """Each row, with a label at every token."""
    return [{"input_ids": np.asarray(row), "labels": np.asarray(row)} for row in rows if len(row)]
