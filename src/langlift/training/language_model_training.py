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
from langlift.adapters.method import METHODS
from langlift.adapters.mosa import Mixture, MosaConfig, mix
from langlift.backbones.loading import default_device, quiet_transformers
from langlift.backbones.masked_head import decoder_bias, head_parameters
from langlift.checkpoints.adapter_folder import save_adapter, save_masked_head
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
from langlift.training.recipes import CAUSAL, AdaptRecipe
from langlift.training.state_keeping import frozen_copy, state_keeping_loss, with_states_kept
from langlift.training.trainer import LiftTrainer, Validation, on_device, training_arguments, validation_losses
from langlift.training.training_data import DEV_SEED, TrainingData

CHECKED_EXAMPLES = 16
"""Number of dev examples, short and long ones, in the batch that bf16 is checked on."""
FITTED_SENTENCES = 640
"""Number of training sentences, spread over all, on which ``fit_bias`` measures the mean prediction."""

ExamplesOf = Callable[[Sequence[EncodedRow], int], ExampleOf]
"""(rows, seed) -> the rows as training examples of the objective."""


class Adaptation:
    """A language model prepared for training by a recipe, in place: its adapter, if any, is called ``name``.

    With ``fresh=False`` the adapter is attached already, and training continues from it.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, name: str, recipe: AdaptRecipe, fresh: bool = True
    ) -> None:
        self.model, self.tokenizer, self.name, self.recipe = model, tokenizer, name, recipe
        self.config = METHODS[recipe.method].config(recipe)
        self._teacher = frozen_copy(model) if recipe.keep_states else None
        if self.config is not None and fresh:
            attach(model, name, self.config)
        self._mixture: Mixture | None = None
        if METHODS[recipe.method].mixture:
            self._mixture = mix(model, name, MosaConfig(recipe.experts, recipe.share, recipe.merge), fresh=fresh)
        train_only(model, None if self.config is None else name)
        if recipe.gradient_checkpointing:
            # Renamed in some release of transformers 5; the old name then warns.
            enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
            enable({"use_reentrant": False})
        for parameter in trained_head(model, recipe).values():
            parameter.requires_grad_(True)

    def trainer(
        self,
        data: TrainingData,
        out: Path,
        steps: int,
        accumulation: int = 1,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> LiftTrainer:
        """The Trainer of a run in ``out``; the model is moved and cast in place."""
        model, recipe, device = self.model, self.recipe, default_device()
        if recipe.quantised:  # already on the device
            model._hf_peft_config_loaded = True  # the Trainer accepts quantised models only with PEFT adapters
        else:
            model.to(device)
        examples_of = examples_for(self.tokenizer, recipe)
        path = loss_path(recipe.path, model, self.tokenizer.pad_token_id)
        validation, best_by = _validation(data, examples_of, path)
        held_out = dev_examples(max(data.dev.values(), key=len), examples_of)
        checked = on_device(
            path.collate([held_out[i] for i in evenly_spread(len(held_out), CHECKED_EXAMPLES)]), device
        )
        loss = self._loss(path)
        arithmetic = prepare_arithmetic(recipe.precision, model, lambda: path.loss(model, checked)[0], device)
        prepared = list(callbacks)
        if self._mixture is not None:
            prepared.append(DrawExperts(self._mixture))
        if recipe.fit_bias:
            prepared.append(self._fit_bias(data, examples_of, path, arithmetic.bf16))
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

    def _loss(self, path: LossPath) -> SummedLoss:
        """The objective's loss, with a mixture's second pass and the term that preserves hidden states."""
        recipe, loss = self.recipe, path.loss
        second_pass = self._mixture is not None and recipe.consistency > 0
        if self._mixture is not None and second_pass:
            loss = consistent_loss(recipe.path, self._mixture, recipe.consistency)
        if self._teacher is None:
            return loss
        # The teacher reads the same batches.
        loss_path(recipe.path, self._teacher.to(default_device()), self.tokenizer.pad_token_id)
        if second_pass:
            return with_states_kept(loss, self._teacher, recipe.keep_states)
        return state_keeping_loss(self._teacher, recipe.keep_states)

    def _fit_bias(self, data: TrainingData, examples_of: ExamplesOf, path: LossPath, bf16: bool) -> FitBias:
        some = [data.train[i] for i in evenly_spread(len(data.train), FITTED_SENTENCES)]
        masked = OnePass(examples_of(some, self.recipe.seed), len(some))
        size, special = decoder_of(self.model).out_features, self.tokenizer.all_special_ids
        counts = piece_counts((row.ids for row in data.train), size, special)
        return FitBias(self.model, DataLoader(masked, batch_size=32, collate_fn=path.collate), counts, bf16)

    def save(self, out: Path, base: str, head: Mapping[str, nn.Parameter]) -> None:
        """Write the adapter and its part of the masked head, or the whole model; experts are merged first."""
        if self._mixture is not None:
            self._mixture.merge()
        with atomic_files(out) as staging, quiet_transformers():
            if self.config is None:
                self.model.save_pretrained(staging)
                self.tokenizer.save_pretrained(staging)
                return
            save_adapter(self.model, self.name, self.config, staging, base)
            if head:
                save_masked_head(head, staging)


def trained_head(model: PreTrainedModel, recipe: AdaptRecipe) -> dict[str, nn.Parameter]:
    """The parameters of the masked head that train beside an adapter, by their names in the model."""
    found = head_parameters(model) if recipe.train_head else {}
    if recipe.fit_bias:
        bias = decoder_bias(model)
        if not bias:
            raise InputError("fit_bias: the decoder of this base has no bias", "add --set fit_bias=false")
        found |= bias
    return found


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
