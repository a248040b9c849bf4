"""The recipes of adaptation: what a user may set. Written into every run folder."""

from dataclasses import dataclass
from typing import ClassVar

from langlift.adapters.method import METHODS, MethodSettings
from langlift.config.recipes import (
    CAUSAL,
    OBJECTIVES,
    VOCABULARY_INITS,
    keep_states_setting,
    path_setting,
    precision_setting,
)
from langlift.config.settings import MOST_SEED, setting


@dataclass(frozen=True)
class AdaptRecipe(MethodSettings):
    """How a language adapter is trained."""

    objective: str = setting("mlm", "what it learns to predict", choices=OBJECTIVES)
    steps: int = setting(100_000, "optimiser steps", least=1)
    learning_rate: float = setting(1e-4, "peak learning rate", above=0, most=1)
    batch_size: int = setting(16, "sentences a step", least=1)
    warmup_share: float = setting(0.0, "share of the steps that warm up", least=0, most=1)
    weight_decay: float = setting(0.0, "weight decay (AdamW)", least=0)
    train_head: bool = setting(
        False, "also train the masked head's dense layer and LayerNorm (true: as published; full: always)"
    )
    fit_bias: bool = setting(
        False,
        "masked objectives: start the head's bias from the frequencies of the pieces in the text, and train it",
    )
    keep_states: float = keep_states_setting()
    masking_share: float = setting(0.15, "share of the tokens that is predicted (mlm, full_word)", above=0, most=1)
    targeted_as_published: bool = setting(
        False, "targeted: the published script's choice once for all epochs, twelve relations, search by pieces"
    )
    max_tokens: int = setting(256, "longest example in tokens; a longer text becomes several", least=8)
    validate_every: int = setting(500, "steps between validations", least=1)
    validation_examples: int = setting(1000, "most dev sentences measured at a validation", least=1)
    save_steps: int = setting(500, "steps between checkpoints", least=1)
    seed: int = setting(42, "seed of initialisation, order, masks and dropout", least=0, most=MOST_SEED)
    gradient_checkpointing: bool = setting(
        False, "compute each layer again in the backward pass: less memory, a third more time"
    )
    quantised: bool = setting(
        False, "load the frozen base in 4 bits (a GPU, and pip install 'langlift[quantised]')"
    )
    precision: str = precision_setting()
    path: str = path_setting()

    def mistakes(self) -> list[str]:
        """Settings that do not go together."""
        found = []
        if self.train_head and self.objective == CAUSAL:
            found.append("train_head: a causal head is its decoder alone, which adapters do not train")
        if self.fit_bias and self.objective == CAUSAL:
            found.append("fit_bias: only for masked objectives")
        second_pass = f"not with the second pass of {self.method} (set consistency to 0)"
        if self.gradient_checkpointing and self.takes_second_pass:
            found.append(f"gradient_checkpointing: {second_pass}")
        if self.keep_states and (self.objective == CAUSAL or self.quantised):
            found.append("keep_states: only for masked objectives, and not for a quantised base")
        if self.quantised and METHODS[self.method].whole_model:
            found.append(f"quantised: only for adapters (method {self.method} trains the base itself)")
        return found


@dataclass(frozen=True)
class FamilyRecipe(AdaptRecipe):
    """How one model, or one adapter, is trained for many languages; by default as in arXiv 2405.12413."""

    REPLACES: ClassVar = {"steps": "tokens"}
    """A setting that puts another one out of force which an earlier source gave."""
    method: str = setting("full", "what is trained", choices=tuple(METHODS))
    alpha: float = setting(
        0.3, "a language's share of the examples goes with its size to this power", least=0, most=1
    )
    tokens: int = setting(0, "budget in tokens of training text, in place of steps (0: steps says)", least=0)
    learning_rate: float = setting(1e-5, "peak learning rate", above=0, most=1)
    batch_size: int = setting(20, "examples computed at once", least=1)
    accumulation: int = setting(10, "times batch_size make a step", least=1)
    freeze_share: float = setting(
        0.025, "full: share of the steps, at the start, that train only embeddings and head", least=0, most=1
    )
    vocabulary_init: str = setting(
        "focus", "vocabulary: how tokens begin that the base does not hold", choices=VOCABULARY_INITS
    )
    vector_least_count: int = setting(
        10, "vocabulary, focus: times a piece must occur to get a fastText vector", least=1
    )
    validation_examples: int = setting(
        250, "most dev sentences of each language measured at a validation", least=1
    )

    def mistakes(self) -> list[str]:
        """Settings that do not go together."""
        found = super().mistakes()
        if self.targeted_as_published:
            found.append("targeted_as_published: only for one language (langlift adapt)")
        if self.objective == CAUSAL or self.quantised:
            found.append("causal and quantised models: only for one language (langlift adapt)")
        if self.keep_states:
            found.append("keep_states: only for one language (langlift adapt)")
        if self.fit_bias:
            found.append("fit_bias: only for one language (langlift adapt)")
        return found
