"""A warning if a text seems to be in another language, by the package heliport (HeLI-OTS) if it is installed.

It runs in a process of its own, as its models keep 0.9 GB of memory, and as it is under the GPL, unlike langlift.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import islice

from langlift.corpus.language_names import language_codes
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
    """Warn if hardly any of the first ``lines`` is in a language that heliport knows, nor in a close relative."""
    usual = SCRIPTS.get(language.code) or find_language(language.code).script
    if quiet() or language.script != usual or find_spec("heliport") is None:
        return
    request = json.dumps((language_codes(language), [line[:CHARACTERS] for line in islice(lines, LINES)]))
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
