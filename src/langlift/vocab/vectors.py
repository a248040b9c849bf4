"""Auxiliary vectors of tokens: trained on text with fastText, or read from a file."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError, LangliftError
from langlift.progress import ProgressBar
from langlift.vocab.parts import token_ids
from langlift.vocab.recipe import VocabRecipe

NEGATIVE_SAMPLES = 10
MAXIMUM_BUCKETS = 2_000_000
BUCKETS_PER_TOKEN = 40
"""Number of n-gram buckets: a token has about a dozen n-grams, so there are few collisions."""


def train_vectors(tokenizer: Any, lines: Iterable[str], recipe: VocabRecipe) -> dict[str, npt.NDArray[np.float32]]:
    """fastText vectors (CBOW with character n-grams) of the tokens that occur often enough.

    Text is tokenised first, so the "words" are tokens. Uses one thread: the same seed gives the same vectors.
    LangliftError if gensim is not installed, or no token is frequent enough.
    """
    try:
        from gensim.models import FastText
        from gensim.models.callbacks import CallbackAny2Vec
    except ImportError:
        raise LangliftError(
            "training vectors for FOCUS needs gensim",
            "pip install 'langlift[vocab]', or give vectors with --vectors, or use --init mean",
        ) from None

    class Epochs(CallbackAny2Vec):
        def on_epoch_end(self, model: Any) -> None:
            bar.advance()

    with TemporaryDirectory() as work:
        text = Path(work, "pieces.txt")
        with text.open("w", encoding="utf-8") as file:
            for ids in token_ids(tokenizer, lines):
                file.write(" ".join(tokenizer.convert_ids_to_tokens(ids)) + "\n")
        try:
            with ProgressBar("training vectors", recipe.vector_epochs, "epochs") as bar:
                model = FastText(
                    corpus_file=str(text),
                    vector_size=recipe.vector_size,
                    min_count=recipe.vector_least_count,
                    negative=NEGATIVE_SAMPLES,
                    sg=0,
                    workers=1,
                    seed=recipe.seed,
                    bucket=min(MAXIMUM_BUCKETS, BUCKETS_PER_TOKEN * len(tokenizer)),
                    epochs=recipe.vector_epochs,
                    callbacks=[Epochs()],
                )
        except RuntimeError:  # of a vocabulary without tokens
            raise LangliftError(
                f"no token occurs {recipe.vector_least_count} times in the corpus",
                "give more text, or a lower --set vector_least_count",
            ) from None
    return {piece: np.asarray(model.wv[piece], dtype=np.float32) for piece in model.wv.key_to_index}


def read_vectors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Vectors in fastText's text format: ``count dimensions``, then a line of a token and its numbers for each."""
    header, *lines = read_raw_lines(path)
    if lines and not lines[-1]:
        lines.pop()
    try:
        count, dimensions = map(int, header.split())
    except ValueError:
        raise InputError(
            f"{path}:1: no line 'count dimensions'", "use fastText's .vec format, which starts with it"
        ) from None
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    for number, line in enumerate(lines, start=2):
        token, *values = line.rstrip(" ").split(" ")
        try:
            vectors[token] = np.asarray(values, dtype=np.float32)
            fits = len(values) == dimensions and np.isfinite(vectors[token]).all()
        except ValueError:
            fits = False
        if not fits:
            raise InputError(
                f"{path}:{number}: not a token and {dimensions} finite numbers", "fix or remove the line"
            )
    if len(vectors) != count:
        raise InputError(
            f"{path}:1: says {count} vectors, but there are {len(vectors)}",
            "the file is truncated or has duplicate tokens",
        )
    return vectors
