"""The recipe of a new vocabulary."""

from dataclasses import dataclass

from langlift.config.settings import MAX_SEED, setting

KINDS = ("auto", "unigram", "bpe", "wordpiece")
INITS = ("focus", "script", "mean", "random")


@dataclass(frozen=True)
class VocabRecipe:
    """How a vocabulary is built, and how the embeddings of a model with a new vocabulary are initialised."""

    kind: str = setting("auto", "build: kind of tokenizer; auto is the base's", choices=KINDS, option=True)
    size: int = setting(
        16_000,
        "build: vocabulary size, including special tokens and bytes",
        minimum=50,
        maximum=1_000_000,
        option=True,
    )
    pieces: int = setting(
        2000, "build with --extend: number of tokens to add", minimum=1, maximum=1_000_000, option=True
    )
    alpha: float = setting(
        0.3,
        "Several corpora: lines are sampled in proportion to size^alpha (1: by size, 0: evenly)",
        minimum=0,
        maximum=2,
        option=True,
    )
    character_coverage: float = setting(
        0.9998, "build: share of the characters in the text that must be covered by tokens", above=0, maximum=1
    )
    init: str = setting(
        "focus", "apply: initialisation of the embeddings of new tokens", choices=INITS, option=True
    )
    copy_overlap: bool = setting(True, "apply: copy the embeddings of tokens in both vocabularies (focus: always)")
    position: bool = setting(True, "apply, script: group word-initial tokens separately")
    vector_size: int = setting(100, "apply, focus: dimension of the fastText vectors", minimum=1)
    vector_epochs: int = setting(3, "apply, focus: number of epochs to train the vectors", minimum=1)
    vector_least_count: int = setting(
        10, "apply, focus: minimum frequency of a token that gets a vector", minimum=1
    )
    seed: int = setting(
        42,
        "Seed of the sampled lines, the vectors and randomly initialised embeddings",
        minimum=0,
        maximum=MAX_SEED,
        option=True,
    )

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        if self.init == "focus" and not self.copy_overlap:
            return ["copy_overlap must be true with init focus, which uses the shared tokens"]
        return []
