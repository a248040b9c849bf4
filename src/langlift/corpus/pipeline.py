"""The processing of corpus text: cleaning, filters, leak check, deduplication, byte budget.

Documents are processed in batches; memory is needed for one batch and for the deduplication index.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from langlift.corpus.characters import kinds
from langlift.corpus.cleaning import clean_document
from langlift.corpus.deduplication import Deduplication, document_bands
from langlift.corpus.filters import line_filters
from langlift.corpus.fingerprints import Lines, as_arrays, fingerprint, run_starts
from langlift.corpus.language_identification import LanguageIdentifier
from langlift.corpus.leakage import EvaluationSets
from langlift.corpus.text_files import MAXIMUM_DOCUMENT
from langlift.data_folder import SAMPLE
from langlift.languages import Language

BATCH_CHARACTERS = 1 << 18
CLEANING, LANGUAGE, LEAK = "cleaning", "other_language", "leak"
NEAR_DUPLICATE, DUPLICATE, BUDGET = "near_duplicate", "duplicate_line", "over_budget"


@dataclass
class TextSize:
    """The size of a text; for a filter, ``documents`` are those of which it dropped the last line."""

    documents: int = 0
    lines: int = 0
    bytes: int = 0

    def add(self, lines: int, size: int) -> None:
        """Add a document of ``size`` bytes."""
        self.documents += 1
        self.lines += lines
        self.bytes += size

    def __sub__(self, other: "TextSize") -> "TextSize":
        return TextSize(self.documents - other.documents, self.lines - other.lines, self.bytes - other.bytes)


class DroppedText:
    """What each filter dropped, in the order they ran: its size, and a random sample of at most ``SAMPLE`` texts.

    The sample is drawn by reservoir sampling, so each text has the same probability to be in it.
    """

    def __init__(self, seed: int) -> None:
        self.filters: dict[str, TextSize] = {}
        self._samples: dict[str, list[dict[str, str]]] = {}
        self._offered: Counter[str] = Counter()
        self._random = random.Random(seed)

    def by(self, name: str) -> TextSize:
        """The size of the text that a filter has dropped so far."""
        return self.filters.setdefault(name, TextSize())

    def add(self, name: str, reason: str, text: str, size: int) -> None:
        """Count a dropped line of ``size`` bytes."""
        dropped = self.by(name)
        dropped.lines += 1
        dropped.bytes += size
        self.sample(name, reason, text)

    def sample(self, name: str, reason: str, text: str) -> None:
        """Perhaps add a text to the sample."""
        kept = self._samples.setdefault(name, [])
        self._offered[name] += 1
        place = len(kept) if len(kept) < SAMPLE else int(self._random.random() * self._offered[name])
        if place < SAMPLE:
            kept[place : place + 1] = [{"filter": name, "text": text, "reason": reason}]

    def samples(self) -> list[dict[str, str]]:
        """All samples: ``filter``, ``text``, ``reason``."""
        return [row for rows in self._samples.values() for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """The counts of each filter as plain data."""
        return {name: asdict(dropped) for name, dropped in self.filters.items()}

    def summary(self, read: int) -> str:
        """How many of the lines ``read`` were dropped, and by which filters."""
        ranked = sorted(self.filters.items(), key=lambda item: -item[1].lines)
        by_filter = ", ".join(f"{name.replace('_', ' ')}: {d.lines:,}" for name, d in ranked if d.lines)
        dropped = sum(dropped.lines for dropped in self.filters.values())
        return f"{dropped:,} of {read:,} lines were dropped ({by_filter or 'by no filter'})"


@dataclass
class Pipeline:
    """Reduces documents to the lines to keep, at most ``max_bytes`` in all, and counts what is dropped.

    ``full`` means that a document did not fit the budget; nothing is kept from then on. ``keep_all`` is for texts
    to score: they are cleaned, but nothing is dropped. ``available`` is the total number of bytes of the sources,
    if known.
    """

    language: Language
    max_bytes: int
    dropped: DroppedText
    evaluation: EvaluationSets | None = None
    identifier: LanguageIdentifier | None = None
    keep_all: bool = False
    available: int | None = None

    def __post_init__(self) -> None:
        self.full, self.lines_changed = False, 0
        self.read, self.kept = TextSize(), TextSize()
        self._owners: list[int] = []
        self._left: list[int] = []
        self.leaks: Counter[str] = Counter()
        limits = (self.max_bytes, self.available)
        self.deduplication = Deduplication(min(limit for limit in limits if limit is not None))
        kinds(self.language.script)  # an unknown script is an error before anything is read

    def process(self, texts: list[str]) -> Iterator[list[str]]:
        """The documents of a batch that are kept, in order, as lists of their kept lines."""
        by_cleaning = self.dropped.by(CLEANING)
        cleaned: list[str] = []
        owners: list[int] = []
        for number, text in enumerate(texts):
            left, changed = clean_document(text)
            self.lines_changed += len(changed)
            for before, after in changed:
                self.dropped.sample(CLEANING, f"became: {after}" if after else "nothing left", before)
            emptied, size = sum(not after for _, after in changed), len(text.encode("utf-8", "surrogatepass")) + 1
            self.read.add(len(left) + emptied, size)
            by_cleaning.documents += not left
            by_cleaning.lines += emptied
            by_cleaning.bytes += size
            cleaned += left
            owners += [number] * len(left)
        if not cleaned:
            return
        lines = as_arrays(cleaned)
        by_cleaning.bytes -= int(lines.sizes.sum())
        owner = np.array(owners, dtype=np.int64)
        self._owners, self._left = owners, np.bincount(owner).tolist()
        kept = np.ones(len(cleaned), dtype=np.bool_)
        if self.keep_all:
            for indices in _by_document(kept, owner):
                if self._fits(lines, indices):
                    yield [cleaned[i] for i in indices]
            return
        prints = fingerprint(lines, self.language.script)
        for name, reason, drops in line_filters(lines, prints, self.language.script):
            self.dropped.by(name)
            self._drop(name, reason, lines, np.flatnonzero(kept & drops).tolist())
            kept &= ~drops
        if self.identifier is not None:
            self.dropped.by(LANGUAGE)
            for indices in _by_document(kept, owner):
                if other := self.identifier.other_language([cleaned[i] for i in indices]):
                    self._drop(LANGUAGE, other, lines, indices)
                    kept[indices] = False
        if self.evaluation is not None:
            self.dropped.by(LEAK)
            files = self.evaluation.leaks(lines)
            for line in np.flatnonzero(kept & (files >= 0)).tolist():
                file = str(self.evaluation.files[files[line]])
                self.leaks[file] += 1
                self._drop(LEAK, f"also in {file}", lines, [line])
            kept &= files < 0
        left_units = kept[prints.unit_lines]
        unit_owner = owner[prints.unit_lines[left_units]]
        bands = document_bands(prints.units[left_units], unit_owner, prints.per_word, len(texts))
        self.dropped.by(NEAR_DUPLICATE)
        self.dropped.by(DUPLICATE)
        hashes, seen = prints.lines.tolist(), self.deduplication
        for indices in _by_document(kept, owner):
            own_bands = bands[owner[indices[0]]]
            if any(band in seen.bands for band in own_bands):
                self._drop(NEAR_DUPLICATE, "nearly the same as an earlier document", lines, indices)
                continue
            new = []
            for i in indices:
                if hashes[i] in seen.lines:
                    self._drop(DUPLICATE, "the same as an earlier line", lines, [i])
                else:
                    seen.lines.add(hashes[i])
                    new.append(i)
            if new and self._fits(lines, new):
                seen.bands.update(own_bands)
                yield [cleaned[i] for i in new]

    def _fits(self, lines: Lines, indices: list[int]) -> bool:
        """Count a document as kept, or as dropped if it or an earlier one exceeds the budget."""
        size = int(lines.sizes[indices].sum())
        if self.full or self.kept.bytes + size > self.max_bytes:
            self.full = True
            self._drop(BUDGET, "did not fit into the byte budget", lines, indices)
            return False
        self.kept.add(len(indices), size)
        return True

    def _drop(self, name: str, reason: str, lines: Lines, indices: Iterable[int]) -> None:
        """Drop lines; a document counts as dropped by the filter that drops the last of its lines."""
        for i in indices:
            self.dropped.add(name, reason, lines.texts[i], int(lines.sizes[i]))
            self._left[self._owners[i]] -= 1
            self.dropped.by(name).documents += self._left[self._owners[i]] == 0


def in_batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Documents in batches of about ``BATCH_CHARACTERS``, cut at line ends if longer than ``MAXIMUM_DOCUMENT``."""
    batch: list[str] = []
    size = 0
    for text in texts:
        start, end = 0, -1
        while end < len(text):
            end = len(text)
            if end - start > MAXIMUM_DOCUMENT:
                end = text.rfind("\n", start, start + MAXIMUM_DOCUMENT) + 1 or start + MAXIMUM_DOCUMENT
            batch.append(text[start:end])
            size += end - start
            start = end
            if size >= BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _by_document(kept: np.ndarray, owner: np.ndarray) -> list[list[int]]:
    """The indices of the kept lines, in a list for each document."""
    indices = np.flatnonzero(kept)
    return [part.tolist() for part in np.split(indices, run_starts(owner[indices])[1:]) if len(part)]
