"""Less of the same data: the train split reduced to a number of bytes; dev and test unchanged."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np

from langlift.corpus.sources import open_source, parse_source
from langlift.corpus.text_data import TextData, load_text_data
from langlift.corpus.text_files import iterate_lines
from langlift.data_folder import MANIFEST, SPLITS
from langlift.files import new_folder, read_json, sha256_of, write_json
from langlift.languages import find_language
from langlift.studies.step import RUN, Dependency, Input, Step

ORDER_SEED = 0
"""Seed of one order for all sizes, so that a smaller part is contained in every larger one."""


@dataclass(frozen=True)
class CutResult:
    """The kept part of the train split: sentences, and bytes of text (UTF-8, including line ends)."""

    data: str
    max_bytes: int
    sentences: int
    bytes: int
    of_sentences: int
    of_bytes: int


def cut_data(source: Path, out: Path, max_bytes: int) -> CutResult:
    """Write a built folder with a random part of the train split that has at most ``max_bytes`` of text.

    At least one sentence is kept; all are kept if they fit. The spans of a graph's sentences are
    kept. The smaller of two parts is contained in the larger.

    Raises:
        InputError: the source is damaged, or ``out`` is not empty.
    """
    texts = load_text_data(source)  # checks all of it
    sizes = np.fromiter((len(json.loads(row)["text"].encode()) + 1 for row in _rows(source, texts)), np.int64)
    order = np.random.default_rng(ORDER_SEED).permutation(len(sizes))
    fitting = int(np.searchsorted(np.cumsum(sizes[order]), max_bytes, side="right"))
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[: max(1, fitting)]] = True
    with new_folder(out) as folder:
        for split in SPLITS:
            if split != "train" and source.is_dir():
                shutil.copyfile(source / f"{split}.jsonl", folder / f"{split}.jsonl")
                continue
            rows = _rows(source, texts, split)
            with (folder / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(f"{row}\n" for row in (compress(rows, chosen) if split == "train" else rows))
        result = CutResult(
            data=out.name,
            max_bytes=max_bytes,
            sentences=int(chosen.sum()),
            bytes=int(sizes[chosen].sum()),
            of_sentences=len(sizes),
            of_bytes=int(sizes.sum()),
        )
        digest = sha256_of([folder / "train.jsonl"])
        write_json(folder / MANIFEST, {"cut_from": source.name, "train_sha256": digest, "max_bytes": max_bytes})
    return result


def larger_than_data(steps: Sequence[Step], runs: Path | None = None) -> list[str]:
    """A remark for each cut to more bytes than there are, by the finished run in ``runs`` or the local files."""
    remarks = []
    for step in (one for one in steps if one.kind == "cut"):
        run, source, wanted = {}, step.inputs["of"][0], step.settings["max_bytes"]
        if runs is not None:
            run = read_json(step.folder_in(runs) / RUN)
        size = run["result"]["before"] if run.get("hash") == step.hash else _at_most(source)
        if size is not None and size < wanted:
            cell = f"{step.cell['language']}, {step.cell['data']}"
            remarks.append(
                f"{cell}: max_bytes {wanted:,} is larger than the data (at most {size:,} bytes to train on)"
            )
    return remarks


def _at_most(source: Dependency) -> int | None:
    """At most this many bytes are in the train split; None if that is not known before it is built."""
    if isinstance(source, Input):
        path = Path(source.path)
        return (path / "train.jsonl" if path.is_dir() else path).stat().st_size
    specs = [parse_source(str(path)) for path in source.paths("sources")] if source.kind == "corpus" else []
    if not specs or any(spec.kind != "file" for spec in specs):
        return None
    return sum(open_source(spec, find_language(source.settings["language"])).size or 0 for spec in specs)


def _rows(source: Path, texts: TextData, split: str = "train") -> Iterator[str]:
    """The lines of a split of a built folder, without those that have no text; made from the texts of a file."""
    if not source.is_dir():
        return (json.dumps({"text": text}, ensure_ascii=False) for text in getattr(texts, split))
    lines = iterate_lines(source / f"{split}.jsonl")
    return (line for line in lines if line.strip() and json.loads(line)["text"].strip())
