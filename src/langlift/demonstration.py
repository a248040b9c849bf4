"""The main job in minutes, offline: lift Maltese with the bundled model and text."""

import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from langlift.backbones.loading import NANO, load_masked_model, load_tokenizer
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.config.loading import resolve
from langlift.config.recipes import AdaptRecipe
from langlift.corpus.text_data import texts_to_score
from langlift.evaluation.gap_filling import GapFilling, fill_gap
from langlift.evaluation.pseudo_perplexity import Score, score_sentences
from langlift.languages import find_language
from langlift.training.adaptation import adapt

METHODS = ("seq_bn", "seq_bn_inv")
GAP = ("Kuljum immorru ", "l-iskola", " bil-karozza tal-linja.")
"""A sentence that is not in the sample: before the gap, the hidden words, after it."""


@dataclass(frozen=True)
class DemoResult:
    """Held-out Maltese before and after; each dictionary has the keys base, seq_bn and seq_bn_inv."""

    language: str
    seconds: float
    pppl_per_character: dict[str, float]
    pseudo_perplexity: dict[str, float]
    gap: tuple[str, str, str]
    gap_filled: dict[str, str]
    gap_probability: dict[str, float]
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
    sentences = texts_to_score(text, "test")
    tokenizer = load_tokenizer(NANO)
    scores: dict[str, Score] = {}
    gaps: dict[str, GapFilling] = {}
    for name in ("base", *METHODS):
        model = load_masked_model(NANO)
        if name != "base":
            recipe = resolve(AdaptRecipe, "adapt", preset="nano", flags={"method": name, "seed": seed})
            adapt(maltese, NANO, text, out / name, recipe, resume=True)
            load_adapter(model, out / name)
        scores[name] = score_sentences(model, tokenizer, sentences)
        gaps[name] = fill_gap(model, tokenizer, *GAP)
    return DemoResult(
        language=str(maltese),
        seconds=round(time.monotonic() - started, 1),
        pppl_per_character={name: score.per_character for name, score in scores.items()},
        pseudo_perplexity={name: score.pseudo_perplexity for name, score in scores.items()},
        gap=GAP,
        gap_filled={name: gap.filled for name, gap in gaps.items()},
        gap_probability={name: gap.probability for name, gap in gaps.items()},
        sentences=len(sentences),
        out=str(out),
    )
