"""The figures of docs/published-tables.md, as `langlift report --published` computes them: write them again.

Tables are between `<!-- table NAME -->` and `<!-- end of table -->`. A figure in a sentence follows a comment with
question, languages, measure, base and columns: `<!-- cite full all tc mbert glot_fft glot_seq_bn_inv -->`.
Such a comment must not begin a line: Markdown would take it for a block.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from kept_results import TABLE, table

from langlift.reports.contrast_tables import contrast_title, difference_text
from langlift.studies.contrasts import MEASURES, QUESTIONS, UNSEEN, Contrast, published_contrasts
from langlift.studies.published import MODELS

PAGE = Path(__file__).parents[1] / "docs" / "published-tables.md"
CITE = re.compile(r"(<!-- cite (\w+) (\w+) (\w+) (\w+) (\S+) (\S+) -->)[^()<]*\([^()]*\)")
CERTAIN = 0.05


def page_with_figures(page: str) -> str:
    """The page with each of its tables and figures made again."""
    contrasts = published_contrasts()
    by_key = {(c.question, languages(c), c.measure, c.base, c.better, c.than): c for c in contrasts}
    page = CITE.sub(lambda match: match[1] + cited(by_key[match.groups()[1:]]), page)
    return TABLE.sub(lambda match: match[1] + made(match[2], contrasts) + match[3], page)


def languages(contrast: Contrast) -> str:
    """The kind of languages in a word: all, seen, unseen."""
    return contrast.language.split()[0]


def cited(c: Contrast) -> str:
    """A figure in a sentence."""
    low, high = (f"{edge:.2f}".replace("-", "−") for edge in (c.low, c.high))
    p = "< 0.001" if c.p_holm < 0.0005 else f"{c.p_holm:.3f}"
    return f"{c.difference:+.2f}".replace("-", "−") + f" (95 % interval {low} to {high}, n {c.units}, p {p})"


def made(name: str, contrasts: Sequence[Contrast]) -> str:
    """A table of one question, such as full_all: contrasts in rows, measures and bases in columns."""
    if name == "summary":
        return summary(contrasts)
    own = [c for c in contrasts if name == f"{c.question}_{languages(c)}"]
    columns = dict.fromkeys((c.measure, c.base) for c in own)
    cells = {(contrast_title(c), c.measure, c.base): shown(c) for c in own}
    heads = ["contrast", *(f"{MEASURES[measure].task or measure}, {MODELS[base]}" for measure, base in columns)]
    titles = dict.fromkeys(map(contrast_title, own))
    return table(heads, [[title, *(cells.get((title, *column), "") for column in columns)] for title in titles])


def shown(c: Contrast) -> str:
    """A cell, in bold if the corrected p is below 0.05."""
    return f"**{difference_text(c)}**" if c.p_holm < CERTAIN else difference_text(c)


def summary(contrasts: Sequence[Contrast]) -> str:
    """How many contrasts of each question are certain, and in which direction."""
    rows = []
    for question, language in dict.fromkeys((c.question, c.language) for c in contrasts if c.language != UNSEEN):
        own = [c for c in contrasts if (c.question, c.language) == (question, language)]
        certain = [c.difference > 0 for c in own if c.p_holm < CERTAIN]
        counts = (len(own), sum(certain), len(certain) - sum(certain), len(own) - len(certain))
        rows.append([QUESTIONS[question][0], language, *map(str, counts)])
    return table(("question", "languages", "contrasts", "first better", "first worse", "not certain"), rows)


if __name__ == "__main__":
    PAGE.write_text(page_with_figures(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
