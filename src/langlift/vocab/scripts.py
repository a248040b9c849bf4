"""Tokens grouped by script and place in the word, for initialisation by group (Downey et al. 2023)."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from langlift.vocab.overlap import Form

LEAST_GROUP = 10
"""With fewer source tokens a group's mean and deviation say little; a wider group is taken."""
NO_LETTERS = "none"


def script_of(surface: str) -> str:
    """The script of most of the letters, by the first word of their Unicode names; ``none`` without letters."""
    scripts = Counter(
        unicodedata.name(character, NO_LETTERS).split()[0] for character in surface if character.isalpha()
    )
    return scripts.most_common(1)[0][0] if scripts else NO_LETTERS


def grouped_by_script(
    new: Mapping[int, Form], source: Mapping[int, Form], position: bool
) -> tuple[dict[int, int], list[npt.NDArray[np.int64]]]:
    """(group of each new token, source ids of each group).

    A token's group is that of its script and, with ``position``, of its place: at the beginning of a word or
    not. Where the source has fewer than ``LEAST_GROUP`` such tokens it is that of the script, and where it has
    too few of these (a script it has never seen) that of all pieces.
    """
    members: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, form in source.items():
        for key in _keys(form, position):
            members[key].append(number)
    numbers: dict[tuple[str, ...], int] = {}
    group_of = {}
    for number, form in new.items():
        keys = _keys(form, position)
        key = next((key for key in keys if len(members[key]) >= LEAST_GROUP), keys[-1])
        group_of[number] = numbers.setdefault(key, len(numbers))
    return group_of, [np.asarray(members[key], dtype=np.int64) for key in numbers]


def _keys(form: Form, position: bool) -> list[tuple[str, ...]]:
    """From the narrowest group to that of all pieces."""
    script = script_of(form.surface)
    place = [(script, "initial" if form.initial else "inner")] if position else []
    return [*place, (script,), ()]
