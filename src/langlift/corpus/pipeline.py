"""What happens to a text on its way into a corpus: cleaning, filters, leak check, duplicates, byte budget.

Documents go through in batches, which costs memory for one batch and whatever the filters are sized for.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from langlift.corpus.characters import kinds
from langlift.corpus.cleaning import clean_document
from langlift.corpus.deduplication import Deduplication, document_bands
from langlift.corpus.filters import line_rules
from langlift.corpus.fingerprints import Lines, as_arrays, fingerprint
from langlift.corpus.language_identification import LanguageIdentifier
from langlift.corpus.leakage import EvaluationSets
from langlift.corpus.tally import Amount, Tally
from langlift.corpus.text_stream import MAXIMUM_DOCUMENT
from langlift.languages import Language

BATCH_CHARACTERS = 1 << 18
CLEANING, LANGUAGE, LEAK = "cleaning", "other_language", "leak"
NEAR_DUPLICATE, DUPLICATE, BUDGET = "near_duplicate", "duplicate_line", "over_budget"


class Pipeline:
    """Turns documents into documents of kept lines, at most ``max_bytes`` of them, counting on the way.

    ``full`` says that a document did not fit any more: from then on nothing is taken. ``keep_whole`` is for texts
    to score: they are cleaned, but nothing is dropped. ``most_text`` is how many bytes can come, where known.
    """

    def __init__(
        self,
        language: Language,
        max_bytes: int,
        tally: Tally,
        evaluation: EvaluationSets | None = None,
        identifier: LanguageIdentifier | None = None,
        keep_whole: bool = False,
        most_text: int | None = None,
    ) -> None:
        self.tally, self.full = tally, False
        self.read, self.kept = Amount(), Amount()
        self.lines_changed = 0
        self.leaks: Counter[str] = Counter()
        self.deduplication = Deduplication(max_bytes if most_text is None else min(max_bytes, most_text))
        kinds(language.script)  # an unknown script is told before anything is read
        self._script, self._max_bytes = language.script, max_bytes
        self._evaluation, self._identifier, self._keep_whole = evaluation, identifier, keep_whole

    def take(self, texts: list[str]) -> Iterator[list[str]]:
        """The documents that are kept of a batch, in order, each as its kept lines."""
        self.read.documents += len(texts)
        self.read.bytes += sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)
        cleaned: list[str] = []
        owners: list[int] = []
        for number, text in enumerate(texts):
            document = clean_document(text)
            self.lines_changed += len(document.changed)
            for before, after in document.changed:
                self.tally.sample(CLEANING, f"became: {after}" if after else "nothing left", before)
            cleaned += document.lines
            owners += [number] * len(document.lines)
        self.read.lines += len(cleaned)
        if not cleaned:
            return
        lines = as_arrays(cleaned)
        owner = np.array(owners, dtype=np.int64)
        prints = fingerprint(lines, self._script)
        kept = np.ones(len(cleaned), dtype=np.bool_)
        if self._keep_whole:
            for indices in _by_document(np.arange(len(cleaned)), owner):
                if self._fits(lines, indices):
                    yield [cleaned[i] for i in indices]
            return
        for rule in line_rules(lines, prints, self._script):
            self._drop(rule.name, rule.says, lines, kept & rule.drops)
            kept &= ~rule.drops
        if self._identifier is not None:
            self._identify(self._identifier, lines, owner, kept)
        if self._evaluation is not None:
            self.tally.known(LEAK)
            files = self._evaluation.leaks(lines)
            for line in np.flatnonzero(kept & (files >= 0)):
                file = str(self._evaluation.files[files[line]])
                self.leaks[file] += 1
                self.tally.drop(LEAK, f"also in {file}", lines.texts[line], int(lines.sizes[line]))
            kept &= files < 0
        left = kept[prints.unit_lines]
        bands = document_bands(prints.units[left], owner[prints.unit_lines[left]], prints.per_word, len(texts))
        yield from self._without_duplicates(lines, owner, kept, prints.lines, bands)

    def _identify(self, identifier: LanguageIdentifier, lines: Lines, owner: np.ndarray, kept: np.ndarray) -> None:
        self.tally.known(LANGUAGE)
        for indices in _by_document(np.flatnonzero(kept), owner):
            if other := identifier.other_language([lines.texts[i] for i in indices]):
                self._drop_document(LANGUAGE, other, lines, indices)
                kept[indices] = False

    def _without_duplicates(
        self, lines: Lines, owner: np.ndarray, kept: np.ndarray, hashes: np.ndarray, bands: list[list[int]]
    ) -> Iterator[list[str]]:
        keys = hashes.tolist()
        self.tally.known(NEAR_DUPLICATE)
        self.tally.known(DUPLICATE)
        for indices in _by_document(np.flatnonzero(kept), owner):
            own_bands = bands[owner[indices[0]]]
            if self.deduplication.is_near_duplicate(own_bands):
                self._drop_document(NEAR_DUPLICATE, "nearly the same as an earlier document", lines, indices)
                continue
            new = []
            for i in indices:
                if self.deduplication.is_new_line(keys[i]):
                    new.append(i)
                else:
                    self.tally.drop(DUPLICATE, "the same as an earlier line", lines.texts[i], int(lines.sizes[i]))
            if new and self._fits(lines, new):
                self.deduplication.add_document(own_bands)
                yield [lines.texts[i] for i in new]

    def _fits(self, lines: Lines, indices: list[int]) -> bool:
        """Count a document as kept; or, if it or one before it goes over the budget, as dropped."""
        size = int(lines.sizes[indices].sum())
        if self.full or self.kept.bytes + size > self._max_bytes:
            self.full = True
            self._drop_document(BUDGET, "did not fit into the byte budget", lines, indices)
            return False
        self.kept.documents += 1
        self.kept.lines += len(indices)
        self.kept.bytes += size
        return True

    def _drop(self, name: str, reason: str, lines: Lines, drops: np.ndarray) -> None:
        self.tally.known(name)
        for i in np.flatnonzero(drops).tolist():
            self.tally.drop(name, reason, lines.texts[i], int(lines.sizes[i]))

    def _drop_document(self, name: str, reason: str, lines: Lines, indices: list[int]) -> None:
        self.tally.known(name).documents += 1
        for i in indices:
            self.tally.drop(name, reason, lines.texts[i], int(lines.sizes[i]))


def in_batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """Documents in batches of about ``BATCH_CHARACTERS``; over-long ones cut at line ends."""
    batch: list[str] = []
    size = 0
    for text in texts:
        for piece in _cut(text):
            batch.append(piece)
            size += len(piece)
            if size >= BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def _cut(text: str) -> Iterator[str]:
    """A document in pieces of at most ``MAXIMUM_DOCUMENT`` characters; nearly always one."""
    start = 0
    while len(text) - start > MAXIMUM_DOCUMENT:
        end = text.rfind("\n", start, start + MAXIMUM_DOCUMENT) + 1 or start + MAXIMUM_DOCUMENT
        yield text[start:end]
        start = end
    yield text[start:] if start else text


def _by_document(indices: np.ndarray, owner: np.ndarray) -> list[list[int]]:
    """Indices of lines, those of one document together."""
    if not len(indices):
        return []
    owners = owner[indices]
    return [part.tolist() for part in np.split(indices, np.flatnonzero(owners[1:] != owners[:-1]) + 1)]
