"""The recipes of runs: what a user may set, with defaults, meaning and limits. Written into every run folder."""

from dataclasses import dataclass
from typing import Any, ClassVar

from langlift.config.settings import MOST_SEED
from langlift.config.settings import setting as _setting

CAUSAL = "causal"
OBJECTIVES = ("mlm", "full_word", "targeted", CAUSAL)
PRECISIONS = ("auto", "float32", "bf16")
PATHS = ("fast", "naive")
VOCABULARY_KINDS = ("auto", "unigram", "bpe", "wordpiece")
VOCABULARY_INITS = ("focus", "script", "mean", "random")


def precision_setting(default: str = "auto") -> Any:
    """The arithmetic of a run."""
    meaning = "arithmetic: auto means bf16 where the machine has it and a check of one batch passes, else float32"
    return _setting(default, meaning, choices=PRECISIONS)


def path_setting() -> Any:
    """How a run is computed."""
    meaning = "how it is computed: fast, or naive (padded batches; slower, the same numbers)"
    return _setting("fast", meaning, choices=PATHS)


def _experts() -> Any:
    meaning = "mosa: sparse experts that stand for one adapter in training"
    return _setting(4, meaning, least=2)


def _share() -> Any:
    meaning = "mosa: the projection that stays one dense matrix instead of being split into experts"
    return _setting("down", meaning, choices=("down", "up", "none"))


def _merge() -> Any:
    meaning = "mosa: experts become one adapter by their mean, or each entry from its owner (joint)"
    return _setting("mean", meaning, choices=("mean", "joint"))


def _consistency() -> Any:
    meaning = "mosa: weight of the divergence from a second pass (0: no second pass)"
    return _setting(1.0, meaning, least=0)


def keep_states_setting() -> Any:
    """The weight of keeping the states."""
    meaning = "weight of a term that keeps the states of tokens that are not predicted as they were (0: none)"
    return _setting(0.0, meaning, least=0)


@dataclass(frozen=True)
class TaskRecipe:
    """How a task adapter, or a whole model, is trained on labelled examples."""

    method: str = _setting("seq_bn", "what is trained", choices=("seq_bn", "mosa", "full"))
    epochs: int = _setting(20, "passes over the training examples", least=1)
    learning_rate: float = _setting(1e-4, "peak learning rate", above=0, most=1)
    batch_size: int = _setting(32, "examples a step", least=1)
    warmup_share: float = _setting(0.05, "share of the steps that warm up", least=0, most=1)
    weight_decay: float = _setting(0.01, "weight decay (AdamW)", least=0)
    reduction_factor: float = _setting(16.0, "bottleneck: hidden size over bottleneck size", above=0)
    experts: int = _experts()
    share: str = _share()
    merge: str = _merge()
    consistency: float = _consistency()
    patience: int = _setting(0, "epochs without a better dev score that end training (0: none do)", least=0)
    pooling: str = _setting(
        "auto",
        "vector of a sentence, or where words are labelled of a word: first or last token, or mean; auto: first, "
        "in decoders last",
        choices=("auto", "first", "mean", "last"),
    )
    fit_head: bool = _setting(
        False, "start the head as a logistic regression on the vectors of the model as it is (LP-FT); else random"
    )
    decoding: str = _setting(
        "mst",
        "dependencies: the tree with the highest score, or each word's best head (mended where that is no tree)",
        choices=("mst", "greedy"),
    )
    label_subwords: str = _setting(
        "first",
        "NER: the tokens of a word that are labelled and scored (every: as published)",
        choices=("first", "every"),
    )
    max_tokens: int = _setting(256, "longest example in tokens, special ones included", least=8)
    train_examples: int = _setting(0, "use only this many training examples, drawn by seed (0: all)", least=0)
    validation_examples: int = _setting(
        0, "most dev examples scored after each epoch, drawn once for all seeds (0: all)", least=0
    )
    seeds: tuple[int, ...] = _setting((1, 2, 3), "one run for each", least=0, most=MOST_SEED, items=1)
    precision: str = precision_setting()
    path: str = path_setting()

    def mistakes(self) -> list[str]:
        """Settings that do not go together."""
        return [] if len(set(self.seeds)) == len(self.seeds) else ["seeds: the same seed twice"]


@dataclass(frozen=True)
class PromptRecipe:
    """How a large model is asked, and how its answers are counted."""

    SERVING: ClassVar = (
        "concurrency",
        "timeout",
        "retries",
        "first_wait",
        "requests_per_minute",
        "tokens_per_minute",
    )
    """Settings that change no answer."""
    shots: int = _setting(0, "solved examples in a prompt, drawn from the train split by the seed", least=0)
    balanced: bool = _setting(True, "where texts have labels: the examples go round them (false: any examples)")
    seeds: tuple[int, ...] = _setting(
        (1,), "one run for each: its draw of examples", least=0, most=MOST_SEED, items=1
    )
    temperature: float = _setting(0.0, "0: the most probable answer; above: drawn, by the seed", least=0, most=2)
    answer_tokens: int = _setting(512, "longest answer in tokens, thinking included", least=1)
    structured: str = _setting(
        "auto", "server: have it keep to the answer's JSON schema where it can", choices=("auto", "off")
    )
    unparsed: str = _setting(
        "wrong",
        "answers that cannot be read: count as wrong, or are left out as published",
        choices=("wrong", "left_out"),
    )
    failures: str = _setting(
        "stop",
        "prompts without an answer after all tries: the run stops, or they count as wrong",
        choices=("stop", "wrong"),
    )
    concurrency: int = _setting(8, "server: prompts asked at the same time", least=1)
    timeout: float = _setting(120.0, "server: seconds for one answer", above=0)
    retries: int = _setting(6, "server: further tries of a prompt", least=0)
    first_wait: float = _setting(1.0, "server: seconds before the second try; they double, up to 60", above=0)
    requests_per_minute: float = _setting(0.0, "server: most prompts a minute (0: no limit)", least=0)
    tokens_per_minute: float = _setting(
        0.0, "server: most tokens a minute, answers included (0: no limit)", least=0
    )
    price_in: float = _setting(0.0, "price of a million tokens of prompts (0: not told)", least=0)
    price_out: float = _setting(0.0, "price of a million tokens of answers, thinking included", least=0)
    batch_size: int = _setting(8, "local model: prompts answered at once", least=1)
    precision: str = _setting(
        "auto", "local model: auto means bf16 on a GPU that has it, else float32", choices=PRECISIONS
    )

    def mistakes(self) -> list[str]:
        """Settings that do not go together."""
        found = [] if len(set(self.seeds)) == len(self.seeds) else ["seeds: the same seed twice"]
        if len(self.seeds) > 1 and not self.shots and not self.temperature:
            found.append("seeds: without shots and at temperature 0 all seeds ask the same: give one")
        return found


@dataclass(frozen=True)
class GraphRecipe:
    """How triples become sentences. Published were last_segment, by_sentence and keep."""

    term: str = _setting(
        "third_segment",
        "the term of /c/mt/qattus/n: 'qattus' or 'n'",
        choices=("third_segment", "last_segment"),
    )
    split: str = _setting("by_concept", "what stays together in one split", choices=("by_concept", "by_sentence"))
    duplicates: str = _setting("drop", "sentences that occur twice", choices=("drop", "keep"))
    ends: str = _setting(
        "start", "ConceptNet: the end that must be in LANG (the other is free)", choices=("start", "either")
    )
    noise: float = _setting(0.0, "share of the triples that is corrupted, to study robustness", least=0, most=1)
    seed: int = _setting(0, "seed of the split and of the noise", least=0, most=MOST_SEED)


@dataclass(frozen=True)
class _TextTraining:
    """What the pre-training of any base model has in common."""

    languages: tuple[str, ...] = _setting((), "file names (without .txt) to take from a folder (none: all)")
    language_bytes: dict[str, int] = _setting(  # noqa: RUF009 - a field with a factory
        {}, "most bytes of text to train on by file name, as `{eng_Latn: 64000}` (others: all there is)", least=1
    )
    row_tokens: int = _setting(128, "length of a training row", least=16)
    steps: int = _setting(10_000, "optimiser steps", least=1)
    decay_share: float = _setting(0.3, "share of the steps, at the end, that lower the rate", least=0, most=1)
    warmup_share: float = _setting(0.02, "share of the steps that warm up", least=0, most=1)
    learning_rate: float = _setting(2e-3, "peak learning rate (Muon and AdamW)", above=0, most=1)
    weight_decay: float = _setting(0.05, "weight decay", least=0)
    batch_size: int = _setting(16, "rows computed at once", least=1)
    accumulation: int = _setting(4, "times batch_size make a step", least=1)
    masking_share: float = _setting(0.15, "share of the tokens that is predicted", above=0, most=1)
    reserved_share: float = _setting(0.1, "share of the documents kept for validation", above=0, most=0.5)
    validation_rows: int = _setting(600, "rows measured at each validation, of all files together", least=1)
    validate_every: int = _setting(250, "steps between validations", least=1)
    save_steps: int = _setting(250, "steps between checkpoints", least=1)
    seed: int = _setting(0, "seed of split, initialisation, order and masks", least=0, most=MOST_SEED)
    precision: str = precision_setting("bf16")
    path: str = path_setting()

    def mistakes(self) -> list[str]:
        """Settings that do not go together."""
        unknown = [name for name in self.language_bytes if self.languages and name not in self.languages]
        return [f"language_bytes: {', '.join(unknown)} not among languages"] if unknown else []


@dataclass(frozen=True)
class PretrainRecipe(_TextTraining):
    """How a base model is trained from scratch."""

    objective: str = _setting(
        "mlm", "what it learns: mlm (XLM-R's architecture) or causal (Llama's)", choices=("mlm", CAUSAL)
    )
    vocabulary_size: int = _setting(16_000, "entries of the tokenizer", least=300, most=65_536)
    byte_fallback: bool = _setting(True, "spell characters without a piece in bytes (off: they are unknown)")
    hidden_size: int = _setting(256, "width", least=8)
    layers: int = _setting(6, "depth", least=1)
    attention_heads: int = _setting(4, "attention heads", least=1)
    feed_forward_size: int = _setting(
        1024, "width of the feed-forward layers (causal: two thirds, in three matrices: as many weights)", least=8
    )
    max_tokens: int = _setting(256, "longest input of the finished model", least=16)

    def mistakes(self) -> list[str]:
        """Settings that do not go together."""
        found = super().mistakes()
        if self.row_tokens > self.max_tokens:
            found.append(f"row_tokens ({self.row_tokens}) must not be above max_tokens ({self.max_tokens})")
        if self.hidden_size % (2 * self.attention_heads):
            found.append(f"hidden_size ({self.hidden_size}) must be a multiple of twice attention_heads")
        return found


@dataclass(frozen=True)
class FurtherRecipe(_TextTraining):
    """How the pre-training of an encoder goes on, with a masked head made for it where it has none."""

    train_layers: int = _setting(
        -1, "number of last layers that train, along with the head (-1: all; 0: only the head)", least=-1
    )
    train_embeddings: bool = _setting(True, "the embeddings train, and with them the decoder tied to them")
    head_init: str = _setting(
        "identity",
        "a missing head's dense layer begins as the identity, or from N(0, 0.02)",
        choices=("identity", "normal"),
    )
    keep_states: float = keep_states_setting()
    steps: int = _setting(1000, "optimiser steps", least=1)
    decay_share: float = _setting(0.7, "share of the steps, at the end, that lower the rate", least=0, most=1)
    learning_rate: float = _setting(3e-4, "peak learning rate (AdamW)", above=0, most=1)
    weight_decay: float = _setting(0.01, "weight decay", least=0)
    batch_size: int = _setting(8, "rows computed at once", least=1)
    accumulation: int = _setting(1, "times batch_size make a step", least=1)
    precision: str = precision_setting("auto")


@dataclass(frozen=True)
class VocabRecipe:
    """How a vocabulary is built, and how the rows of a model with a new vocabulary begin."""

    kind: str = _setting("auto", "build: what the base's tokenizer is, or", choices=VOCABULARY_KINDS)
    size: int = _setting(16_000, "build: entries, special tokens and bytes included", least=50, most=1_000_000)
    pieces: int = _setting(2000, "build with --extend: pieces to add", least=1, most=1_000_000)
    alpha: float = _setting(
        0.3,
        "several corpora: lines are drawn in proportion to size^alpha (1: by size, 0: evenly)",
        least=0,
        most=2,
    )
    character_coverage: float = _setting(
        0.9998, "build: share of the text whose characters get pieces of their own", above=0, most=1
    )
    init: str = _setting(
        "focus",
        "apply: how tokens begin that the base does not hold",
        choices=VOCABULARY_INITS,
    )
    copy_overlap: bool = _setting(True, "apply: tokens that the base holds keep their rows (focus: always)")
    position: bool = _setting(True, "apply, script: draw word-initial tokens and others apart")
    vector_size: int = _setting(100, "apply, focus: dimensions of the fastText vectors", least=1)
    vector_epochs: int = _setting(3, "apply, focus: epochs of their training", least=1)
    vector_least_count: int = _setting(10, "apply, focus: times a piece must occur to get one", least=1)
    seed: int = _setting(
        42, "seed of draws from the corpora, of vectors and of drawn rows", least=0, most=MOST_SEED
    )

    def mistakes(self) -> list[str]:
        """Settings that do not go together."""
        if self.init == "focus" and not self.copy_overlap:
            return ["copy_overlap must be true with init focus, which builds on the overlap"]
        return []
