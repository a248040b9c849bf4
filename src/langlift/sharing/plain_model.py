"""``langlift export --to transformers``: a model folder that transformers loads without langlift."""

import shutil
from collections.abc import Mapping
from copy import deepcopy
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from langlift.adapters.composition import attached
from langlift.adapters.method import exported_to, one_of
from langlift.adapters.peft_adapter import merge
from langlift.backbones.base_name import BaseName
from langlift.backbones.eight_bits import has_eight_bits
from langlift.backbones.loading import quiet_transformers
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import read_description
from langlift.checkpoints.exporting import Exported
from langlift.checkpoints.layouts import CONFIG_FILE, FUSION_CONFIG
from langlift.errors import InputError, LangliftError
from langlift.files import check_new_folder, new_folder, read_json, write_json
from langlift.sharing.reference import MODEL_FILES, Reference, compared, load_reference, plain_logits
from langlift.tasks.prediction import TrainedTask, is_task_run, seed_folder
from langlift.tasks.runner import HEAD
from langlift.tasks.task import TASKS

ROBERTA_SENTENCE = {"classifier.dense": "dense", "classifier.out_proj": "output"}
SENTENCE_HEADS: dict[str, dict[str, str]] = {
    "bert": {"bert.pooler.dense": "dense", "classifier": "output"},
    "roberta": ROBERTA_SENTENCE,
    "xlm-roberta": ROBERTA_SENTENCE,
}
"""Dense, tanh, linear on the first token."""
ENCODER_TAGGER, DECODER_TAGGER = {"classifier": "output"}, {"score": "output"}
TOKEN_HEADS: dict[str, dict[str, str]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "distilbert"), ENCODER_TAGGER),
    **dict.fromkeys(("llama", "qwen2", "qwen3", "gemma", "gemma2"), DECODER_TAGGER),
}
"""A linear layer on every token's last hidden state."""
ALTERNATIVE = "--to onnx keeps model and head in one file; 'langlift predict' and 'langlift push' use the run"


def head_parts(model_type: str, verb: str, pooling: str, source: Path) -> Mapping[str, str]:
    """The modules of transformers' classifier for the parts of a task's head; an InputError if it differs."""
    kind, heads = ("token", TOKEN_HEADS) if verb == "tag" else ("sentence", SENTENCE_HEADS)
    if model_type not in heads:
        raise InputError(
            f"{source}: transformers' {kind} classifier for {model_type} computes something else", ALTERNATIVE
        )
    if verb == "classify" and pooling != "first":
        raise InputError(
            f"{source}: pooling is '{pooling}'; transformers' classifier for {model_type} uses the first token",
            ALTERNATIVE,
        )
    return heads[model_type]


def export_transformers(source: Path, out: Path, base: BaseName, data: str | None) -> Exported:
    """Write a run as one plain model into the new folder ``out``, if that is exact.

    Whole models are copied, adapters merged into the base's weights, and the heads of tasks become transformers'.

    Raises:
        InputError: no finished run, or one that no plain model can express, with the reason.
        LangliftError: the model that was written does not compute what the run computes.
    """
    check_new_folder(out)
    folder = seed_folder(source) if is_task_run(source) else source
    head, model_type = read_json(folder / HEAD), read_json(folder / "config.json").get("model_type")
    task = TASKS.get(str(head.get("task")))
    if task and task.verb == "parse":
        raise InputError(
            f"{source}: a dependency parser, which transformers does not have",
            "--to onnx gives the scores of its arcs; share the run itself with 'langlift push'",
        )
    _require_mergeable(folder, source)
    if task and model_type and "pooling" in head:  # before the model is loaded
        head_parts(str(model_type), task.verb, str(head["pooling"]), source)
    run = load_reference(source, base, data)
    with new_folder(out) as staging, quiet_transformers():
        expected = run.logits(run.compute)
        auto_class = _write_model(run, source, staging)
        _load_alike(staging)
        written = auto_class.from_pretrained(staging, dtype=torch.float32).eval()
        parity = compared(expected, run.logits(partial(plain_logits, written)))
        parity.require(f"{source} as a plain model")
        tokenizer = transformers.AutoTokenizer.from_pretrained(staging)
        run.require_same_tokens(lambda text: tokenizer(text)["input_ids"])
        words = None
        if run.trained and task and task.verb == "tag":  # the token of a word that has its label
            every = run.trained.settings["label_subwords"] == "every"
            words = "every" if every else run.trained.settings["pooling"]
        facts, template = {"model_class": type(written).__name__}, "export_transformers.md"
        card = {"kind": auto_class.__name__, "words": words}
        return run.finish(out, staging, parity, "transformers", facts, template, **card)


def _require_mergeable(folder: Path, source: Path) -> None:
    """Raise an InputError for adapters that cannot be merged into a plain model."""
    if not (folder / CONFIG_FILE).is_file() or "peft_type" in read_description(folder):
        return
    fused = (folder / FUSION_CONFIG).exists()
    what = "the attention of a fusion" if fused else "the relu of a bottleneck adapter"
    raise InputError(
        f"{source}: {what} does not fit into a weight of the base: it cannot be merged into a plain model",
        "--to onnx keeps everything in one file; --to adapterhub keeps it an adapter; adapters of "
        f"--method {one_of(exported_to('transformers'))} can be merged",
    )


def _write_model(run: Reference, source: Path, staging: Path) -> Any:
    """Write the model and its tokenizer; returns the class that loads it."""
    if run.trained is not None:
        auto_class, model = _classifier(run.trained, source)
    else:
        model = run.body
        auto_class = (
            transformers.AutoModelForCausalLM if backbone_of(model).causal else transformers.AutoModelForMaskedLM
        )
        folder = source if (source / "config.json").is_file() else source / "model"
        if attached(model):
            merge(model)
        elif not has_eight_bits(folder):
            for path in sorted(folder.iterdir()):
                if any(fnmatch(path.name, pattern) for pattern in MODEL_FILES):
                    shutil.copyfile(path, staging / path.name)
            return auto_class
    model.save_pretrained(staging)
    run.tokenizer.save_pretrained(staging)
    return auto_class


def _load_alike(staging: Path) -> None:
    """Have transformers 4 and 5 load the files without options, and compute in float32, as they are compared."""
    for name, key, found, wanted in (
        ("config.json", "dtype", "float16", "float32"),  # 16 bits save space in bundled and pre-trained models
        ("tokenizer_config.json", "tokenizer_class", "TokenizersBackend", "PreTrainedTokenizerFast"),
    ):
        settings = read_json(staging / name)
        if settings.get(key) == found:
            write_json(staging / name, {**settings, key: wanted})


def _classifier(trained: TrainedTask, source: Path) -> tuple[Any, transformers.PreTrainedModel]:
    """transformers' classifier with the weights of the run's body and head, and the class that loads it."""
    body, head = trained.model.body, trained.model.head
    model_type = str(body.config.model_type)
    config: Any = deepcopy(body.config)
    config.id2label = dict(enumerate(trained.labels))
    config.label2id = {label: number for number, label in enumerate(trained.labels)}
    parts = head_parts(model_type, trained.task.verb, trained.settings["pooling"], source)
    auto_class: Any = transformers.AutoModelForTokenClassification
    if trained.task.verb == "classify":
        auto_class = transformers.AutoModelForSequenceClassification
        config.problem_type = "single_label_classification"
    model: transformers.PreTrainedModel = auto_class.from_config(config, dtype=torch.float32)
    prefix = model.base_model_prefix
    weights = {f"{prefix}.{key}": one for key, one in body.state_dict().items() if not key.startswith("pooler.")}
    for theirs, ours in parts.items():
        weights |= {f"{theirs}.{key}": one for key, one in head.get_submodule(ours).state_dict().items()}
    found = model.load_state_dict(weights, strict=False)
    if different := [*found.missing_keys, *found.unexpected_keys]:
        raise LangliftError(
            f"{type(model).__name__} has a different body than the run ({different[0]})",
            "please report this with the name of the base model",
        )
    return auto_class, model.eval()
