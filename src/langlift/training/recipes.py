"""The recipes of training on text: pre-training, and adapting to one language or a family."""

from dataclasses import dataclass
from typing import ClassVar

from langlift.adapters.method import METHODS, MethodSettings
from langlift.config.settings import MAX_SEED, same_setting, setting
from langlift.vocab.recipe import VocabRecipe

CAUSAL = "causal"
OBJECTIVES = ("mlm", "full_word", "targeted", CAUSAL)
PRECISIONS = ("auto", "float32", "bf16")
PATHS = ("fast", "naive")
TRAINING_PATHS = (*PATHS, "graphs")


@dataclass(frozen=True)
class AdaptRecipe(MethodSettings):
    """How a language adapter is trained."""

    objective: str = setting("mlm", "Training objective; causal is for decoders", choices=OBJECTIVES, option=True)
    steps: int = setting(100_000, "Optimiser steps", minimum=1, option=True)
    learning_rate: float = setting(1e-4, "Peak learning rate", above=0, maximum=1, option="--lr")
    batch_size: int = setting(16, "Sentences per optimiser step", minimum=1, option=True)
    warmup_share: float = setting(0.0, "Share of the steps used for warm-up", minimum=0, maximum=1)
    weight_decay: float = setting(0.0, "Weight decay (AdamW)", minimum=0)
    train_head: bool = setting(
        False, "Also train the MLM head's dense layer and LayerNorm (true: as published; full: always)"
    )
    fit_bias: bool = setting(
        False, "Masked objectives: initialise the head's bias from token frequencies in the text, and train it"
    )
    contrast: float = setting(
        0.0,
        "Weight of a loss term that brings the halves of each text of 16 tokens or more together, apart from "
        "those of the others in its batch (0: off)",
        minimum=0,
    )
    masking_share: float = setting(0.15, "mlm, full_word: share of the tokens to predict", above=0, maximum=1)
    targeted_as_published: bool = setting(
        False,
        "targeted: as in the published script, choose arguments once for all epochs, use only twelve relations "
        "and find words by their tokens",
    )
    max_tokens: int = setting(256, "Maximum length of an example in tokens; longer texts are split", minimum=8)
    validate_every: int = setting(500, "Steps between validations", minimum=1)
    validation_examples: int = setting(1000, "Maximum number of dev sentences per validation", minimum=1)
    save_steps: int = setting(500, "Steps between checkpoints", minimum=1, option=True)
    seed: int = setting(
        42, "Seed of initialisation, order, masks and dropout", minimum=0, maximum=MAX_SEED, option=True
    )
    gradient_checkpointing: bool = setting(
        False, "Recompute each layer in the backward pass: less memory, a third more time"
    )
    quantised: bool = setting(
        False, "Load the frozen base in 4 bits (needs a GPU and pip install 'langlift[quantised]')"
    )
    precision: str = setting(
        "auto",
        "Numerical precision; auto uses bf16 if the hardware supports it and a check on one batch passes",
        choices=PRECISIONS,
        option=True,
    )
    path: str = setting(
        "fast",
        "Implementation, with the same results: naive pads batches and is slower; graphs uses CUDA graphs, for "
        "small batches on a GPU",
        choices=TRAINING_PATHS,
        option=True,
    )

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        conflicts = []
        if self.train_head and self.objective == CAUSAL:
            conflicts.append(
                "train_head: a causal head consists of its decoder only, which is not trained with adapters"
            )
        if self.fit_bias and self.objective == CAUSAL:
            conflicts.append("fit_bias: only for masked objectives")
        second_pass = f"not with the second pass of {self.method} (set consistency to 0)"
        if self.gradient_checkpointing and self.needs_second_pass:
            conflicts.append(f"gradient_checkpointing: {second_pass}")
        if self.contrast and self.objective == CAUSAL:
            conflicts.append("contrast: only for masked objectives")
        if self.contrast and self.needs_second_pass:
            conflicts.append(f"contrast: {second_pass}")
        if self.path == "graphs" and (
            self.contrast or self.gradient_checkpointing or METHODS[self.method].mixture
        ):
            conflicts.append("path: graphs cannot be combined with contrast, gradient_checkpointing or a mixture")
        if self.quantised and METHODS[self.method].whole_model:
            conflicts.append(f"quantised: only for adapters (method {self.method} trains the base model itself)")
        return conflicts


@dataclass(frozen=True)
class FamilyRecipe(AdaptRecipe):
    """How one model, or one adapter, is trained for many languages; by default as in arXiv 2405.12413."""

    REPLACES: ClassVar = {"steps": "tokens"}
    """A setting -> another setting that it overrides if that one comes from an earlier source."""
    method: str = same_setting(AdaptRecipe, "method", "full")
    objective: str = setting(
        "mlm", "Training objective", choices=tuple(one for one in OBJECTIVES if one != CAUSAL), option=True
    )
    alpha: float = setting(
        0.3,
        "Languages are sampled in proportion to size^alpha (1: by size, 0: evenly)",
        minimum=0,
        maximum=1,
        option=True,
    )
    tokens: int = setting(0, "Training budget in tokens, instead of steps (0: use steps)", minimum=0, option=True)
    learning_rate: float = same_setting(AdaptRecipe, "learning_rate", 1e-5)
    batch_size: int = same_setting(AdaptRecipe, "batch_size", 20, "Examples per batch")
    accumulation: int = setting(10, "Batches per optimiser step (gradient accumulation)", minimum=1)
    freeze_share: float = setting(
        0.025,
        "full: share of the steps, at the start, in which only embeddings and head are trained",
        minimum=0,
        maximum=1,
    )
    vocabulary_init: str = same_setting(
        VocabRecipe, "init", description="With a vocabulary: initialisation of the embeddings of new tokens"
    )
    vector_least_count: int = same_setting(
        VocabRecipe,
        "vector_least_count",
        description="With a vocabulary, focus: minimum frequency of a token that gets a fastText vector",
    )
    validation_examples: int = same_setting(
        AdaptRecipe, "validation_examples", 250, "Maximum number of dev sentences of each language per validation"
    )

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        conflicts = super().conflicts()
        if self.objective == CAUSAL or self.quantised:
            conflicts.append("causal and quantised models: only for one language (langlift adapt)")
        for name in ("targeted_as_published", "contrast", "fit_bias"):
            if getattr(self, name):
                conflicts.append(f"{name}: only for one language (langlift adapt)")
        return conflicts


@dataclass(frozen=True)
class _TextTraining:
    """The settings shared by all pre-training."""

    languages: tuple[str, ...] = setting((), "Names of the files to use from a folder, without .txt (none: all)")
    language_bytes: dict[str, int] = setting(  # noqa: RUF009 - a field with a factory
        {}, "Maximum bytes of training text by file name, such as `{eng_Latn: 64000}` (others: all)", minimum=1
    )
    row_tokens: int = setting(128, "Length of a training row in tokens", minimum=16)
    steps: int = setting(10_000, "Optimiser steps; can be changed with --resume", minimum=1, option=True)
    decay_share: float = setting(
        0.3, "Share of the steps, at the end, over which the learning rate decays", minimum=0, maximum=1
    )
    warmup_share: float = setting(0.02, "Share of the steps used for warm-up", minimum=0, maximum=1)
    learning_rate: float = setting(2e-3, "Peak learning rate (Muon and AdamW)", above=0, maximum=1, option="--lr")
    weight_decay: float = setting(0.05, "Weight decay", minimum=0)
    batch_size: int = setting(16, "Rows per batch", minimum=1, option=True)
    accumulation: int = setting(4, "Batches per optimiser step (gradient accumulation)", minimum=1)
    masking_share: float = setting(0.15, "mlm: share of the tokens to predict", above=0, maximum=1)
    reserved_share: float = setting(0.1, "Share of the documents reserved for validation", above=0, maximum=0.5)
    validation_rows: int = setting(600, "Number of rows per validation, over all files", minimum=1)
    validate_every: int = setting(250, "Steps between validations", minimum=1)
    save_steps: int = setting(250, "Steps between checkpoints", minimum=1, option=True)
    seed: int = setting(
        0, "Seed of the split, initialisation, order and masks", minimum=0, maximum=MAX_SEED, option=True
    )
    precision: str = same_setting(AdaptRecipe, "precision", "bf16")
    path: str = same_setting(AdaptRecipe, "path")

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        unknown = [name for name in self.language_bytes if self.languages and name not in self.languages]
        return [f"language_bytes: {', '.join(unknown)} not among languages"] if unknown else []


@dataclass(frozen=True)
class PretrainRecipe(_TextTraining):
    """How a base model is trained from scratch."""

    objective: str = setting(
        "mlm",
        "Training objective, and architecture: mlm (XLM-R's) or causal (Llama's)",
        choices=("mlm", CAUSAL),
        option=True,
    )
    vocabulary_size: int = setting(16_000, "Vocabulary size of the tokenizer", minimum=300, maximum=65_536)
    byte_fallback: bool = setting(True, "Encode characters without a token as bytes (false: as the unknown token)")
    hidden_size: int = setting(256, "Hidden size", minimum=8)
    layers: int = setting(6, "Number of layers", minimum=1)
    attention_heads: int = setting(4, "Number of attention heads", minimum=1)
    feed_forward_size: int = setting(
        1024,
        "Size of the feed-forward layers (causal: two thirds of it, for the same number of weights)",
        minimum=8,
    )
    max_tokens: int = setting(256, "Maximum input length of the finished model in tokens", minimum=16)

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        conflicts = super().conflicts()
        if self.row_tokens > self.max_tokens:
            conflicts.append(f"row_tokens ({self.row_tokens}) must not be above max_tokens ({self.max_tokens})")
        if self.hidden_size % (2 * self.attention_heads):
            conflicts.append(f"hidden_size ({self.hidden_size}) must be a multiple of twice attention_heads")
        return conflicts


@dataclass(frozen=True)
class FurtherRecipe(_TextTraining):
    """How the pre-training of an encoder is continued, with a new MLM head if it has none."""

    train_layers: int = setting(
        -1, "Number of last layers to train with the head (-1: all; 0: only the head)", minimum=-1
    )
    train_embeddings: bool = setting(True, "Train the embeddings and the decoder tied to them")
    head_init: str = setting(
        "identity",
        "Initialisation of the dense layer of a new head: identity, or normal, N(0, 0.02)",
        choices=("identity", "normal"),
    )
    keep_states: float = setting(
        0.0,
        "Weight of a loss term that keeps the hidden states of unmasked tokens close to the base's (0: off)",
        minimum=0,
    )
    steps: int = same_setting(_TextTraining, "steps", 1000)
    decay_share: float = same_setting(_TextTraining, "decay_share", 0.7)
    learning_rate: float = same_setting(_TextTraining, "learning_rate", 3e-4, "Peak learning rate (AdamW)")
    weight_decay: float = same_setting(_TextTraining, "weight_decay", 0.01)
    batch_size: int = same_setting(_TextTraining, "batch_size", 8)
    accumulation: int = same_setting(_TextTraining, "accumulation", 1)
    precision: str = same_setting(_TextTraining, "precision", "auto")

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        both = self.path == "graphs" and self.keep_states
        return super().conflicts() + (["path: graphs cannot be combined with keep_states"] if both else [])
