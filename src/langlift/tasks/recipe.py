"""The recipe of training on a task."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

from langlift.adapters.method import TASK_METHODS, MethodSettings
from langlift.config.settings import MAX_SEED, same_setting, setting
from langlift.training.recipes import PATHS, AdaptRecipe


@dataclass(frozen=True)
class TaskRecipe:
    """How a task adapter, or a whole model, is trained on labelled examples."""

    REPLACES: ClassVar = {"epochs": "min_steps"}
    """A setting -> another setting that it overrides if that one comes from an earlier source."""
    method: str = setting(
        "seq_bn", "Adaptation method; full trains the whole model", choices=TASK_METHODS, option=True
    )
    epochs: int = setting(20, "Number of passes over the training examples", minimum=1, option=True)
    min_steps: int = setting(
        0,
        "Train for at least this many steps; where epochs are fewer, dev is scored as often as there are epochs. "
        "Does not hold if --epochs is given",
        minimum=0,
    )
    learning_rate: float = setting(1e-4, "Peak learning rate", above=0, maximum=1, option="--lr")
    batch_size: int = setting(32, "Examples per step", minimum=1, option=True)
    warmup_share: float = setting(0.05, "Share of the steps used for warm-up", minimum=0, maximum=1)
    weight_decay: float = setting(0.01, "Weight decay (AdamW)", minimum=0)
    reduction_factor: float = same_setting(MethodSettings, "reduction_factor")
    experts: int = same_setting(MethodSettings, "experts")
    share: str = same_setting(MethodSettings, "share")
    merge: str = same_setting(MethodSettings, "merge")
    consistency: float = same_setting(MethodSettings, "consistency")
    patience: int = setting(0, "Stop after this many epochs without a better dev score (0: never)", minimum=0)
    keep_best: bool = setting(True, "Keep the weights of the epoch best on dev (false: those of the last step)")
    pooling: str = setting(
        "auto",
        "Representation of a sentence (of a word, in tasks that label words): first token, last token or mean; "
        "auto: first, or last in decoders",
        choices=("auto", "first", "mean", "last"),
    )
    fit_head: bool = setting(
        False, "Initialise the head by logistic regression on the model's frozen vectors (LP-FT; false: at random)"
    )
    decoding: str = setting(
        "mst",
        "dependencies: the tree with the highest score, or each word's best head (repaired if that is not a tree)",
        choices=("mst", "greedy"),
    )
    label_subwords: str = setting(
        "first",
        "ner: which subwords of a word are labelled and scored (every: as published)",
        choices=("first", "every"),
    )
    columns: tuple[int, ...] = setting(
        (),
        "ner: columns of the word and the tag in CoNLL files, from 1, as in 1,4 (none: guessed)",
        minimum=1,
        option=True,
    )
    max_tokens: int = setting(256, "Maximum length of an example in tokens, including special tokens", minimum=8)
    train_examples: int = setting(0, "Number of training examples, drawn by seed (0: all)", minimum=0, option=True)
    validation_examples: int = setting(
        0, "Maximum number of dev examples per epoch, the same for all seeds (0: all)", minimum=0
    )
    seeds: tuple[int, ...] = setting(
        (1, 2, 3), "One run for each seed", minimum=0, maximum=MAX_SEED, min_items=1, option=True
    )
    precision: str = same_setting(AdaptRecipe, "precision")
    path: str = setting(
        "fast",
        "Implementation; naive pads batches and is slower, with the same results",
        choices=PATHS,
        option=True,
    )

    def steps(self, examples: int) -> int:
        """The number of optimiser steps on this number of training examples."""
        return max(self.min_steps, ceil(self.epochs * examples / self.batch_size))

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        conflicts = [] if len(set(self.seeds)) == len(self.seeds) else ["seeds: the same seed twice"]
        if len(self.columns) not in (0, 2) or len(set(self.columns)) < len(self.columns):
            conflicts.append("columns: two are needed, of the word and of the tag, such as 1,4")
        if self.patience and not self.keep_best:
            conflicts.append("patience: stops at the best dev score, so keep_best must be true")
        return conflicts
