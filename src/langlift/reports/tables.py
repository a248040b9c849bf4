"""Pages, and tables that can be read on them, by a program (CSV) and in a paper (LaTeX)."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "±": r"$\pm$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "×": r"$\times$",
    "−": "$-$",
    "→": r"$\rightarrow$",
}


@dataclass(frozen=True)
class Cell:
    """``text`` is for readers, ``value`` for programs (None: the text).

    ``spread`` follows the text in a small font; ``further`` are more columns of the CSV by name; ``best`` is bold.
    """

    text: str
    value: Any = None
    spread: str = ""
    further: Mapping[str, Any] = field(default_factory=dict)
    best: bool = False


NONE = Cell("–", value="")


@dataclass(frozen=True)
class Table:
    """The first cell of each row is its heading; columns in ``words`` contain text, all others numbers.

    ``name`` is that of the exported files. A ``folded`` table is only shown on request.
    """

    name: str
    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    words: frozenset[int] = frozenset({0})
    notes: Sequence[str] = ()
    folded: bool = False


def render(template: str, **values: Any) -> str:
    """An HTML page, with all values escaped unless they are markup."""
    environment = Environment(loader=PackageLoader("langlift.reports"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(values)


def capital(text: str) -> str:
    """The text with a capital first letter, and the others unchanged."""
    return text[:1].upper() + text[1:]


def words(*texts: Any) -> list[Cell]:
    """Cells of plain text."""
    return [Cell(str(text)) for text in texts]


def number(value: float | None, form: str, spread: str = "") -> Cell:
    """A cell with a number in a format; a dash for None."""
    return NONE if value is None else Cell(format(value, form), value, spread)


def signed(value: float) -> Cell:
    """A cell with a signed number of two decimals."""
    return Cell(f"{value:+.2f}".replace("-", "−"), value)


def interval(low: Cell, high: Cell) -> Cell:
    """A cell with both ends, which have their own columns in the CSV."""
    return Cell(f"{low.text} to {high.text}", further={"low": low.value, "high": high.value})


def as_csv(table: Table) -> str:
    """The table as CSV with all digits; the spread of a number has its own column."""
    columns: list[list[Any]] = []
    for i, name in enumerate(table.columns):
        cells = [row[i] for row in table.rows]
        columns.append([name, *(cell.text if cell.value is None else cell.value for cell in cells)])
        for key in dict.fromkeys(key for cell in cells for key in cell.further):
            columns.append([f"{name} {key}", *(cell.further.get(key) for cell in cells)])
    stream = io.StringIO()
    rows = ([_harmless(value) for value in row] for row in zip(*columns, strict=True))
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _harmless(value: Any) -> Any:
    """A value that spreadsheets do not take for a formula, as they do with text that begins with ``=``."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_latex(table: Table) -> str:
    """A table for the package booktabs; the template's tags are ``<% %>`` and ``<< >>``."""
    environment = Environment(
        loader=PackageLoader("langlift.reports"),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        keep_trailing_newline=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
    )
    environment.filters["latex"] = lambda text: re.sub(".", lambda found: LATEX.get(found[0], found[0]), text)
    return environment.get_template("table.tex.j2").render(table=table)
