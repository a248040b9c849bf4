"""What a build counts on its way: lines, bytes and documents that each step dropped, with a sample."""

from dataclasses import asdict, dataclass

from langlift.data_folder import Samples


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
    """Counts for each filter, in the order the filters ran, and a sample of the texts it dropped."""

    def __init__(self, seed: int) -> None:
        self.filters: dict[str, Dropped] = {}
        self._samples = Samples(seed)

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
        """Perhaps keep a text as a sample."""
        self._samples.offer(name, {"filter": name, "text": text, "reason": reason})

    def samples(self) -> list[dict[str, str]]:
        """All samples: ``filter``, ``text``, ``reason``."""
        return self._samples.rows()

    def counts(self) -> dict[str, dict[str, int]]:
        """The counts of each filter as plain data."""
        return {name: asdict(counts) for name, counts in self.filters.items()}

    def in_words(self, lines: int) -> str:
        """How many of so many lines were dropped, and which filters took how many, most first."""
        ranked = sorted(self.filters.items(), key=lambda item: -item[1].lines)
        taken = ", ".join(f"{name.replace('_', ' ')}: {c.lines:,}" for name, c in ranked if c.lines)
        dropped = sum(counts.lines for counts in self.filters.values())
        return f"{dropped:,} of {lines:,} lines were dropped ({taken or 'by no filter'})"
