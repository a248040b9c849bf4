"""Adapt a base model to a language: train an adapter, or the whole model, on its text."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedModel, set_seed

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import AdapterConfig, attach, method_of, train_only
from langlift.adapters.lora import LoraConfig
from langlift.adapters.mosa import Mixture, MosaConfig, mix
from langlift.backbones.loading import (
    default_device,
    load_masked_model,
    load_tokenizer,
    longest_input,
    quiet_transformers,
)
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import load_adapter, read_config, save_adapter
from langlift.config.loading import recorded
from langlift.config.recipes import AdaptRecipe
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.languages import Language
from langlift.masking.masked_language_model import MaskedLanguageModel
from langlift.training.consistency import DrawExperts, consistent_masked_loss
from langlift.training.examples import LengthGroups, OnePass, Schedule, masked_examples
from langlift.training.memory import peak_memory_bytes
from langlift.training.model_cards import adaptation_card
from langlift.training.paths import masked_path
from langlift.training.precision import Arithmetic, prepare_arithmetic
from langlift.training.reporting import TrainingReport
from langlift.training.run_folder import (
    CHECKPOINTS,
    METRICS,
    atomic_files,
    is_finished,
    open_run,
    read_metrics,
    sha256_of,
    write_json,
    write_text,
)
from langlift.training.trainer import LiftTrainer, best_of, on_device, training_arguments, validation_loss

CHECKED_EXAMPLES = 16
"""So many dev examples, short and long ones, make the batch on which bf16 is checked."""


@dataclass(frozen=True)
class AdaptResult:
    """What ``langlift adapt`` made. Losses are nats per masked token of the dev split."""

    adapter: str
    language: str
    method: str
    steps: int
    best_step: int
    validation_loss: float
    validation_loss_before: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    trainable_parameters: int
    path: str = "naive"
    precision: str = "float32"


def adapter_config(recipe: AdaptRecipe) -> AdapterConfig | None:
    """The adapter a recipe asks for, as it is saved; ``None`` trains the whole model."""
    if recipe.method == "full":
        return None
    if recipe.method == "lora":
        return LoraConfig(rank=recipe.lora_rank, alpha=recipe.lora_alpha)
    return SeqBnConfig(
        reduction_factor=recipe.reduction_factor,
        invertible=recipe.method == "seq_bn_inv",
        inverse_at_head=recipe.inverse_at_head,
    )


def require_same_adapter(folder: Path, model: PreTrainedModel, config: AdapterConfig | None) -> None:
    """Raise an InputError unless the adapter in ``folder`` is the one that ``config`` describes."""
    found = read_config(folder, backbone_of(model))
    if config is None:
        raise InputError(
            f"{folder}: an adapter, and the method is full", "choose the adapter's method with --method"
        )
    there, here = _settings(found), _settings(config)
    differing = [key for key, value in there.items() if here.get(key, value) != value]
    if differing:
        said = ", ".join(f"{key} {there[key]} (not {here[key]})" for key in differing)
        hint = " ".join(f"--set {key}={json.dumps(there[key])}" for key in differing).replace('"', "")
        raise InputError(f"{folder}: the adapter to start from has {said}", f"add {hint}")


def _settings(config: AdapterConfig) -> dict[str, Any]:
    """The recipe's settings that describe an adapter."""
    if isinstance(config, LoraConfig):
        return {"method": method_of(config), "lora_rank": config.rank, "lora_alpha": config.alpha}
    inverse = {"inverse_at_head": config.inverse_at_head} if config.invertible else {}
    return {"method": method_of(config), "reduction_factor": config.reduction_factor, **inverse}


def adapt(
    language: Language,
    base: str,
    data: Path,
    out: Path,
    recipe: AdaptRecipe,
    resume: bool = False,
    trust_remote_code: bool = False,
    init: Path | None = None,
) -> AdaptResult:
    """Train an adapter (or the whole model) for ``language`` on the train split of ``data``.

    ``data`` is a text file, split 80/10/10 by document, or a built data folder. The weights kept are
    those with the lowest loss on the dev split, the untouched model included. ``out`` becomes a run
    folder that holds the adapter. With ``init`` training goes on from the adapter in that folder, whose
    method and settings must be the recipe's; "before" is then the loss with that adapter.

    Raises:
        InputError: bad data, base or recipe, or ``out`` holds another run.
        LangliftError: the run failed, for example because ``out`` cannot be written.
    """
    texts = load_text_data(data)
    tokenizer = load_tokenizer(base, trust_remote_code)
    model = load_masked_model(base, trust_remote_code)
    longest = min(recipe.max_tokens, longest_input(model, tokenizer))
    train = _encode(tokenizer, texts.train, longest, f"{data} (train split)")
    dev = _encode(tokenizer, texts.dev, longest, f"{data} (dev split)")
    if len(dev) > recipe.validation_examples:
        chosen = np.random.default_rng(0).choice(len(dev), recipe.validation_examples, replace=False)
        dev = [dev[i] for i in chosen]
    name, config = str(language), adapter_config(recipe)
    inputs = {"language": str(language), "base": base, "data": data.name, "data_sha256": texts.sha256}
    if init is not None:
        require_same_adapter(init, model, config)
        load_adapter(model, init, name)  # one that does not fit is told before anything is written
        weights = sorted(init.glob("adapter*.safetensors"))
        inputs |= {"init": init.resolve().name, "init_sha256": sha256_of(weights)}
    open_run(out, recorded("adapt", inputs, recipe), resume, may_change=frozenset({"path"}))
    if is_finished(out):
        return AdaptResult(**read_metrics(out))

    set_seed(recipe.seed)
    if config is not None and init is None:
        attach(model, name, config)
    mixture = None
    if recipe.method == "mosa":
        mosa = MosaConfig(recipe.experts, recipe.share, recipe.merge)
        mixture = mix(model, name, mosa, fresh=init is None)
    train_only(model, None if config is None else name)
    trainer, report, arithmetic = _trainer(model, tokenizer, train, dev, out, recipe, mixture)
    try:
        trainer.resume_or_start()
    finally:
        report.close()

    best = best_of(out / CHECKPOINTS)
    result = AdaptResult(
        adapter=str(out),
        language=str(language),
        method=recipe.method,
        steps=recipe.steps,
        best_step=best["step"],
        validation_loss=best["value"],
        validation_loss_before=report.first["validation_loss"],
        tokens=int(trainer.state.num_input_tokens_seen),
        tokens_per_second=round(report.tokens_per_second, 1),
        peak_memory_bytes=peak_memory_bytes(),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        path=recipe.path,
        precision=arithmetic.name,
    )
    if mixture is not None:
        mixture.merge()
    with atomic_files(out) as staging, quiet_transformers():
        if config is None:
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
        else:
            save_adapter(model, name, config, staging, base)
    write_text(out / "README.md", adaptation_card(language, base, data.name, recipe, result, inputs.get("init")))
    write_json(out / METRICS, asdict(result))
    shutil.rmtree(out / CHECKPOINTS)
    return result


def _encode(tokenizer: Any, texts: Sequence[str], max_tokens: int, source: str) -> list[npt.NDArray[np.int64]]:
    """Token ids of each text that holds an ordinary token, special ones included.

    A text of more than ``max_tokens`` becomes several examples.
    """
    encoded = tokenizer(
        list(texts), truncation=True, max_length=max_tokens, return_overflowing_tokens=True, verbose=False
    )["input_ids"]
    special = list(tokenizer.all_special_ids)
    rows = [np.asarray(ids, dtype=np.int64) for ids in encoded]
    rows = [row for row in rows if not np.isin(row, special).all()]
    if not rows:
        raise InputError(
            f"{source}: no text holds a token that the base model knows",
            "the model has never seen this script; try another base, such as FacebookAI/xlm-roberta-base",
        )
    return rows


def _trainer(
    model: PreTrainedModel,
    tokenizer: Any,
    train: Sequence[npt.NDArray[np.int64]],
    dev: Sequence[npt.NDArray[np.int64]],
    out: Path,
    recipe: AdaptRecipe,
    mixture: Mixture | None = None,
) -> tuple[LiftTrainer, TrainingReport, Arithmetic]:
    masking = MaskedLanguageModel(
        mask_token_id=tokenizer.mask_token_id,
        special_ids=frozenset(tokenizer.all_special_ids),
        vocabulary_size=len(tokenizer),
        share=recipe.masking_share,
    )
    device = default_device()
    model.to(device)
    path = masked_path(recipe.path, model, tokenizer.pad_token_id)
    loss = path.loss
    if mixture is not None and recipe.consistency > 0:
        loss = consistent_masked_loss(recipe.path, mixture, recipe.consistency)
    # The dev masks are the same for every seed, so that runs can be compared.
    held_out = OnePass(masked_examples(sorted(dev, key=len), masking, seed=0), len(dev))
    some = np.unique(np.linspace(0, len(dev) - 1, CHECKED_EXAMPLES).astype(int))
    checked = on_device(path.collate([held_out[int(i)] for i in some]), device)
    arithmetic = prepare_arithmetic(recipe.precision, model, lambda: path.loss(model, checked)[0], device)
    report = TrainingReport(out, f"adapting ({recipe.method})")
    trainer = LiftTrainer(
        model,
        training_arguments(
            out,
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            batch_size=recipe.batch_size,
            accumulation=1,
            warmup_share=recipe.warmup_share,
            weight_decay=recipe.weight_decay,
            validate_every=min(recipe.validate_every, ceil(recipe.steps / 4)),
            save_every=recipe.save_steps,
            seed=recipe.seed,
        ),
        loss=loss,
        validation=validation_loss(path.loss, held_out, path.collate, batch_size=32),
        best_by="loss",
        greater_is_better=False,
        train_dataset=Schedule(
            masked_examples(train, masking, recipe.seed),
            len(train),
            recipe.seed,
            recipe.steps * recipe.batch_size,
            LengthGroups(np.asarray([len(row) for row in train]), recipe.batch_size),
        ),
        collate=path.collate,
        bf16=arithmetic.bf16,
        callbacks=[report] if mixture is None else [report, DrawExperts(mixture)],
    )
    return trainer, report, arithmetic
