"""Auxiliary vectors of a vocabulary's pieces: trained by fastText on text, or read from a file."""

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

NEGATIVE_SAMPLES = 10
MOST_BUCKETS = 2_000_000
BUCKETS_PER_PIECE = 40
"""A piece has a dozen n-grams or so: with this many buckets few of them meet in one."""


def train_vectors(
    tokenizer: Any, lines: Iterable[str], size: int, epochs: int, least_count: int, seed: int
) -> dict[str, npt.NDArray[np.float32]]:
    """fastText vectors (CBOW with character n-grams) of the pieces that occur ``least_count`` times or more.

    Text is cut by ``tokenizer`` first, so that the "words" are its pieces. One thread: the same seed gives
    the same vectors.

    Raises:
        LangliftError: gensim is not installed, or no piece is frequent enough.
    """
    try:
        from gensim.models import FastText
        from gensim.models.callbacks import CallbackAny2Vec
    except ImportError:
        raise LangliftError(
            "training vectors for FOCUS needs gensim",
            "pip install 'langlift[vocab]', or give vectors with --vectors, or use --init mean",
        ) from None

    class Epochs(CallbackAny2Vec):  # type: ignore[misc]
        def on_epoch_end(self, model: Any) -> None:
            bar.advance()

    with TemporaryDirectory() as work:
        text = Path(work, "pieces.txt")
        with text.open("w", encoding="utf-8") as file:
            for ids in token_ids(tokenizer, lines):
                file.write(" ".join(tokenizer.convert_ids_to_tokens(ids)) + "\n")
        model = FastText(
            vector_size=size,
            min_count=least_count,
            negative=NEGATIVE_SAMPLES,
            sg=0,
            workers=1,
            seed=seed,
            bucket=min(MOST_BUCKETS, BUCKETS_PER_PIECE * len(tokenizer)),
        )
        with ProgressBar("training vectors", epochs, "epochs") as bar:
            model.build_vocab(corpus_file=str(text))
            if not len(model.wv):
                raise LangliftError(
                    f"no piece occurs {least_count} times in the corpus",
                    "give more text, or a lower --set vector_least_count",
                )
            model.train(
                corpus_file=str(text),
                epochs=epochs,
                total_examples=model.corpus_count,
                total_words=model.corpus_total_words,
                callbacks=[Epochs()],
            )
    return {piece: np.asarray(model.wv[piece], dtype=np.float32) for piece in model.wv.key_to_index}


def read_vectors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read vectors in fastText's text form: a line ``count dimensions``, then a piece and its numbers a line.

    Raises:
        InputError: the file cannot be read or a line is damaged.
    """
    lines = read_raw_lines(path)
    if lines and not lines[-1]:
        lines.pop()
    head = lines[0].split() if lines else []
    if len(head) != 2 or not all(part.isdecimal() for part in head):
        raise InputError(
            f"{path}:1: no line 'count dimensions'", "fastText's .vec form: a header, then a piece and its numbers"
        )
    dimensions = int(head[1])
    vectors: dict[str, npt.NDArray[np.float32]] = {}
    for number, line in enumerate(lines[1:], start=2):
        piece, *values = line.rstrip(" ").split(" ")
        if len(values) != dimensions:
            raise InputError(
                f"{path}:{number}: {len(values)} numbers, not {dimensions}", "a piece and its numbers a line"
            )
        try:
            vector = np.asarray(values, dtype=np.float32)
        except ValueError:
            raise InputError(f"{path}:{number}: not a number", "a piece and its numbers a line") from None
        if not np.isfinite(vector).all():
            raise InputError(f"{path}:{number}: a number that is not finite", "mend or remove the line")
        vectors[piece] = vector
    if len(vectors) != int(head[0]):
        raise InputError(
            f"{path}:1: says {head[0]} vectors, and there are {len(vectors)}",
            "the file is cut short or has doubles",
        )
    return vectors
