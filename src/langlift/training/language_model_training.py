"""The training of a language model that adaptation to one language and to many have in common."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainerCallback

from langlift.adapters.composition import attach, train_only
from langlift.adapters.method import METHODS, AdapterConfig
from langlift.adapters.mosa import Mixture, MosaConfig, mix
from langlift.backbones.loading import default_device, quiet_transformers
from langlift.backbones.masked_head import decoder_bias, head_parameters
from langlift.checkpoints.adapter_folder import save_adapter
from langlift.checkpoints.masked_head import save_masked_head
from langlift.config.recipes import CAUSAL
from langlift.errors import InputError
from langlift.masking.masked_language_model import MaskedLanguageModel
from langlift.training.consistency import DrawExperts, consistent_loss
from langlift.training.decoder_bias import FitBias, piece_counts
from langlift.training.encoding import EncodedRow
from langlift.training.examples import (
    ExampleOf,
    LengthGroups,
    OnePass,
    Rounds,
    Schedule,
    causal_examples,
    objective_examples,
)
from langlift.training.language_model_loss import decoder_of
from langlift.training.paths import LossPath, loss_path
from langlift.training.precision import Arithmetic, prepare_arithmetic
from langlift.training.recipes import AdaptRecipe
from langlift.training.reporting import TrainingReport
from langlift.training.run_folder import atomic_files
from langlift.training.state_keeping import state_keeping_loss, with_states_kept
from langlift.training.trainer import LiftTrainer, Validation, on_device, training_arguments
from langlift.training.training_data import DEV_SEED, TrainingData

CHECKED_EXAMPLES = 16
"""So many dev examples, short and long ones, make the batch on which bf16 is checked."""
FITTED_SENTENCES = 640
"""Training sentences, spread over all, on which ``fit_bias`` measures the mean prediction."""

ExamplesOf = Callable[[Sequence[EncodedRow], int], ExampleOf]
"""(rows, seed) -> the rows with what is to be predicted in them."""
ValidationOf = Callable[[TrainingData, ExamplesOf, LossPath], tuple[Validation, str]]
"""(data, examples of rows, path) -> what is measured on the dev splits, and which measure picks the weights."""


def prepare_model(
    model: PreTrainedModel, name: str, config: AdapterConfig | None, recipe: AdaptRecipe, fresh: bool = True
) -> Mixture | None:
    """Attach the recipe's adapter (where ``fresh``) and set what trains, in place; the mixture, for MoSA."""
    if config is not None and fresh:
        attach(model, name, config)
    mixture = None
    if METHODS[recipe.method].mixture:
        mixture = mix(model, name, MosaConfig(recipe.experts, recipe.share, recipe.merge), fresh=fresh)
    train_only(model, None if config is None else name)
    if recipe.gradient_checkpointing:
        # Its name from some release of transformers 5 on; the old one then warns.
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        enable({"use_reentrant": False})
    for parameter in trained_head(model, recipe).values():
        parameter.requires_grad_(True)
    return mixture


def trained_head(model: PreTrainedModel, recipe: AdaptRecipe) -> dict[str, nn.Parameter]:
    """The parameters of the masked head that train beside an adapter, by their names in the model."""
    found = head_parameters(model) if recipe.train_head else {}
    if recipe.fit_bias:
        bias = decoder_bias(model)
        if not bias:
            raise InputError("fit_bias: the decoder of this base has no bias", "add --set fit_bias=false")
        found |= bias
    return found


def language_model_trainer(
    model: PreTrainedModel,
    tokenizer: Any,
    rows: TrainingData,
    out: Path,
    recipe: AdaptRecipe,
    steps: int,
    validation_of: ValidationOf,
    accumulation: int = 1,
    mixture: Mixture | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    teacher: PreTrainedModel | None = None,
) -> tuple[LiftTrainer, TrainingReport, Arithmetic]:
    """The Trainer of a run, with its report and arithmetic; the model is moved and cast in place.

    ``teacher`` is the model whose states ``keep_states`` keeps.
    """
    examples_of = examples_for(tokenizer, recipe)
    device = default_device()
    if recipe.quantised:  # and there already
        model._hf_peft_config_loaded = True  # the Trainer takes quantised models with PEFT's adapters only
    else:
        model.to(device)
    path = loss_path(recipe.path, model, tokenizer.pad_token_id)
    loss = path.loss
    if second_pass := mixture is not None and recipe.consistency > 0:
        loss = consistent_loss(recipe.path, mixture, recipe.consistency)
    if teacher is not None:
        loss_path(recipe.path, teacher.to(device), tokenizer.pad_token_id)  # it reads the same batches
        if second_pass:
            loss = with_states_kept(loss, teacher, recipe.keep_states)
        else:
            loss = state_keeping_loss(teacher, recipe.keep_states)
    validation, best_by = validation_of(rows, examples_of, path)
    held_out = dev_examples(max(rows.dev.values(), key=len), examples_of)
    checked = on_device(
        path.collate([held_out[i] for i in evenly_spread(len(held_out), CHECKED_EXAMPLES)]), device
    )
    arithmetic = prepare_arithmetic(recipe.precision, model, lambda: path.loss(model, checked)[0], device)
    report = TrainingReport(out, f"adapting ({recipe.method})")
    prepared = list(callbacks)
    if mixture is not None:
        prepared.append(DrawExperts(mixture))
    if recipe.fit_bias:
        some = [rows.train[i] for i in evenly_spread(len(rows.train), FITTED_SENTENCES)]
        masked = OnePass(examples_of(some, recipe.seed), len(some))
        counts = piece_counts(
            (row.ids for row in rows.train), decoder_of(model).out_features, tokenizer.all_special_ids
        )
        batches = DataLoader(masked, batch_size=32, collate_fn=path.collate)
        prepared.append(FitBias(model, batches, counts, arithmetic.bf16))
    trainer = LiftTrainer(
        model,
        training_arguments(
            out,
            steps=steps,
            learning_rate=recipe.learning_rate,
            batch_size=recipe.batch_size,
            accumulation=accumulation,
            warmup_share=recipe.warmup_share,
            weight_decay=recipe.weight_decay,
            validate_every=min(recipe.validate_every, ceil(steps / 4)),
            save_every=recipe.save_steps,
            seed=recipe.seed,
        ),
        loss=loss,
        validation=validation,
        best_by=best_by,
        greater_is_better=False,
        train_dataset=Schedule(
            examples_of(rows.train, recipe.seed),
            len(rows.train),
            recipe.seed,
            steps * recipe.batch_size * accumulation,
            arrangement(rows, recipe),
        ),
        collate=path.collate,
        bf16=arithmetic.bf16,
        callbacks=[report, *prepared],
    )
    return trainer, report, arithmetic


def evenly_spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, the first and the last among them."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, most).astype(int))]


def arrangement(rows: TrainingData, recipe: AdaptRecipe) -> LengthGroups | Rounds | None:
    """How the order is more than random: one data set by length; several not, so that every step mixes them."""
    if rows.weighted:
        return Rounds(rows.sizes, list(rows.shares.values()), recipe.seed)
    if len(rows.sizes) > 1:
        return None
    return LengthGroups(np.asarray([len(row.ids) for row in rows.train]), recipe.batch_size)


def examples_for(tokenizer: Any, recipe: AdaptRecipe) -> ExamplesOf:
    """What a recipe's objective makes of rows."""
    if recipe.objective == CAUSAL:
        return lambda rows, seed: causal_examples([row.ids for row in rows])
    masking = MaskedLanguageModel(
        mask_token_id=tokenizer.mask_token_id,
        special_ids=frozenset(tokenizer.all_special_ids),
        vocabulary_size=len(tokenizer),
        share=recipe.masking_share,
    )
    return lambda rows, seed: objective_examples(rows, masking, seed)


def dev_examples(part: Sequence[EncodedRow], examples_of: ExamplesOf) -> OnePass:
    """Dev rows, the same at every validation of every run."""
    return OnePass(examples_of(part, DEV_SEED), len(part))


def save_weights(
    model: PreTrainedModel,
    tokenizer: Any,
    out: Path,
    name: str,
    config: AdapterConfig | None,
    base: str,
    head: Mapping[str, nn.Parameter],
) -> None:
    """Write the adapter ``name`` (and what it has of the masked head), or without ``config`` the whole model."""
    with atomic_files(out) as staging, quiet_transformers():
        if config is None:
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            return
        save_adapter(model, name, config, staging, base)
        if head:
            save_masked_head(head, staging)
