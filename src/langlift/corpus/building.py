"""Build a folder with train, dev and test splits, examples of dropped text, and a manifest from text sources."""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

import numpy as np

from langlift.corpus import deduplication, filters, leakage
from langlift.corpus.characters import characters_per_word
from langlift.corpus.language_identification import THRESHOLD, LanguageIdentifier
from langlift.corpus.leakage import read_evaluation_sets
from langlift.corpus.pipeline import DroppedText, Pipeline, TextSize, in_batches
from langlift.corpus.sources import SourceSpec, TextSource, open_source, parse_source
from langlift.data_folder import MANIFEST, MEGABYTE, SPLITS, write_dropped
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder, process_peak_memory_bytes, write_json
from langlift.languages import Language
from langlift.notebook import Shown
from langlift.progress import ProgressBar

MAX_BYTES = 10**9
SPLITS_OF_TEN = ("dev", "test") + ("train",) * 8
MINIMUM_DOCUMENTS = 3
LIMITS = (
    *("MINIMUM_WORDS", "MAXIMUM_WORDS", "MINIMUM_LETTERS", "MINIMUM_SCRIPT", "MAXIMUM_RUNS", "MAXIMUM_WORD"),
    "MAXIMUM_NGRAMS",
)
"""The limits of the filters, for the manifest."""

encode = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True)
class CorpusResult(Shown):
    """The result of ``langlift corpus build``, which is also the content of the folder's ``manifest.json``.

    ``purpose`` is ``training`` or ``scoring``. Each source, ``read`` and ``kept`` have documents, lines that are
    not blank, and bytes (UTF-8, including line ends). ``filters``: what ``cleaning`` and each filter dropped, in
    the order in which they ran; ``read`` is ``kept`` and all of these together. A document counts where its last
    line was dropped, and the bytes of cleaning include what it removed within lines. ``lines_changed``: the number
    of lines that cleaning changed or emptied. ``evaluation``: what the leak check read: files, sentences, and
    skipped files of other kinds (their number, and the first 20). ``leaks``: the number of lines that are also in
    each of these files.
    ``stopped_by_budget``: whether a document did not fit the budget.
    """

    language: str
    purpose: str
    data: str
    sources: list[dict[str, Any]]
    settings: dict[str, Any]
    read: dict[str, int]
    kept: dict[str, int]
    lines_changed: int
    filters: dict[str, dict[str, int]]
    evaluation: dict[str, Any] | None
    leaks: dict[str, int]
    deduplication: dict[str, Any]
    stopped_by_budget: bool
    splits: dict[str, dict[str, Any]]
    seconds: float
    megabytes_per_second: float
    peak_memory_bytes: int
    versions: dict[str, str]


def write_splits(
    folder: Path, documents: Iterable[list[str]], seed: int, scoring: bool = False
) -> dict[str, dict[str, Any]]:
    """Write ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl``; returns the size and SHA-256 of each.

    Documents are numbered from 1. Each block of ten is split by a separate permutation, drawn from ``seed``. With
    fewer than ten documents in all, dev and test get one each. With ``scoring``, all documents go to test.
    """
    names = ("test",) if scoring else SPLITS
    sizes, digests = {name: TextSize() for name in names}, {name: hashlib.sha256() for name in names}
    random, documents, written = np.random.default_rng(seed), iter(documents), 0
    with ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.jsonl").open("wb")) for name in names}
        while block := list(islice(documents, len(SPLITS_OF_TEN))):
            # A lone short block takes the first places of SPLITS_OF_TEN, so that dev and test get a document.
            places = random.permutation(len(SPLITS_OF_TEN) if written else len(block))
            for lines, place in zip(block, places, strict=False):
                written += 1
                split = "test" if scoring else SPLITS_OF_TEN[place]
                rows = "".join(f'{{"text": {encode(line)}, "document": {written}}}\n' for line in lines).encode()
                files[split].write(rows)
                digests[split].update(rows)
                sizes[split].add(len(lines), len(rows))
    return {name: asdict(sizes[name]) | {"sha256": digests[name].hexdigest()} for name in names}


def build_corpus(
    language: Language,
    sources: Sequence[str],
    out: Path,
    *,
    max_bytes: int = MAX_BYTES,
    exclude: Sequence[Path] = (),
    language_model: Path | None = None,
    seed: int = 0,
) -> CorpusResult:
    """Clean and filter the texts of ``sources`` and split them 80/10/10 by document into the folder ``out``.

    ``sources`` have the syntax described in ``sources.py``. They are read in this order, until ``max_bytes`` of
    text (UTF-8) are kept. ``exclude`` are evaluation sets whose sentences must not be in the corpus. The source
    ``flores`` cannot be combined with others: it gives a folder for scoring, with every sentence in
    ``test.jsonl``.

    Raises:
        InputError: a source, an evaluation set or the language model is missing or damaged; too little text is
            left; ``flores`` is combined with training text; or ``out`` is not empty.
        LangliftError: the hub cannot be reached, or the folder cannot be written.
    """
    started = time.monotonic()
    specs, scoring = _specs(sources, filtered=bool(exclude) or language_model is not None)
    check_new_folder(out)
    evaluation = read_evaluation_sets(exclude, language.script)
    identifier = LanguageIdentifier(language_model, language) if language_model is not None else None
    opened = [open_source(spec, language) for spec in specs]
    sizes = [source.size for source in opened if source.size is not None]
    available = sum(sizes) if len(sizes) == len(opened) else None
    dropped = DroppedText(seed)
    pipeline = Pipeline(
        language, max_bytes, dropped, evaluation, identifier, keep_all=scoring, available=available
    )
    read, kept = pipeline.read, pipeline.kept
    with new_folder(out) as folder:
        described: list[dict[str, Any]] = []
        splits = write_splits(folder, _kept(opened, pipeline, max_bytes, available, described), seed, scoring)
        minimum = 1 if scoring else MINIMUM_DOCUMENTS
        if not read.documents:
            raise InputError("the sources contain no text", "check the source and its configuration")
        if kept.documents < minimum:
            raise InputError(
                f"only {kept.documents} of {read.documents:,} documents are left, at least {minimum} are needed; "
                f"{dropped.summary(read.lines)}",
                "give more text or a larger --max-bytes; documents in a file are blocks between blank lines",
            )
        if not scoring:
            write_dropped(folder, dropped.samples())
        seconds = time.monotonic() - started
        result = CorpusResult(
            language=str(language),
            purpose="scoring" if scoring else "training",
            data=str(out),
            sources=described,
            settings=_settings(language, max_bytes, exclude, language_model, seed),
            read=asdict(read),
            kept=asdict(kept),
            lines_changed=pipeline.lines_changed,
            filters=dropped.counts(),
            evaluation=None if evaluation is None else evaluation.described(),
            leaks=dict(pipeline.leaks.most_common()),
            deduplication=pipeline.deduplication.state(),
            stopped_by_budget=pipeline.full,
            splits=splits,
            seconds=round(seconds, 2),
            megabytes_per_second=round(read.bytes / MEGABYTE / max(seconds, 1e-9), 2),
            peak_memory_bytes=process_peak_memory_bytes(),
            versions={"unicode": unidata_version}
            | {name: version(name) for name in ("langlift", "datasets", "numpy", "rbloom", "regex")},
        )
        write_json(folder / MANIFEST, asdict(result))
    return result


def _specs(sources: Sequence[str], filtered: bool) -> tuple[list[SourceSpec], bool]:
    """The sources, and whether they are for scoring."""
    if not sources:
        raise InputError("no source is given", "add one, such as --source glotcc or --source 'file:texts/*.txt'")
    specs = [parse_source(source) for source in sources]
    scoring = any(spec.kind == "flores" for spec in specs)
    if scoring and any(spec.kind != "flores" for spec in specs):
        raise InputError(
            "flores is for scoring only and cannot be mixed with training text", "build it into its own folder"
        )
    if scoring and filtered:
        raise InputError(
            "flores is never filtered: --exclude and --language-model do not apply", "leave these options out"
        )
    return specs, scoring


def _kept(
    sources: Sequence[TextSource],
    pipeline: Pipeline,
    max_bytes: int,
    available: int | None,
    described: list[dict[str, Any]],
) -> Iterator[list[str]]:
    """The kept documents of the sources, whose descriptions for the manifest are added to ``described``."""
    read, kept = pipeline.read, pipeline.kept
    by_read = available is not None and available <= max_bytes
    total = min(max_bytes, available or max_bytes)
    unit = "MB read" if by_read else "MB kept of the budget (sources may end before)"
    shown = 0
    with ProgressBar("corpus", max(1, total // MEGABYTE), unit) as bar:
        for source in sources:
            read_before, kept_before = replace(read), replace(kept)
            for batch in in_batches(() if pipeline.full else source.documents):
                yield from pipeline.process(batch)
                done = (read if by_read else kept).bytes // MEGABYTE
                if done > shown:
                    bar.advance(done - shown)
                    shown = done
                if pipeline.full:
                    break
            amounts = {"read": asdict(read - read_before), "kept": asdict(kept - kept_before)}
            described.append(asdict(source.spec) | {"licence": source.licence, "files": source.files} | amounts)


def _settings(
    language: Language, max_bytes: int, exclude: Sequence[Path], language_model: Path | None, seed: int
) -> dict[str, Any]:
    return {
        "max_bytes": max_bytes,
        "seed": seed,
        "exclude": [str(path) for path in exclude],
        "language_model": str(language_model) if language_model is not None else None,
        "language_threshold": THRESHOLD if language_model is not None else None,
        "characters_per_word": characters_per_word(language.script) or None,
        **{name.lower(): getattr(filters, name) for name in LIMITS},
        "leak_contained_words": leakage.CONTAINED,
        "leak_shared_words": leakage.SHARED,
        "shingle_words": deduplication.SHINGLE,
        "minhash_bands": deduplication.BANDS,
        "minhash_rows": deduplication.ROWS,
    }
