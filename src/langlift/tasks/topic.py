"""Topic classification: a task adapter alone or stacked on a language adapter, or full fine-tuning."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from safetensors.torch import save_file
from transformers import PreTrainedModel, set_seed

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, train_only
from langlift.backbones.loading import default_device, load_masked_model, load_tokenizer, quiet_transformers
from langlift.checkpoints.adapter_folder import load_adapter, save_adapter
from langlift.checkpoints.layouts import ADAPTERHUB_WEIGHTS, CONFIG_FILE, PEFT_WEIGHTS
from langlift.config.loading import recorded
from langlift.config.recipes import TaskRecipe
from langlift.errors import InputError
from langlift.evaluation.classification import macro_f1
from langlift.heads.classification import summed_classification_loss
from langlift.tasks.baselines import text_baseline
from langlift.tasks.labelled_text import LabelledText, read_labelled_text, read_test_split, split_files
from langlift.tasks.sentence_classifier import SentenceEncoder, class_probabilities, new_classifier
from langlift.training.examples import LengthGroups, Schedule, labelled_examples
from langlift.training.memory import peak_memory_bytes
from langlift.training.model_cards import topic_card
from langlift.training.precision import prepare_arithmetic
from langlift.training.reporting import TrainingReport
from langlift.training.run_folder import (
    CHECKPOINTS,
    METRICS,
    atomic_file,
    atomic_files,
    atomic_folder,
    is_finished,
    open_run,
    read_metrics,
    sha256_of,
    write_json,
    write_text,
)
from langlift.training.trainer import LiftTrainer, best_of, on_device, training_arguments

TASK_ADAPTER = "topic"
METRIC = "macro_f1"
LANGUAGE_ADAPTER = "language_adapter"
"""A copy of the language adapter in the run's folder, so that the run is whole by itself."""
HEAD, HEAD_WEIGHTS = "head.json", "head.safetensors"


@dataclass(frozen=True)
class TaskResult:
    """What ``langlift task topic`` measured on the test split: macro-F1, 0 to 100.

    ``seeds`` has a value for each seed, ``std`` is their sample standard deviation (0 for one seed).
    """

    task: str
    metric: str
    mean: float
    std: float
    seeds: list[float]
    baseline: dict[str, float]
    method: str
    language_adapter: str | None
    trainable_parameters: int
    train_examples: int
    test_examples: int


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
    """Train and test a topic classifier once for each seed; each seed is a run folder ``out/seed-N``.

    The weights kept are the best by macro-F1 on dev. With ``language_adapter`` the task adapter is
    stacked on that frozen adapter. With ``train_data`` train and dev come from there and only the
    test split from ``data`` (zero-shot transfer between languages).

    Raises:
        InputError: bad data, base, adapter or recipe, or ``out`` holds another run.
    """
    if recipe.method == "full" and language_adapter is not None:
        raise InputError(
            "--method full cannot be stacked on a language adapter: it trains the whole model",
            "leave out --language-adapter, or train a task adapter (--method seq_bn)",
        )
    splits = read_labelled_text(train_data or data)
    if train_data is not None:
        splits["test"] = read_test_split(data, set(splits["train"].labels))
    inputs = {
        "task": "topic",
        "base": base,
        "data": data.name,
        "train_data": train_data.name if train_data else None,
        "data_sha256": sha256_of([*split_files(train_data or data), data / "test.tsv"]),
        "language_adapter": str(language_adapter) if language_adapter else None,
        "language_adapter_sha256": _adapter_sha256(language_adapter),
    }
    tokenizer = load_tokenizer(base, trust_remote_code)
    labels = sorted(set(splits["train"].labels))

    def new_model() -> PreTrainedModel:
        model = load_masked_model(base, trust_remote_code, head_needed=False)
        if language_adapter is not None:
            load_adapter(model, language_adapter, name="language")
        return model

    new_model()  # a base or adapter that does not fit is told before anything is written
    open_run(out, recorded("task", inputs, recipe), resume, may_change=frozenset({"path"}))
    if is_finished(out):
        return TaskResult(**read_metrics(out))
    if language_adapter is not None:
        with atomic_folder(out / LANGUAGE_ADAPTER) as staging:
            for name in (CONFIG_FILE, ADAPTERHUB_WEIGHTS, PEFT_WEIGHTS):
                if (language_adapter / name).exists():
                    shutil.copy(language_adapter / name, staging)
    runs = [
        _one_seed(out / f"seed-{seed}", seed, splits, labels, new_model, tokenizer, recipe, inputs)
        for seed in recipe.seeds
    ]
    scores = [run["test_macro_f1"] for run in runs]
    chosen = _subset(splits["train"], recipe.train_examples, recipe.seeds[0])
    result = TaskResult(
        task="topic",
        metric=METRIC,
        mean=mean(scores),
        std=stdev(scores) if len(scores) > 1 else 0.0,
        seeds=scores,
        baseline=asdict(text_baseline(chosen, splits["test"])),
        method=recipe.method,
        language_adapter=inputs["language_adapter"],
        trainable_parameters=runs[0]["trainable_parameters"],
        train_examples=len(chosen.texts),
        test_examples=len(splits["test"].texts),
    )
    write_json(out / METRICS, asdict(result))
    return result


def _one_seed(
    folder: Path,
    seed: int,
    splits: Mapping[str, LabelledText],
    labels: Sequence[str],
    new_model: Callable[[], PreTrainedModel],
    tokenizer: Any,
    recipe: TaskRecipe,
    inputs: Mapping[str, Any],
) -> dict[str, Any]:
    """Train, test and save one seed's run; a finished one is read back."""
    record = recorded("task", {**inputs, "seed": seed}, recipe)
    open_run(folder, record, resume=True, may_change=frozenset({"path"}))
    if is_finished(folder):
        return read_metrics(folder)
    set_seed(seed)
    masked_model = new_model()
    config = SeqBnConfig(reduction_factor=recipe.reduction_factor) if recipe.method == "seq_bn" else None
    if config is not None:
        attach(masked_model, TASK_ADAPTER, config)
    model = new_classifier(masked_model, len(labels), recipe.pooling)
    train_only(model, None if config is None else TASK_ADAPTER)
    model.head.requires_grad_(True)

    train = _subset(splits["train"], recipe.train_examples, seed)
    encode = SentenceEncoder(tokenizer, masked_model, recipe.max_tokens, recipe.path)
    rows = encode(train.texts)
    example_of = labelled_examples(rows, [labels.index(label) for label in train.labels])
    device = default_device()
    model.to(device)
    checked = on_device(
        encode.collate([example_of(i, 0) for i in range(min(recipe.batch_size, len(rows)))]), device
    )
    arithmetic = prepare_arithmetic(
        recipe.precision, model, lambda: summed_classification_loss(model, checked)[0], device
    )

    def predict(texts: Sequence[str]) -> list[str]:
        probabilities = class_probabilities(model, encode, texts, arithmetic.bf16)
        return [labels[best] for best in probabilities.argmax(axis=1)]

    steps_an_epoch = max(1, round(len(train.texts) / recipe.batch_size))
    steps = ceil(recipe.epochs * len(train.texts) / recipe.batch_size)
    report = TrainingReport(folder, f"topic (seed {seed})")
    trainer = LiftTrainer(
        model,
        training_arguments(
            folder,
            steps=steps,
            learning_rate=recipe.learning_rate,
            batch_size=recipe.batch_size,
            accumulation=1,
            warmup_share=recipe.warmup_share,
            weight_decay=recipe.weight_decay,
            validate_every=steps_an_epoch,
            save_every=steps_an_epoch * max(1, recipe.epochs // 4),
            seed=seed,
        ),
        loss=summed_classification_loss,
        validation=lambda _: {METRIC: macro_f1(splits["dev"].labels, predict(splits["dev"].texts))},
        best_by=METRIC,
        greater_is_better=True,
        train_dataset=Schedule(
            example_of,
            len(rows),
            seed,
            steps * recipe.batch_size,
            LengthGroups(np.asarray([len(row) for row in rows]), recipe.batch_size),
        ),
        collate=encode.collate,
        bf16=arithmetic.bf16,
        callbacks=[report],
    )
    try:
        trainer.resume_or_start()
    finally:
        report.close()
    predicted = predict(splits["test"].texts)
    best = best_of(folder / CHECKPOINTS)
    metrics = {
        "seed": seed,
        "steps": steps,
        "best_step": best["step"],
        "dev_macro_f1": best["value"],
        "test_macro_f1": macro_f1(splits["test"].labels, predicted),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "tokens_per_second": round(report.tokens_per_second, 1),
        "peak_memory_bytes": peak_memory_bytes(),
        "path": recipe.path,
        "precision": arithmetic.name,
    }
    with atomic_files(folder) as staging, quiet_transformers():
        save_file(model.head.state_dict(), staging / HEAD_WEIGHTS)
        head = {"task": "topic", "labels": list(labels), "pooling": recipe.pooling}
        (staging / HEAD).write_text(json.dumps(head, indent=2, ensure_ascii=False) + "\n", "utf-8")
        if config is None:
            # Without the masked head, which no longer fits its body.
            masked_model.base_model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
        else:
            save_adapter(masked_model, TASK_ADAPTER, config, staging, inputs["base"])
    with atomic_file(folder / "test_predictions.jsonl") as path, path.open("w", encoding="utf-8") as file:
        for text, gold, label in zip(splits["test"].texts, splits["test"].labels, predicted, strict=True):
            file.write(json.dumps({"text": text, "gold": gold, "predicted": label}, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", topic_card(inputs, recipe, labels, metrics))
    write_json(folder / METRICS, metrics)
    shutil.rmtree(folder / CHECKPOINTS)
    return metrics


def _adapter_sha256(folder: Path | None) -> str | None:
    return None if folder is None else sha256_of(sorted(folder.glob("*.safetensors")))


def _subset(data: LabelledText, size: int, seed: int) -> LabelledText:
    """``size`` examples drawn without replacement (all of them for 0)."""
    if size == 0 or size >= len(data.texts):
        return data
    chosen = sorted(np.random.default_rng(seed).choice(len(data.texts), size, replace=False))
    return LabelledText([data.texts[i] for i in chosen], [data.labels[i] for i in chosen])
