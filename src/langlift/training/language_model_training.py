"""The common part of adaptation to one or many languages: the adapter, its training, and saving its weights."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, TrainerCallback

from langlift.adapters.composition import attach, train_only
from langlift.adapters.method import METHODS
from langlift.adapters.mosa import Mixture, MosaConfig, mix
from langlift.backbones.loading import default_device, quiet_transformers
from langlift.backbones.registry import decoder_bias, head_parameters
from langlift.checkpoints.adapter_folder import save_adapter, save_mlm_head
from langlift.errors import InputError
from langlift.files import atomic_files
from langlift.training.decoder_bias import FitBias, piece_counts
from langlift.training.encoding import EncodedRow
from langlift.training.examples import (
    ExampleOf,
    LengthGroups,
    Rounds,
    Schedule,
    Shuffled,
    causal_example,
    evenly_spread,
    masking_for,
    objective_examples,
    one_pass,
)
from langlift.training.language_model_loss import loss_path, validation_losses
from langlift.training.loss_terms import DrawExperts, consistent_loss, with_contrast
from langlift.training.precision import use_bf16
from langlift.training.recipes import CAUSAL, AdaptRecipe
from langlift.training.trainer import LiftTrainer, on_device, training_arguments
from langlift.training.training_data import DEV_SEED, TrainingData

CHECKED_EXAMPLES = 16
"""Number of dev examples, short and long ones, in the batch that bf16 is checked on."""
FITTED_SENTENCES = 640
"""Number of training sentences, spread over all, on which ``fit_bias`` measures the mean prediction."""

ExamplesOf = Callable[[Sequence[EncodedRow], int], ExampleOf]
"""(rows, seed) -> the rows as training examples of an objective."""


class Adaptation:
    """A language model prepared for training by a recipe, in place: its adapter, if any, is called ``name``.

    With ``fresh=False`` the adapter has been attached before, and training continues from it.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: Any, name: str, recipe: AdaptRecipe, fresh: bool = True
    ) -> None:
        self.model, self.tokenizer, self.name, self.recipe = model, tokenizer, name, recipe
        self.config = METHODS[recipe.method].config(recipe)
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
        training, callbacks = with_contrast(path, recipe.contrast), list(callbacks)
        loss = training.loss
        if self._mixture is not None:
            callbacks.append(DrawExperts(self._mixture))
            if recipe.consistency > 0:
                loss = consistent_loss(recipe.path, self._mixture, recipe.consistency)

        # Dev rows have the same masks at every validation of every run.
        dev, targeted_dev = (
            {name: one_pass(examples_of(rows, DEV_SEED), len(rows)) for name, rows in parts.items()}
            for parts in (data.dev, data.targeted_dev)
        )
        plain, targeted = (
            validation_losses(path.loss, parts, path.collate, 32, data.dev_shares) for parts in (dev, targeted_dev)
        )

        def validation(model: nn.Module) -> dict[str, float]:
            return {**plain(model), **({"targeted_loss": targeted(model)["loss"]} if targeted_dev else {})}

        held_out = max(dev.values(), key=len)
        checked = path.collate([held_out[i] for i in evenly_spread(len(held_out), CHECKED_EXAMPLES)])
        checked = on_device(checked, device)
        bf16 = use_bf16(recipe.precision, model, lambda: path.loss(model, checked)[0], device)
        if recipe.fit_bias:
            some = [data.train[i] for i in evenly_spread(len(data.train), FITTED_SENTENCES)]
            masked = one_pass(examples_of(some, recipe.seed), len(some))
            counts = piece_counts((row.ids for row in data.train), model, self.tokenizer)
            batches: Any = DataLoader(masked, batch_size=32, collate_fn=path.collate)  # type: ignore[arg-type]
            callbacks.append(FitBias(model, batches, counts, bf16))
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
            best_by="targeted_loss" if targeted_dev else "loss",
            greater_is_better=False,
            train_dataset=Schedule(
                examples_of(data.train, recipe.seed),
                example_order(data, recipe),
                steps * recipe.batch_size * accumulation,
            ),
            collate=training.collate,
            bf16=bf16,
            divisible=not recipe.contrast,
            callbacks=callbacks,
        )

    def save(self, out: Path, base: str, head: Mapping[str, nn.Parameter]) -> None:
        """Write the adapter and its part of the MLM head, or the whole model; experts are merged first."""
        if self._mixture is not None:
            self._mixture.merge()
        with atomic_files(out) as staging, quiet_transformers():
            if self.config is None:
                self.model.save_pretrained(staging)
                self.tokenizer.save_pretrained(staging)
                return
            save_adapter(self.model, self.name, self.config, staging, base)
            if head:
                save_mlm_head(head, staging)


def trained_head(model: PreTrainedModel, recipe: AdaptRecipe) -> dict[str, nn.Parameter]:
    """The parameters of the MLM head that are trained with an adapter, by their names in the model."""
    found = head_parameters(model) if recipe.train_head else {}
    if recipe.fit_bias:
        bias = decoder_bias(model)
        if not bias:
            raise InputError("fit_bias: the decoder of this base has no bias", "add --set fit_bias=false")
        found |= bias
    return found


def example_order(data: TrainingData, recipe: AdaptRecipe) -> Shuffled | LengthGroups | Rounds:
    """The order of the examples: a single data set is grouped by length; several are mixed within each step."""
    if data.weighted:
        return Rounds(data.sizes, list(data.shares.values()), recipe.seed)
    if len(data.sizes) > 1:
        return Shuffled(len(data.train), recipe.seed)
    return LengthGroups(data.train.lengths, recipe.batch_size, recipe.seed)


def examples_for(tokenizer: Any, recipe: AdaptRecipe) -> ExamplesOf:
    """How rows become training examples of a recipe's objective."""
    if recipe.objective == CAUSAL:
        return lambda rows, seed: lambda index, epoch: causal_example(rows[index].ids)
    masking = masking_for(tokenizer, recipe.masking_share)
    return lambda rows, seed: objective_examples(rows, masking, seed)
