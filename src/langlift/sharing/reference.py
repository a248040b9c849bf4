"""The run that is exported: its model, the batches on which exports are compared with it, and its records."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
from langlift.checkpoints.adapter_folder import load_language_model, read_identity
from langlift.checkpoints.exporting import Exported, file_sizes
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.corpus.text_data import texts_to_score
from langlift.errors import InputError, LangliftError
from langlift.files import write_json
from langlift.heads.biaffine import NO_ARC, DependencyParser
from langlift.heads.classification import means_over_words
from langlift.masking import IGNORED
from langlift.model_cards import render_card, split_front_matter
from langlift.tasks.learner import Split, text_of
from langlift.tasks.prediction import TrainedTask, is_task_run, load_trained_task, seed_folder
from langlift.tasks.runner import PREDICTIONS
from langlift.training import run_folder
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
EXPORT_FILE, README = "export.json", "README.md"
KEPT_FACTS = ("language", "license", "base_model", "datasets")
"""Keys of a card's front matter that exports keep."""
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
"""The files of a model and its tokenizer in a model folder."""
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

    def require(self, what: str) -> None:
        """Raise a LangliftError if the logits differ by more than ``LIMIT``."""
        if not self.difference <= LIMIT:
            raise LangliftError(
                f"{what} does not compute what the run computes: logits differ by up to {self.difference:.2g} "
                f"(allowed: {LIMIT:g}), {self.agreement:.1%} of the answers are the same",
                "nothing was written; please report this with the method and the name of the base model",
            )


def compared(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Parity:
    """Compare logits of the same batches; NaN is an infinite difference."""
    items, same, difference = 0, 0, 0.0
    for theirs, ours in zip(expected, found, strict=True):
        largest = float((theirs - ours).abs().max())
        difference = max(difference, largest if largest == largest else float("inf"))
        same += int((theirs.argmax(dim=-1) == ours.argmax(dim=-1)).sum())
        items += len(theirs)
    return Parity(items, difference, same / items)


@dataclass(frozen=True)
class Reference:
    """A run's model on the CPU, without dropout, and padded batches to compare its exports on.

    ``source`` is its folder, and ``base`` the name that replaces the recorded base model, if there is one.
    ``compute`` returns the run's own logits for a batch. ``trained`` is the run of a task, ``None`` for a language
    model; ``test`` is its test split as saved by the run, or that of ``--data``.
    """

    source: Path
    base: str
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

    def finish(
        self,
        out: Path,
        staging: Path,
        parity: Parity,
        library: str,
        facts: Mapping[str, Any],
        template: str,
        **values: Any,
    ) -> Exported:
        """Write ``export.json`` and the card of an export into ``staging``; returns its result.

        ``facts`` are recorded too. The card includes the run's own, except for how the run is used.
        """
        source, pipeline_tag = self.source, self.pipeline_tag
        recipe = read_recipe(source)
        recorded = inputs_in(recipe).get("base")
        if (source / CONFIG_FILE).is_file():  # in a family, the base with the family's vocabulary
            recorded = read_identity(source).get("model_name") or recorded
        origin: dict[str, Any] = {
            "name": source.resolve().name,
            "method": settings_in(recipe).get("method"),
            "base": self.base or recorded,
        }
        measured = asdict(parity)
        front, text = split_front_matter(read_readme(seed_folder(source) if is_task_run(source) else source))
        front = {key: front[key] for key in KEPT_FACTS if front.get(key)}
        if origin["base"]:
            front.setdefault("base_model", origin["base"])
        front |= {"library_name": library, "pipeline_tag": pipeline_tag, "tags": ["langlift", pipeline_tag]}
        text = re.sub(r"^## Use\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL).strip()
        card = render_card(
            template,
            front=front,
            origin=origin,
            parity=parity,
            limit=LIMIT,
            text=re.sub(r"\A# (.*)", r"**\1**", text),
            loss=facts.get("int8"),
            **values,
        )
        (staging / README).write_text(card, encoding="utf-8")
        write_json(staging / EXPORT_FILE, {"format": library, **origin, **measured, **facts})
        sizes = file_sizes(staging)
        return Exported(str(out), origin["name"], library, list(sizes), sizes, **measured, int8=facts.get("int8"))


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
    return Reference(run, base.name, model.eval(), tokenizer, partial(plain_logits, model), batches, sentences)


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
    sentences = list(map(text_of, inputs))
    return Reference(run, base.name, model, trained.tokenizer, compute, batches, sentences, trained, test)


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


def read_readme(folder: Path) -> str:
    """The card of a run or a model; empty if there is none."""
    path = next((path for path in (folder / README, folder / "model" / README) if path.is_file()), None)
    return path.read_text(encoding="utf-8", errors="replace") if path else ""


def read_recipe(source: Path) -> dict[str, Any]:
    """The recipe of a run or of its first seed; empty if there is none, or if it is damaged."""
    return next(filter(None, map(run_folder.read_recipe, (source, *sorted(source.glob("seed-*"))))), {})


def inputs_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The base, language and data in a recipe."""
    return recipe.get("inputs") or {}


def settings_in(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a recipe."""
    return recipe.get(str(recipe.get("command"))) or {}
