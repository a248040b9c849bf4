"""The figures of docs/published-tables.md, as `langlift report --published` computes them: write them again.

Tables are between `<!-- table NAME -->` and `<!-- end of table -->`. A figure in a sentence follows a comment with
question, languages, measure, base and columns: `<!-- cite full all tc mbert glot_fft glot_seq_bn_inv -->`.
Such a comment must not begin a line: Markdown would take it for a block.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import log
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
from kept_results import LANGUAGES, SEEN, TABLE, by_seed, kept, of_study, table
from scipy.stats import rankdata, spearmanr
from statsmodels.stats.multitest import multipletests

from langlift.reports.charts import ON_WHITE, SERIES, write_picture
from langlift.reports.contrast_tables import contrast_title, difference_text
from langlift.studies.contrasts import MEASURES, QUESTIONS, UNSEEN, Contrast, published_contrasts
from langlift.studies.published import MODELS, published_rows

PAGE = Path(__file__).parents[1] / "docs" / "published-tables.md"
CITE = re.compile(r"(<!-- cite (\w+) (\w+) (\w+) (\w+) (\S+) (\S+) -->)[^()<]*\([^()]*\)")
PICTURE = PAGE.parent / "assets" / "published-coverage.svg"
CERTAIN = 0.05
SIZES = {"mbert": "wikipedia_gb", "xlmr": "cc100_gb"}
"""Where the size of a language in the base model's pre-training data is found in facts/seed_languages.csv."""
GAIN = ("glot_seq_bn_inv", "base")
RESAMPLES = 10_000


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
    if name == "coverage":
        return coverage()
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


@cache
def gains(base: str, measure: str) -> Mapping[str, tuple[float, float]]:
    """By language: GB in the base model's pre-training data, and the gain from Seq_bn_inv on text."""
    path = files("langlift") / "facts" / "seed_languages.csv"
    sizes = {row["iso639_1"]: row for row in csv.DictReader(path.read_text("utf-8").splitlines())}
    found = {}
    for row in published_rows(measure).values():
        if row["model"] == base and all(row[column] for column in GAIN):
            after, before = (float(row[column]) for column in GAIN)
            size = float(sizes[row["language"]][SIZES[base]] or 0) if row["in_pretraining"] == "true" else 0.0
            found[row["language"]] = (size, log(before / after) if measure == "pppl" else after - before)
    return found


def coverage() -> str:
    """Rank correlations of size and gain; the interval is the bootstrap's over languages, p corrected by Holm."""
    cells = [(measure, base) for measure in MEASURES for base in MODELS]
    found = []
    for measure, base in cells:
        points = np.array(list(gains(base, measure).values()))
        drawn = np.random.default_rng(0).integers(0, len(points), (RESAMPLES, len(points)))
        sizes, gained = (rankdata(points[drawn, column], axis=1) for column in range(2))
        low, high = np.nanpercentile(correlations(sizes, gained), (2.5, 97.5))
        found.append((len(points), *spearmanr(points[:, 0], points[:, 1]), low, high))
    corrected = multipletests([p for _, _, p, _, _ in found], method="holm")[1]
    rows = []
    for (measure, base), (count, rho, _, low, high), p in zip(cells, found, corrected, strict=True):
        text = f"{rho:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
        name = MEASURES[measure].task or measure
        rows.append([name, MODELS[base], str(count), f"**{text}**" if p < CERTAIN else text, f"{p:.3f}"])
    return table(("measure", "base", "languages", "Spearman's ρ", "p"), rows)


def correlations(x: Any, y: Any) -> Any:
    """Pearson's correlation of each row of two arrays [rows, n]."""
    x, y = (values - values.mean(axis=1, keepdims=True) for values in (x, y))
    return (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))


def ours() -> Mapping[str, tuple[float, float]]:
    """The same for topics with langlift-mini (Seq_bn on text), where the size in CC-100 is known."""
    path = files("langlift") / "facts" / "seed_languages.csv"
    sizes = {
        row["flores_code"][:3]: row["cc100_gb"] for row in csv.DictReader(path.read_text("utf-8").splitlines())
    }
    topics = [run for run in kept() if of_study(run, "Ten") and run["cell"].get("task") == "topic"]
    found = {}
    for code in LANGUAGES:
        if code in sizes or code not in SEEN:
            own = [
                run for run in topics if run["cell"]["language"].startswith(code) and run["cell"]["use"] != "full"
            ]
            found[code] = (float(sizes[code]) if code in SEEN else 0.0, float(np.mean(by_seed(own))))
    return found


def picture() -> dict[str, Any]:
    """A dot for each language: gain in a task over GB in pre-training, with unseen languages at the left edge."""
    tasks = [measure for measure in MEASURES if measure != "pppl"]
    dots_of = {(MEASURES[m].task, f"{MODELS[base]}, published"): gains(base, m) for base in MODELS for m in tasks}
    dots_of["topic", "langlift-mini, here"] = ours()
    rows = [
        {"panel": panel, "base": base, "language": language, "x": max(size, 0.003), "y": gain}
        for (panel, base), found in dots_of.items()
        for language, (size, gain) in found.items()
    ]
    axis = alt.Axis(values=[0.003, 0.1, 1, 10, 100], labelExpr="datum.value < 0.01 ? 'none' : datum.value")
    dots = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("x:Q", title="GB in pre-training", scale=alt.Scale(type="log"), axis=axis),
        y=alt.Y("y:Q", title="gain, points of F1"),
        color=alt.Color("base:N", title=None, sort=None, scale=alt.Scale(range=SERIES[:3])),
    )
    zero = alt.Chart(alt.Data(values=[{"y": 0}])).mark_rule(color="grey").encode(y="y:Q")
    panels = []
    for measure in tasks:
        own = dots.transform_filter(alt.datum.panel == MEASURES[measure].task).mark_circle(size=55, opacity=0.8)
        panels.append(alt.layer(zero, own).properties(width=220, height=220, title=MEASURES[measure].task))
    spec: dict[str, Any] = alt.hconcat(*panels).to_dict()
    return spec | ON_WHITE


if __name__ == "__main__":
    write_picture(PICTURE, picture())
    PAGE.write_text(page_with_figures(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
