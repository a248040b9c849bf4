"""``langlift export --to transformers``: a model folder that transformers loads without langlift."""

import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from langlift.adapters.method import METHODS, exported_to, one_of
from langlift.adapters.peft_adapter import merge
from langlift.backbones.base_name import BaseName
from langlift.backbones.eight_bits import has_eight_bits
from langlift.backbones.loading import quiet_transformers
from langlift.backbones.registry import backbone_of, backbone_of_type
from langlift.checkpoints.adapter_folder import read_config, read_description, read_identity
from langlift.checkpoints.layouts import CONFIG_FILE, FUSION_CONFIG
from langlift.errors import InputError, LangliftError
from langlift.files import check_new_folder, new_folder
from langlift.sharing.exported import EXPORT_FILE, MODEL_FILES, Exported, file_sizes, origin_of, read_json
from langlift.sharing.exported_cards import plain_card
from langlift.sharing.parity import answers_to, compared, require_parity
from langlift.sharing.stock_heads import sentence_head, token_head
from langlift.sharing.subjects import Subject, items_of, subject_of
from langlift.tasks.prediction import TrainedTask, is_task_run, seed_folder
from langlift.tasks.runner import HEAD
from langlift.tasks.task import TASKS
from langlift.training.trainer import Batch


def export_transformers(source: Path, out: Path, base: BaseName, data: str | None) -> Exported:
    """Write a run as one plain model into the new folder ``out``: what is exact, with everything inside.

    Whole models are copied, adapters merged into the base's weights, the heads of tasks become transformers' own.

    Raises:
        InputError: no finished run, or one that no plain model can express; the reason and what can are said.
        LangliftError: the model that was written does not compute what the run computes.
    """
    check_new_folder(out)
    task = TASKS.get(str(read_json(seed_folder(source) / HEAD).get("task"))) if is_task_run(source) else None
    if task and task.verb == "parse":
        raise InputError(
            f"{source}: a dependency parser, of which transformers has none",
            "--to onnx gives the scores of its arcs; share the run itself with 'langlift push'",
        )
    _require_plain(seed_folder(source) if is_task_run(source) else source, source)
    subject = subject_of(source, base, data)
    make = _stock_model if subject.trained else _plain
    with new_folder(out) as staging, quiet_transformers():
        expected = answers_to(subject.batches, subject.computed)
        kind = _copied(source, staging, subject) or _saved(make(subject, source), subject, staging)
        stock = kind.from_pretrained(staging, dtype=torch.float32).eval()
        parity = compared(expected, answers_to(subject.batches, lambda batch: _computed(stock, batch)))
        require_parity(parity, f"{source} as a plain model")
        _require_same_tokens(subject, staging)
        origin = origin_of(source, base.name)
        record = {"format": "transformers", **origin, "model_class": type(stock).__name__, **asdict(parity)}
        (staging / EXPORT_FILE).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
        tag = subject.trained.task.pipeline_tag if subject.trained else None
        card = plain_card(origin, kind.__name__, tag, _words(subject.trained), parity, source)
        (staging / "README.md").write_text(card, encoding="utf-8")
        sizes = file_sizes(staging)
    return Exported(str(out), origin["name"], "transformers", list(sizes), sizes, **asdict(parity))


def _require_plain(folder: Path, source: Path) -> None:
    """Raise an InputError for adapters that no plain model can hold."""
    if not (folder / CONFIG_FILE).is_file():
        return
    if (folder / FUSION_CONFIG).exists():
        what = "a fusion of adapters, which attends to them anew for every token"
    elif "peft_type" in read_description(folder):
        return
    else:
        config = read_config(folder, backbone_of_type(str(read_identity(folder).get("model_type"))))
        what = f"a bottleneck adapter ({config.method}), whose relu no weight of the base can take in"
    raise InputError(
        f"{source}: {what}: it cannot be merged into a plain model",
        "--to onnx holds everything in one file; --to adapterhub keeps it an adapter; what "
        f"--method {one_of(exported_to('transformers'))} makes can be plain",
    )


def _copied(source: Path, staging: Path, subject: Subject) -> Any:
    """Copy a language model that is plain already; returns its kind, or ``None`` where there is more to do."""
    folder = source if (source / "config.json").is_file() else source / "model"
    if subject.trained is not None or subject.adapters or has_eight_bits(folder):
        return None
    for path in sorted(folder.iterdir()):
        if any(fnmatch(path.name, pattern) for pattern in MODEL_FILES):
            shutil.copyfile(path, staging / path.name)
    return _language_kind(subject.model)


def _saved(model: PreTrainedModel, subject: Subject, staging: Path) -> Any:
    """Write a model and its tokenizer; returns the class that loads it."""
    model.save_pretrained(staging)
    subject.tokenizer.save_pretrained(staging)
    if subject.trained is None:
        return _language_kind(model)
    tags = subject.trained.task.verb == "tag"
    return AutoModelForTokenClassification if tags else AutoModelForSequenceClassification


def _language_kind(model: Any) -> Any:
    return AutoModelForCausalLM if backbone_of(model).causal else AutoModelForMaskedLM


def _plain(subject: Subject, source: Path) -> PreTrainedModel:
    """The language model as it is, or its base with the adapter merged into the weights."""
    model: Any = subject.model
    if not subject.adapters:
        return model
    method = read_config(source, backbone_of(model)).method
    if not METHODS[method].mergeable:
        raise TypeError(f"{method} cannot be merged")
    merge(model)
    return model


def _stock_model(subject: Subject, source: Path) -> PreTrainedModel:
    """transformers' own classifier with the weights of a task's run."""
    trained = subject.trained
    if trained is None:
        raise TypeError("not a task's run")
    body, head = trained.model.body, trained.model.head
    model_type = str(body.config.model_type)
    tags = trained.task.verb == "tag"
    places = (
        token_head(model_type, source) if tags else sentence_head(model_type, trained.settings["pooling"], source)
    )
    kind = AutoModelForTokenClassification if tags else AutoModelForSequenceClassification
    config: Any = deepcopy(body.config)
    config.id2label = dict(enumerate(trained.labels))
    config.label2id = {label: number for number, label in enumerate(trained.labels)}
    if not tags:
        config.problem_type = "single_label_classification"
    stock: PreTrainedModel = kind.from_config(config, dtype=torch.float32)
    _fill(stock, body, head, places)
    return stock.eval()


def _fill(stock: PreTrainedModel, body: PreTrainedModel, head: nn.Module, places: Mapping[str, str]) -> None:
    """Copy the body, and each part of our head to its place; every weight of the stock model must be had."""
    found = stock.base_model.load_state_dict(body.state_dict(), strict=False)
    filled = set()
    for theirs, ours in places.items():
        stock.get_submodule(theirs).load_state_dict(head.get_submodule(ours).state_dict())
        filled.add(theirs)
    prefix = stock.base_model_prefix
    missing = [key for key in found.missing_keys if not any(f"{prefix}.{key}".startswith(f"{p}.") for p in filled)]
    extra = [key for key in found.unexpected_keys if not key.startswith("pooler.")]
    if missing or extra:
        raise LangliftError(
            f"{type(stock).__name__} has another body than the run ({(missing or extra)[0]})",
            "please report it, with the base model",
        )


def _computed(stock: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """The logits of a batch's items as somebody with transformers alone gets them."""
    ids = batch["input_ids"]
    mask = batch.get("attention_mask", torch.ones_like(ids))
    return items_of(stock(input_ids=ids, attention_mask=mask).logits, batch)


def _require_same_tokens(subject: Subject, folder: Path) -> None:
    """Raise a LangliftError if the tokenizer that was written cuts text otherwise."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in subject.sentences:
        if tokenizer(text)["input_ids"] != subject.tokenizer(text)["input_ids"]:
            raise LangliftError(
                "the tokenizer that was written cuts text otherwise than the run's",
                "nothing was written; please report it, with the base model",
            )


def _words(trained: TrainedTask | None) -> str | None:
    """Which token of a word has its label, of a tagger."""
    if trained is None or trained.task.verb != "tag":
        return None
    every = trained.settings["label_subwords"] == "every"
    return "every" if every else str(trained.settings["pooling"])
