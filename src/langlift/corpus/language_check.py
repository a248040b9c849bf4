"""A warning if a text seems to be in another language: by its letters, and by the package heliport (HeLI-OTS).

heliport is optional. It runs in a process of its own, as its models keep 0.9 GB of memory, and as it is under the
GPL, unlike langlift.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import islice
from unicodedata import category, normalize

from langlift.corpus.language_names import language_codes
from langlift.language_facts import FACTS
from langlift.languages import Language, find_language
from langlift.progress import quiet, say

LINES, CHARACTERS = 300, 500
"""How many lines are examined, and the length of the beginning of each."""
MARGIN, UNLIKELY = 1.0, 5.0
"""A line fits the language if its cost (-log10 of the probability per word) is below the second, and at most the
first above that of its best language.

The first: of Norwegian Bokmål, 81 % of the lines are that close to Nynorsk and 54 % to Danish; of Scottish Gaelic,
52 % to Irish; of Finnish, 3 % to Estonian. The second: nine of ten lines in its own language are below it in each
of 35 texts, one of ten in Kabyle, which is not known, in any language.
"""
FEW, MOST = 0.2, 0.5
"""Shares of lines: below the first fitting, there is a warning; above the second, another language is named."""
FOREIGN = 0.02
"""There is a warning if a greater share of the letters is not in the language's alphabet.

It is below 0.002 in 38 texts of 39, and 0.013 in Kabyle written with ț for ṭ; 0.09 for Kabyle under Wolof's name.
"""
SCRIPTS = {"uzn": "Cyrl"}
"""The script in which heliport knows a language, where it is not the usual one."""

PROGRAM = """
import json, sys
from heliport import Identifier
codes, lines = json.load(sys.stdin)
identifier, found = Identifier(), []
known = identifier.get_confidence_all()
codes = known.keys() & set(codes)
for line in lines if codes else []:
    scores = dict(identifier.identify_topk_with_score(line, len(known)))
    if len(scores) > 1:  # else it has no letters
        found.append((identifier.identify(line), min(map(scores.get, codes)), min(scores.values())))
print(json.dumps(found))
"""
"""(codes of the language, lines) -> for each line with letters, its language (``und``: not sure), and its costs in
the given and in the best language. Empty if heliport does not know the given one."""


def warn_of_other_language(language: Language, lines: Iterable[str]) -> None:
    """Warn if the first ``lines`` have letters that the language does not use, or do not look like it."""
    if quiet():
        return
    lines = [line[:CHARACTERS] for line in islice(lines, LINES)]
    share, foreign = foreign_letters(language, lines)
    if share > FOREIGN:
        letters = (
            f"{share:.1%} of the letters are not in the alphabet of {language.name} ({' '.join(foreign[:5])})"
        )
        say(f"warning: {letters}; check that {language} is the language of the text, and how it is spelt")
    else:
        _warn_of_unlike_lines(language, lines)


def foreign_letters(language: Language, lines: Iterable[str]) -> tuple[float, list[str]]:
    """The share of letters that the language does not use, and these letters, the most frequent first.

    Letters of ASCII, and letters composed of known parts, are taken as used. The share is 0 for a language whose
    alphabet is not known.
    """
    rows = (row.split("\t") for row in (FACTS / "alphabets.tsv").read_text(encoding="utf-8").splitlines())
    alphabet = dict(rows).get(str(language))
    if alphabet is None:
        return 0.0, []
    known = set(alphabet + normalize("NFD", alphabet))
    characters = Counter(normalize("NFC", " ".join(lines)).lower())
    letters = {
        one: count for one, count in characters.items() if category(one)[0] in "LM" and category(one) != "Lm"
    }
    unknown = (
        one for one in letters if not all(part.isascii() or part in known for part in normalize("NFD", one))
    )
    foreign = Counter({one: letters[one] for one in unknown if one not in known})
    return foreign.total() / max(sum(letters.values()), 1), [one for one, _ in foreign.most_common()]


def _warn_of_unlike_lines(language: Language, lines: list[str]) -> None:
    """Warn if hardly any line is in a language that heliport knows, nor in a close relative."""
    usual = SCRIPTS.get(language.code) or find_language(language.code).script
    if language.script != usual or find_spec("heliport") is None:
        return
    request = json.dumps((language_codes(language), lines))
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"warning: the language of the text was not checked: heliport ended with {done.returncode}")
        return
    found = json.loads(done.stdout)
    fitting = sum(cost < min(best + MARGIN, UNLIKELY) for _, cost, best in found)
    if not found or fitting >= FEW * len(found):
        return
    (code, count), *_ = Counter(code for code, *_ in found).most_common(1)
    other = "no language that can be recognised"
    if code != "und" and count > MOST * len(found):
        other = "{0.name} ({0})".format(find_language(code))
    say(
        f"warning: only {fitting} of {len(found)} lines look like {language.name}, and most like {other}; "
        f"check that {language} is the language of the text"
    )
