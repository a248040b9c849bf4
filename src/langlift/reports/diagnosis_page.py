"""The picture of a diagnosis: base models side by side, as SVG, or as an HTML page with the advice."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langlift.errors import InputError
from langlift.files import write_text
from langlift.reports.charts import bar_panels

KINDS = (".svg", ".html")


def check_picture(target: Path) -> None:
    """Raise an InputError unless a picture can have this name."""
    if target.suffix not in KINDS:
        raise InputError(f"--out {target}: neither .svg nor .html", "name a picture, such as diagnosis.svg")
    if target.is_dir():
        raise InputError(f"--out {target}: is a folder", "name a file in it, such as diagnosis.svg")


def write_diagnosis(target: Path, diagnosis: Any) -> None:
    """Write the picture (``.svg``), or the page with picture, advice and commands (``.html``), of a ``Diagnosis``.

    Raises:
        InputError: the name ends otherwise.
        LangliftError: it cannot be written.
    """
    check_picture(target)
    svg = diagnosis_chart(diagnosis)
    if target.suffix == ".svg":
        write_text(target, svg + "\n")
        return
    environment = Environment(loader=PackageLoader("langlift.reports"), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("diagnosis.html.j2")
    write_text(target, template.render(diagnosis=diagnosis, chart=Markup(svg)))


def diagnosis_chart(diagnosis: Any) -> str:
    """Measures in panels: of one language a bar for each base, of several a group of bars for each language."""
    alone = len(diagnosis.languages) == 1
    panels: dict[str, dict[str, dict[str, float | None]]] = {}
    for language in diagnosis.languages:
        for entry in language.bases:
            fit = entry.measures.vocabulary
            name, series = (entry.measures.base, "") if alone else (language.name, entry.measures.base)
            cut = {"tokens per word": fit.fertility, "words kept whole, %": _percent(fit.whole_words)}
            if fit.fertility is None:
                cut = {"characters per token": fit.characters_per_token}
            values = {
                _SURPRISE: entry.measures.per_character,
                **cut,
                "unknown and byte tokens, %": _percent(fit.unknown_share + fit.byte_share),
                "letters it lacks, %": _percent(1 - fit.letter_coverage),
            }
            for heading, value in values.items():
                if value is not None or heading == _SURPRISE:
                    rounded = None if value is None else round(value, 2)
                    panels.setdefault(heading, {}).setdefault(name, {})[series] = rounded
    name = diagnosis.languages[0].name if alone else f"{len(diagnosis.languages)} languages"
    headless = any(not entry.measures.has_head for language in diagnosis.languages for entry in language.bases)
    caption = (_CAPTION, _NO_HEAD) if headless else (_CAPTION,)
    return bar_panels(panels, (f"{name}: how well each base model fits", *caption))


_SURPRISE = "surprise per character"
_CAPTION = "surprise: within-word pseudo-perplexity per character, lower is better"
_NO_HEAD = "none: it has no masked head, and so no surprise"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
