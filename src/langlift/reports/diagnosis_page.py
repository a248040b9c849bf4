"""The chart of a diagnosis, with base models side by side: as SVG, or on an HTML page with the advice."""

from pathlib import Path
from typing import Any

from markupsafe import Markup

from langlift.errors import InputError
from langlift.files import write_text
from langlift.reports.charts import Spec, bar_panels, picture, write_picture
from langlift.reports.tables import render

PERPLEXITY = "pseudo-perplexity per character"
CAPTION = "pseudo-perplexity: within-word, lower is better"
NO_HEAD = "none: it has no MLM head, and so no pseudo-perplexity"


def check_picture(target: Path) -> None:
    """Raise an InputError unless the file can be written as a picture or page."""
    if target.suffix not in (".svg", ".html"):
        raise InputError(f"--out {target}: neither .svg nor .html", "name a picture, such as diagnosis.svg")
    if target.is_dir():
        raise InputError(f"--out {target}: is a folder", "name a file in it, such as diagnosis.svg")


def write_diagnosis(target: Path, diagnosis: Any) -> None:
    """Write the chart (``.svg``), or the page with chart, advice and commands (``.html``), of a ``Diagnosis``.

    Raises:
        InputError: the file has another ending.
        LangliftError: it cannot be written.
    """
    check_picture(target)
    chart = _chart(diagnosis)
    if target.suffix == ".svg":
        write_picture(target, chart)
    else:
        svg = Markup(picture(chart, "diagnosis"))
        write_text(target, render("diagnosis.html.j2", diagnosis=diagnosis, chart=svg))


def _chart(diagnosis: Any) -> Spec:
    """Measures in panels: for one language a bar for each base, for several a group of bars for each language."""
    alone = len(diagnosis.languages) == 1
    rows = []
    for language, entry in ((one, entry) for one in diagnosis.languages for entry in one.bases):
        measures, fit = entry.measures, entry.measures.vocabulary
        values = {PERPLEXITY: measures.per_character}
        if fit.fertility is None:
            values["characters per token"] = fit.characters_per_token
        else:
            values["tokens per word"] = fit.fertility
            values["words that are one token, %"] = None if fit.whole_words is None else 100 * fit.whole_words
        values["unknown and byte tokens, %"] = 100 * (fit.unknown_share + fit.byte_share)
        values["missing letters, %"] = 100 * (1 - fit.letter_coverage)
        name, series = (measures.base, "") if alone else (language.name, measures.base)
        rows += [
            {"panel": panel, "name": name, "series": series, "value": value or 0.0, "text": _text(value)}
            for panel, value in values.items()
            if value is not None or panel == PERPLEXITY
        ]
    name = diagnosis.languages[0].name if alone else f"{len(diagnosis.languages)} languages"
    headless = any(not entry.measures.has_head for language in diagnosis.languages for entry in language.bases)
    caption = (CAPTION, NO_HEAD) if headless else (CAPTION,)
    return bar_panels(rows, (f"{name}: how well each base model fits", *caption))


def _text(value: float | None) -> str:
    return "none" if value is None else f"{round(value, 2):.3g}"
