"""What adaptation to one language and to many have in common: the adapter, its training, its weights on disk."""

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
from langlift.files import atomic_files
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
from langlift.training.paths import LossPath, SummedLoss, loss_path
from langlift.training.precision import prepare_arithmetic
from langlift.training.recipes import AdaptRecipe
from langlift.training.state_keeping import state_keeping_loss, with_states_kept
from langlift.training.trainer import LiftTrainer, Validation, on_device, training_arguments, validation_losses
from langlift.training.training_data import DEV_SEED, TrainingData

CHECKED_EXAMPLES = 16
"""Number of dev examples, short and long ones, in the batch that bf16 is checked on."""
FITTED_SENTENCES = 640
"""Number of training sentences, spread over all, on which ``fit_bias`` measures the mean prediction."""

ExamplesOf = Callable[[Sequence[EncodedRow], int], ExampleOf]
"""(rows, seed) -> the rows as training examples of the objective."""


def prepare_model(
    model: PreTrainedModel, name: str, config: AdapterConfig | None, recipe: AdaptRecipe, fresh: bool = True
) -> Mixture | None:
    """Attach the recipe's adapter (if ``fresh``) and set what trains, in place; for MoSA returns the mixture."""
    if config is not None and fresh:
        attach(model, name, config)
    mixture = None
    if METHODS[recipe.method].mixture:
        mixture = mix(model, name, MosaConfig(recipe.experts, recipe.share, recipe.merge), fresh=fresh)
    train_only(model, None if config is None else name)
    if recipe.gradient_checkpointing:
        # Renamed in some release of transformers 5; the old name then warns.
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
    data: TrainingData,
    out: Path,
    recipe: AdaptRecipe,
    steps: int,
    accumulation: int = 1,
    mixture: Mixture | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    teacher: PreTrainedModel | None = None,
) -> LiftTrainer:
    """The Trainer of a run; the model is moved and cast in place.

    ``teacher`` is the model whose hidden states ``keep_states`` preserves.
    """
    device = default_device()
    if recipe.quantised:  # already on the device
        model._hf_peft_config_loaded = True  # the Trainer accepts quantised models only with PEFT adapters
    else:
        model.to(device)
    examples_of = examples_for(tokenizer, recipe)
    path = loss_path(recipe.path, model, tokenizer.pad_token_id)
    loss = _loss(path, tokenizer, recipe, mixture, teacher)
    validation, best_by = _validation(data, examples_of, path)
    held_out = dev_examples(max(data.dev.values(), key=len), examples_of)
    checked = on_device(
        path.collate([held_out[i] for i in evenly_spread(len(held_out), CHECKED_EXAMPLES)]), device
    )
    arithmetic = prepare_arithmetic(recipe.precision, model, lambda: path.loss(model, checked)[0], device)
    prepared = list(callbacks)
    if mixture is not None:
        prepared.append(DrawExperts(mixture))
    if recipe.fit_bias:
        prepared.append(_fit_bias(model, tokenizer, data, examples_of, path, recipe, arithmetic.bf16))
    return LiftTrainer(
        model,
        training_arguments(
            out,
            recipe,
            steps=steps,
            seed=recipe.seed,
            validate_every=min(recipe.validate_every, ceil(steps / 4)),
            save_every=recipe.save_steps,
            accumulation=accumulation,
        ),
        loss=loss,
        validation=validation,
        best_by=best_by,
        greater_is_better=False,
        train_dataset=Schedule(
            examples_of(data.train, recipe.seed),
            len(data.train),
            recipe.seed,
            steps * recipe.batch_size * accumulation,
            arrangement(data, recipe),
        ),
        collate=path.collate,
        bf16=arithmetic.bf16,
        callbacks=prepared,
    )


def _loss(
    path: LossPath,
    tokenizer: Any,
    recipe: AdaptRecipe,
    mixture: Mixture | None,
    teacher: PreTrainedModel | None,
) -> SummedLoss:
    """The objective's loss, with the second pass of a mixture and the term that preserves hidden states."""
    loss = path.loss
    if second_pass := mixture is not None and recipe.consistency > 0:
        loss = consistent_loss(recipe.path, mixture, recipe.consistency)
    if teacher is None:
        return loss
    loss_path(recipe.path, teacher.to(default_device()), tokenizer.pad_token_id)  # it reads the same batches
    if second_pass:
        return with_states_kept(loss, teacher, recipe.keep_states)
    return state_keeping_loss(teacher, recipe.keep_states)


def _validation(data: TrainingData, examples_of: ExamplesOf, path: LossPath) -> tuple[Validation, str]:
    """The losses measured on the dev splits, and the name of the one that selects the best weights."""

    def losses(parts: Mapping[str, Sequence[EncodedRow]]) -> Validation:
        examples = {name: dev_examples(part, examples_of) for name, part in parts.items()}
        return validation_losses(path.loss, examples, path.collate, 32, data.dev_shares)

    plain = losses(data.dev)
    if not data.targeted_dev:
        return plain, "loss"
    targeted = losses(data.targeted_dev)
    return lambda model: {**plain(model), "targeted_loss": targeted(model)["loss"]}, "targeted_loss"


def _fit_bias(
    model: PreTrainedModel,
    tokenizer: Any,
    data: TrainingData,
    examples_of: ExamplesOf,
    path: LossPath,
    recipe: AdaptRecipe,
    bf16: bool,
) -> FitBias:
    some = [data.train[i] for i in evenly_spread(len(data.train), FITTED_SENTENCES)]
    masked = OnePass(examples_of(some, recipe.seed), len(some))
    counts = piece_counts(
        (row.ids for row in data.train), decoder_of(model).out_features, tokenizer.all_special_ids
    )
    return FitBias(model, DataLoader(masked, batch_size=32, collate_fn=path.collate), counts, bf16)


def evenly_spread(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, evenly spaced, including the first and the last."""
    return [int(i) for i in np.unique(np.linspace(0, count - 1, most).astype(int))]


def arrangement(data: TrainingData, recipe: AdaptRecipe) -> LengthGroups | Rounds | None:
    """The order of the examples: a single data set is grouped by length; several are mixed within each step."""
    if data.weighted:
        return Rounds(data.sizes, list(data.shares.values()), recipe.seed)
    if len(data.sizes) > 1:
        return None
    return LengthGroups(np.asarray([len(row.ids) for row in data.train]), recipe.batch_size)


def examples_for(tokenizer: Any, recipe: AdaptRecipe) -> ExamplesOf:
    """How rows become training examples of a recipe's objective."""
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
    """Dev rows with masks that are the same at every validation of every run."""
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
    """Write the adapter ``name`` and its part of the masked head, or without ``config`` the whole model."""
    with atomic_files(out) as staging, quiet_transformers():
        if config is None:
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            return
        save_adapter(model, name, config, staging, base)
        if head:
            save_masked_head(head, staging)
