"""The tables of the published figures' contrasts, one for each question and kind of languages."""

from collections.abc import Sequence
from itertools import groupby

from langlift.reports.study_tables import p_cell
from langlift.reports.tables import Cell, Table, number, words
from langlift.studies.analysis.bootstrap import ALL
from langlift.studies.contrasts import ADAPTERS, BOTH, FULL, MEASURES, NONE, QUESTIONS, Contrast
from langlift.studies.published import MODELS

KINDS = {"cn": "graph", "glot": "text", "fusion": "fusion"}
COLUMNS = ["measure", "base", "contrast", "n", "difference [95 %]", "p", "p, Holm"]
NOTES = (
    "Published figures (scores: means of three seeds); n is the number of languages, the units. Positive: "
    "the first is better, in points, or for pseudo-perplexity (pppl) by the natural logarithm of the ratio.",
    "Interval: bootstrap of languages. p: sign flips (for unseen minus seen: permuted groups), all or 10,000 of "
    "them; Holm's correction is for the table.",
)


def contrast_tables(contrasts: Sequence[Contrast]) -> list[Table]:
    """A table for each question and kind of languages; the seen and the unseen ones are folded."""
    tables = []
    for (question, language), some in groupby(contrasts, key=lambda c: (c.question, c.language)):
        rows = [
            [
                *words(MEASURES[c.measure].task or c.measure, MODELS[c.base], contrast_title(c)),
                number(c.units, "d"),
                Cell(difference_text(c), c.difference, further={"low": c.low, "high": c.high}),
                p_cell(c.p),
                p_cell(c.p_holm),
            ]
            for c in some
        ]
        name = f"published-{question}-{language.replace(' ', '-')}"
        caption, folded = f"{QUESTIONS[question][0]} ({language})", language not in (ALL, BOTH)
        tables.append(Table(name, caption, COLUMNS, rows, frozenset({0, 1, 2}), NOTES, folded))
    return tables


def contrast_title(contrast: Contrast) -> str:
    """The two columns of the published tables in words: "LoRA text − none"."""
    titles = {NONE: "none", FULL: "full"}
    titles |= {
        f"{key}_{method}": f"{name} {kind}" for key, kind in KINDS.items() for method, name in ADAPTERS.items()
    }
    return " − ".join(titles.get(column, column) for column in (contrast.better, contrast.than))


def difference_text(contrast: Contrast) -> str:
    """The difference with its interval: "+2.19 [1.02, 3.35]"."""
    return f"{contrast.difference:+.2f} [{contrast.low:.2f}, {contrast.high:.2f}]".replace("-", "−")
