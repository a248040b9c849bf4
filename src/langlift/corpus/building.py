"""From sources of text to a folder of train, dev and test, with what was dropped and a manifest of it all."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

from langlift.corpus import deduplication, filters, leakage
from langlift.corpus.characters import characters_per_word
from langlift.corpus.language_identification import THRESHOLD, LanguageIdentifier
from langlift.corpus.leakage import EvaluationSets, read_evaluation_sets
from langlift.corpus.pipeline import Pipeline, in_batches
from langlift.corpus.sources import Source, open_source, parse_source
from langlift.corpus.split_writer import MINIMUM_DOCUMENTS, SplitWriter
from langlift.corpus.tally import Tally
from langlift.data_folder import MEGABYTE, SAMPLE, write_dropped, write_manifest
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder, process_peak_memory_bytes
from langlift.languages import Language
from langlift.progress import ProgressBar

MAX_BYTES = 10**9


@dataclass(frozen=True)
class CorpusResult:
    """What ``langlift corpus build`` made; the same stands in the folder's ``manifest.json``.

    ``purpose`` is ``training`` or ``scoring``. Of each source, of ``read`` and of ``kept``: documents, lines and
    bytes (UTF-8, line ends included; lines as cleaning left them, blank ones not counted). ``filters`` holds the
    lines and bytes that each dropped, in the order they ran; ``lines_changed`` counts the lines that cleaning
    changed or emptied. ``evaluation`` says what was read for the leak check: files, sentences, and files of other
    kinds that were skipped (how many, and the first 20). ``leaks`` says how many lines were also in which of these
    files. ``stopped_by_budget`` is true if a document did not fit any more.
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

    ``sources`` are written as ``sources.py`` says and read in this order, until ``max_bytes`` of text (UTF-8) are
    kept. ``exclude`` names evaluation sets whose sentences must not get in. The source ``flores`` stands alone: it
    gives a folder for scoring, with every sentence in ``test.jsonl``.

    Raises:
        InputError: a source, an evaluation set or the language model is missing or damaged; too little is left;
            ``flores`` together with training text; ``out`` holds something.
        LangliftError: the hub cannot be reached, or the folder not be written.
    """
    started = time.monotonic()
    if not sources:
        raise InputError("no source is given", "such as --source glotcc, or --source 'file:texts/*.txt'")
    names = [parse_source(source) for source in sources]
    scoring = any(name.kind == "flores" for name in names)
    if scoring and any(name.kind != "flores" for name in names):
        raise InputError(
            "flores is for scoring only and cannot be mixed with training text",
            "build it into a folder of its own",
        )
    if scoring and (exclude or language_model is not None):
        raise InputError(
            "flores is kept whole: --exclude and --language-model do not apply", "leave these options out"
        )
    check_new_folder(out)
    evaluation = read_evaluation_sets(exclude, language.script)
    identifier = LanguageIdentifier(language_model, language) if language_model is not None else None
    opened = [open_source(name, language) for name in names]
    sizes = [source.bytes for source in opened]
    known = None if None in sizes else sum(size for size in sizes if size is not None)
    pipeline = Pipeline(
        language, max_bytes, Tally(seed), evaluation, identifier, keep_whole=scoring, most_text=known
    )
    described = []
    with new_folder(out) as folder:
        with SplitWriter(folder, seed, scoring) as writer, _Progress(known, max_bytes) as progress:
            for source in opened:
                described.append(_take_source(source, pipeline, writer, progress))
        _check_enough(pipeline, scoring)
        if not scoring:
            write_dropped(folder, pipeline.tally.samples())
        seconds = time.monotonic() - started
        result = CorpusResult(
            language=str(language),
            purpose="scoring" if scoring else "training",
            data=str(out),
            sources=described,
            settings=_settings(language, max_bytes, exclude, language_model, seed),
            read=asdict(pipeline.read),
            kept=asdict(pipeline.kept),
            lines_changed=pipeline.lines_changed,
            filters=pipeline.tally.counts(),
            evaluation=_described(evaluation) if evaluation is not None else None,
            leaks=dict(pipeline.leaks.most_common()),
            deduplication=pipeline.deduplication.described(),
            stopped_by_budget=pipeline.full,
            splits={name: asdict(size) for name, size in writer.sizes.items()},
            seconds=round(seconds, 2),
            megabytes_per_second=round(pipeline.read.bytes / MEGABYTE / max(seconds, 1e-9), 2),
            peak_memory_bytes=process_peak_memory_bytes(),
            versions={"unicode": unidata_version}
            | {name: version(name) for name in ("langlift", "datasets", "numpy", "rbloom", "regex")},
        )
        write_manifest(folder, asdict(result))
    return result


def _take_source(source: Source, pipeline: Pipeline, writer: SplitWriter, progress: "_Progress") -> dict[str, Any]:
    """Take what one source has, and describe it for the manifest."""
    read, kept = replace(pipeline.read), replace(pipeline.kept)
    if not pipeline.full:
        for batch in in_batches(source.documents):
            for document in pipeline.take(batch):
                writer.add(document)
            progress.show(pipeline.read.bytes, pipeline.kept.bytes)
            if pipeline.full:
                break
    described = {key: value for key, value in vars(source).items() if key not in ("documents", "bytes")}
    return described | {"read": asdict(pipeline.read - read), "kept": asdict(pipeline.kept - kept)}


def _check_enough(pipeline: Pipeline, scoring: bool) -> None:
    """Every split must get a document."""
    least = 1 if scoring else MINIMUM_DOCUMENTS
    if pipeline.kept.documents >= least:
        return
    if not pipeline.read.documents:
        raise InputError("the sources hold no text", "check that the right source or configuration is named")
    raise InputError(
        f"only {pipeline.kept.documents} of {pipeline.read.documents:,} documents are left, at least {least} are "
        f"needed; {pipeline.tally.in_words(pipeline.read.lines)}",
        "give more text or a larger --max-bytes; documents of a file are blocks between blank lines",
    )


def _described(evaluation: EvaluationSets) -> dict[str, Any]:
    """What was read for the leak check."""
    return {
        "files": [str(file) for file in evaluation.files],
        "sentences": evaluation.sentences,
        "skipped": len(evaluation.skipped),
        "skipped_files": [str(file) for file in evaluation.skipped[:SAMPLE]],
    }


def _settings(
    language: Language, max_bytes: int, exclude: Sequence[Path], language_model: Path | None, seed: int
) -> dict[str, Any]:
    """All that decides what is kept."""
    return {
        "max_bytes": max_bytes,
        "seed": seed,
        "exclude": [str(path) for path in exclude],
        "language_model": str(language_model) if language_model is not None else None,
        "language_threshold": THRESHOLD if language_model is not None else None,
        "characters_per_word": characters_per_word(language.script) or None,
        "minimum_words": filters.MINIMUM_WORDS,
        "maximum_words": filters.MAXIMUM_WORDS,
        "minimum_letters": filters.MINIMUM_LETTERS,
        "minimum_script": filters.MINIMUM_SCRIPT,
        "maximum_runs": filters.MAXIMUM_RUNS,
        "maximum_word": filters.MAXIMUM_WORD,
        "maximum_ngrams": filters.MAXIMUM_NGRAMS,
        "leak_contained_words": leakage.CONTAINED,
        "leak_shared_words": leakage.SHARED,
        "shingle_words": deduplication.SHINGLE,
        "minhash_bands": deduplication.BANDS,
        "minhash_rows": deduplication.ROWS,
    }


class _Progress:
    """A bar over the bytes of the files to read; if those are not known or over the budget, over the budget."""

    def __init__(self, known: int | None, max_bytes: int) -> None:
        self._of_files = known is not None and known <= max_bytes
        total = known if known is not None and known <= max_bytes else max_bytes
        unit = "MB read" if self._of_files else "MB kept of the budget (sources may end before)"
        self._bar = ProgressBar("corpus", max(1, total // MEGABYTE), unit)
        self._shown = 0

    def __enter__(self) -> "_Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def show(self, read: int, kept: int) -> None:
        """Report the bytes read and kept so far."""
        done = (read if self._of_files else kept) // MEGABYTE
        if done > self._shown:
            self._bar.advance(done - self._shown)
            self._shown = done
