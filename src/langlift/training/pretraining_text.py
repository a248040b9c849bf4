"""The text of pre-training: files, the split into training and reserved text, and the rows of tokens."""

from array import array
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from langlift.corpus.text_data import SplitFile
from langlift.corpus.text_files import Document, read_documents, require_enough, require_file, split_documents
from langlift.data_folder import SPLITS
from langlift.errors import InputError
from langlift.files import atomic_file
from langlift.progress import ProgressBar, say
from langlift.training.examples import TokenMatrix
from langlift.training.recipes import FurtherRecipe, PretrainRecipe

TRAIN = f"{SPLITS[0]}.jsonl"
"""The file of a built folder that is trained on."""
ROWS_OF = "rows of "
"""Before a file's name among the validation rows: NumPy has parameters called ``file`` and ``allow_pickle``."""


def corpus_files(corpus: Sequence[Path], languages: Sequence[str]) -> list[Path]:
    """The text files named, those in folders (only ``languages``, when given), and built folders' train splits.

    InputError if nothing is found, or one is a pipe.
    """
    files: list[Path] = []
    for place in corpus:
        if not place.is_dir():
            require_file(place)
            files.append(place)
        elif (place / TRAIN).is_file():
            files.append(place / TRAIN)
        elif languages:
            files.extend(place / f"{language}.txt" for language in languages)
        else:
            files.extend(sorted(place.glob("*.txt")))
    if not files:
        raise InputError(
            f"{', '.join(map(str, corpus))}: no .txt files", "name text files, a folder of them, or built folders"
        )
    return files


def name_of(file: Path) -> str:
    """The name of a corpus file in results: a built folder's, or the file's without its ending."""
    return file.absolute().parent.name if file.name == TRAIN else file.stem


def documents_of(file: Path) -> list[Document]:
    """The documents of a text file, or of a built folder's train split; InputError if it cannot be used."""
    if file.name != TRAIN:
        return read_documents(file)
    texts = (map(str.strip, text.split("\n")) for text in SplitFile(file.parent, SPLITS[0]))
    documents = [list(filter(None, lines)) for lines in texts]
    require_enough(file, list(chain.from_iterable(documents)))
    return documents


def split_by_budget(
    files: Sequence[Path], recipe: PretrainRecipe | FurtherRecipe
) -> tuple[list[Document], dict[str, list[Document]], dict[str, int]]:
    """(training documents, reserved documents by file name, bytes of training text by file name); both shuffled.

    They depend only on files, share and seed. Each file is split separately, so that text is reserved from each
    language in proportion and the reserved part of one language can be read without the others. Training text is
    limited to the file's ``language_bytes``: the text of a smaller budget is part of a larger one's, and the
    reserved documents do not depend on budgets. InputError if a budget is for no file, or larger than the file's
    training text.
    """
    train: list[Document] = []
    reserved: dict[str, list[Document]] = {}
    sizes: dict[str, int] = {}
    mistakes = [f"no file {name}.txt" for name in recipe.language_bytes if name not in set(map(name_of, files))]
    shares = (1 - recipe.reserved_share, recipe.reserved_share)
    for file in files:
        mine, kept = split_documents(documents_of(file), shares, recipe.seed)
        name = name_of(file)
        budget = recipe.language_bytes.get(name)
        if budget is not None:
            if (there := bytes_of(mine)) < budget:
                mistakes.append(f"{name}: {budget:,} bytes requested, only {there:,} available")
            cut = beginning(mine, budget)
            # Empty documents keep the shuffle below the same for every budget.
            mine = [*cut, *[[] for _ in mine[len(cut) :]]]
        sizes[name] = sizes.get(name, 0) + bytes_of(mine)
        train.extend(mine)
        reserved.setdefault(name, []).extend(kept)
    if mistakes:
        raise InputError(f"language_bytes: {'; '.join(mistakes)}", "lower the budgets, or give more text")
    random = np.random.default_rng(recipe.seed)
    ordered = [train[i] for i in random.permutation(len(train))]
    shuffled = {name: [kept[i] for i in random.permutation(len(kept))] for name, kept in reserved.items()}
    return [document for document in ordered if document], shuffled, sizes


def beginning(documents: Sequence[Document], most_bytes: int) -> list[Document]:
    """The first lines of the documents, at most ``most_bytes`` bytes in total; the last document may be cut."""
    kept: list[Document] = []
    remaining = most_bytes
    for document in documents:
        sizes = np.cumsum([len(line.encode()) + 1 for line in document])
        lines = int(np.searchsorted(sizes, remaining, side="right"))
        if lines:
            kept.append(document[:lines])
        if lines < len(document):
            break
        remaining -= int(sizes[-1])
    return kept


def bytes_of(documents: Sequence[Document]) -> int:
    """Bytes of text in UTF-8, line ends included."""
    return sum(len(line.encode()) + 1 for document in documents for line in document)


def token_rows(
    cache: Path, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], length: int
) -> TokenMatrix:
    """Token rows of shape [rows, length]: `<s>`, then running text in which `</s>` ends each line.

    Documents are concatenated; a row may begin in the middle of a sentence, and there is no padding. The rows are
    stored in ``cache``, so that a resumed run need not tokenise again. InputError if the text is too short for one
    row.
    """
    if not cache.exists():
        rows = _cut(tokenizer, documents, length, f"tokenising {cache.stem.replace('_', ' ')}")
        if not len(rows):
            raise InputError(
                f"the text is shorter than one row of {length} tokens", "give more text, or a smaller row_tokens"
            )
        with atomic_file(cache) as staging, staging.open("wb") as file:
            np.save(file, rows)
    stored: TokenMatrix = np.load(cache)
    return stored


def reserved_rows(
    cache: Path,
    tokenizer: PreTrainedTokenizerBase,
    reserved: Mapping[str, Sequence[Document]],
    length: int,
    limit: int,
) -> dict[str, TokenMatrix]:
    """The validation rows by file name: ``limit`` in total, equally many of each file; stored in ``cache``.

    InputError if the reserved text of every file is too short for one row.
    """
    if not cache.exists():
        share = max(1, limit // len(reserved))
        cut = {name: _cut(tokenizer, some, length, f"tokenising {name}", share) for name, some in reserved.items()}
        if short := [name for name, rows in cut.items() if not len(rows)]:
            say(f"no validation on {', '.join(short)}: less reserved text than one row of {length} tokens")
        if len(short) == len(cut):
            raise InputError(
                f"the reserved text is shorter than one row of {length} tokens",
                "give more text, or a smaller row_tokens",
            )
        with atomic_file(cache) as staging, staging.open("wb") as file:
            found = {f"{ROWS_OF}{name}": rows for name, rows in cut.items() if len(rows)}
            np.savez(file, allow_pickle=False, **found)
    with np.load(cache) as stored:
        return {name.removeprefix(ROWS_OF): stored[name] for name in stored.files}


def _cut(
    tokenizer: Any, documents: Sequence[Document], length: int, what: str, limit: int | None = None
) -> TokenMatrix:
    """The token rows of documents, at most ``limit`` of them."""
    kind = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
    first, last = beginning_and_end(tokenizer)
    flat = array("H" if kind is np.uint16 else "I")
    with ProgressBar(what, len(documents), "documents") as bar:
        for start in range(0, len(documents), 200):
            batch = documents[start : start + 200]
            lines = list(chain.from_iterable(batch))
            encoded = tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"]
            for ids in encoded:
                flat.extend(ids)
                flat.append(last)
            bar.advance(len(batch))
            if limit is not None and len(flat) >= limit * (length - 1):
                break
    count = len(flat) // (length - 1)
    count = count if limit is None else min(count, limit)
    rows = np.full((count, length), first, dtype=kind)
    rows[:, 1:] = np.frombuffer(flat, dtype=kind)[: count * (length - 1)].reshape(count, length - 1)
    return rows


def beginning_and_end(tokenizer: Any) -> tuple[int, int]:
    """The ids of the tokens at the beginning and end of a text: cls and sep in BERT, bos and eos in others."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    last = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if first is None or last is None:
        raise InputError(
            "the tokenizer has no tokens for the beginning and the end of a text", "choose another base"
        )
    return first, last
