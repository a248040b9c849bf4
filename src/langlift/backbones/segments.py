"""The sentences of a flat batch, in groups that attention computes together."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

Run = tuple[int, int, int]
"""(first token, number of sentences, their length): neighbours of equal length."""

GROUP_COST = 2048
"""A further group of sentences costs about as much time as the scores of this many padded pairs of tokens."""


@dataclass(frozen=True)
class Group:
    """Neighbouring sentences that are computed together, padded to the same length."""

    lengths: tuple[int, ...]

    @property
    def padded(self) -> bool:
        """Whether the sentences differ in length."""
        return min(self.lengths) < max(self.lengths)

    @property
    def longest(self) -> int:
        """The common length in tokens: the longest sentence's, with padding a multiple of eight."""
        return -(-max(self.lengths) // 8) * 8 if self.padded else self.lengths[0]


@dataclass(frozen=True)
class Segments:
    """The sentences of a flat batch by their lengths in tokens, in order.

    Sentences of similar length that stand side by side are computed together: sort a batch by length.
    """

    lengths: tuple[int, ...]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The batch as runs of equal length."""
        runs, start = [], 0
        for length, group in groupby(self.lengths):
            count = len(list(group))
            runs.append((start, count, length))
            start += count * length
        return tuple(runs)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The batch as groups of runs, with the least cost in calls and padding."""
        runs, groups = self.runs, []
        costs, begins = [0.0], [0]  # of the best groups of the first runs, and the first run of the last group
        for end in range(1, len(runs) + 1):
            count, longest, options = 0, 0, []
            for begin in reversed(range(end)):
                count, longest = count + runs[begin][1], max(longest, runs[begin][2])
                options.append((costs[begin] + GROUP_COST + count * longest**2, begin))
            cost, begin = min(options)
            costs.append(cost)
            begins.append(begin)
        end = len(runs)
        while end:
            begin = begins[end]
            lengths = [length for _, count, length in runs[begin:end] for _ in range(count)]
            groups.append(Group(tuple(lengths)))
            end = begin
        return tuple(reversed(groups))
