"""The main job in minutes, offline: lift Maltese with the bundled model and text."""

import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from langlift.backbones.loading import NANO, load_masked_model, load_tokenizer
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.config.loading import resolve
from langlift.config.recipes import AdaptRecipe
from langlift.corpus.text_data import load_text_data
from langlift.evaluation.gap_filling import GapFilling, fill_gap, frequent_words
from langlift.evaluation.pseudo_perplexity import Score, score_sentences
from langlift.languages import find_language
from langlift.training.adaptation import adapt

METHODS = ("seq_bn", "seq_bn_inv")
GAP = ("Ommi sajret borma kbira ", "ta'", " minestra.")
"""A sentence that is not in the sample ("My mother cooked a big pot of soup"): before, right word, after."""
GAP_WORDS = 50
"""The gap is filled with one of so many frequent words of the training text."""


@dataclass(frozen=True)
class DemoResult:
    """Held-out Maltese before and after; each dictionary has the keys base, seq_bn and seq_bn_inv.

    ``gap_filled`` is the word that a model finds most probable in ``gap`` (before, right word, after) among 50
    frequent words of the training text, ``gap_rank`` the place of the right one among them.
    """

    language: str
    seconds: float
    pppl_per_character: dict[str, float]
    pseudo_perplexity: dict[str, float]
    gap: tuple[str, str, str]
    gap_filled: dict[str, str]
    gap_rank: dict[str, int]
    sentences: int
    out: str


def demo(out: Path, seed: int = 42) -> DemoResult:
    """Train a Seq_bn and a Seq_bn_inv adapter on the bundled Maltese sample; score its test split.

    Runs that ``out`` holds already, finished or not, are used and gone on with.

    Raises:
        InputError: ``out`` holds runs with other settings.
    """
    started = time.monotonic()
    text = Path(str(files("langlift") / "bundled" / "mlt_Latn.txt"))
    maltese = find_language("mlt_Latn")
    data = load_text_data(text)
    words = frequent_words(data.train, GAP_WORDS)
    tokenizer = load_tokenizer(NANO)
    scores: dict[str, Score] = {}
    gaps: dict[str, GapFilling] = {}
    for name in ("base", *METHODS):
        model = load_masked_model(NANO)
        if name != "base":
            recipe = resolve(AdaptRecipe, "adapt", preset="nano", flags={"method": name, "seed": seed})
            adapt(maltese, NANO, text, out / name, recipe, resume=True)
            load_adapter(model, out / name)
        scores[name] = score_sentences(model, tokenizer, data.test)
        gaps[name] = fill_gap(model, tokenizer, *GAP, words)
    return DemoResult(
        language=str(maltese),
        seconds=round(time.monotonic() - started, 1),
        pppl_per_character={name: score.per_character for name, score in scores.items()},
        pseudo_perplexity={name: score.pseudo_perplexity for name, score in scores.items()},
        gap=GAP,
        gap_filled={name: gap.filled for name, gap in gaps.items()},
        gap_rank={name: gap.rank for name, gap in gaps.items()},
        sentences=len(data.test),
        out=str(out),
    )
