"""What a build counts on its way: lines, bytes and documents that each step dropped, with a sample."""

import random
from dataclasses import asdict, dataclass

SAMPLE = 20


@dataclass
class Amount:
    """So much text."""

    documents: int = 0
    lines: int = 0
    bytes: int = 0

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.documents - other.documents, self.lines - other.lines, self.bytes - other.bytes)


@dataclass
class Dropped:
    """How much one filter dropped; ``documents`` only where it judges whole documents."""

    lines: int = 0
    bytes: int = 0
    documents: int = 0


class Tally:
    """Counts for each filter, in the order the filters ran, and at most ``SAMPLE`` random texts of each."""

    def __init__(self, seed: int) -> None:
        self.filters: dict[str, Dropped] = {}
        self._samples: dict[str, list[dict[str, str]]] = {}
        self._met: dict[str, int] = {}
        self._random = random.Random(seed)

    def known(self, name: str) -> Dropped:
        """A filter's counts, which may be zero."""
        return self.filters.setdefault(name, Dropped())

    def drop(self, name: str, reason: str, text: str, size: int) -> None:
        """Count a dropped line of ``size`` bytes, and perhaps keep it as a sample."""
        counts = self.known(name)
        counts.lines += 1
        counts.bytes += size
        self.sample(name, reason, text)

    def sample(self, name: str, reason: str, text: str) -> None:
        """Reservoir sampling: every text met has the same chance to be kept."""
        kept = self._samples.setdefault(name, [])
        met = self._met[name] = self._met.get(name, 0) + 1
        place = len(kept) if len(kept) < SAMPLE else int(self._random.random() * met)
        if place < SAMPLE:
            kept[place : place + 1] = [{"filter": name, "text": text, "reason": reason}]

    def samples(self) -> list[dict[str, str]]:
        """All samples: ``filter``, ``text``, ``reason``."""
        return [row for rows in self._samples.values() for row in rows]

    def counts(self) -> dict[str, dict[str, int]]:
        """The counts of each filter as plain data."""
        return {name: asdict(counts) for name, counts in self.filters.items()}

    def in_words(self) -> str:
        """Which filters took how many lines, most first."""
        ranked = sorted(self.filters.items(), key=lambda item: -item[1].lines)
        return ", ".join(f"{c.lines:,} {name.replace('_', ' ')}" for name, c in ranked if c.lines) or "nothing"
