"""Tables that can be read on a page, by a program (CSV) and in a paper (LaTeX)."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """``text`` is what people read, ``value`` what programs read (None: the text).

    ``spread`` stands behind the text, smaller; ``further`` are more columns of the CSV by name; ``best`` is bold.
    """

    text: str
    value: Any = None
    spread: str = ""
    further: Mapping[str, Any] = field(default_factory=dict)
    best: bool = False


@dataclass(frozen=True)
class Table:
    """The first cell of each row is its heading; columns in ``words`` hold text, all others numbers.

    ``name`` is that of the exported files. ``folded``: shown only when asked for.
    """

    name: str
    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    words: frozenset[int] = frozenset({0})
    notes: Sequence[str] = ()
    folded: bool = False


def capital(text: str) -> str:
    """The text with its first letter large, the others as they are."""
    return text[:1].upper() + text[1:]


def words(*texts: Any) -> list[Cell]:
    """Cells of plain text."""
    return [Cell(str(text)) for text in texts]


def as_csv(table: Table) -> str:
    """All numbers in full; what stands behind a number is a column of its own."""
    further = [
        list(dict.fromkeys(key for row in table.rows for key in row[i].further)) for i in range(len(table.columns))
    ]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = [
        [name, *(f"{name} {key}" for key in keys)] for name, keys in zip(table.columns, further, strict=True)
    ]
    writer.writerow([name for names in header for name in names])
    for row in table.rows:
        cells = [
            [cell.text if cell.value is None else cell.value, *(_blank(cell.further.get(key)) for key in keys)]
            for cell, keys in zip(row, further, strict=True)
        ]
        writer.writerow([value for values in cells for value in values])
    return stream.getvalue()


def as_latex(table: Table) -> str:
    """A table for the package booktabs."""
    columns = "".join("l" if i in table.words else "r" for i in range(len(table.columns)))
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{latex(table.caption)}}}",
        f"\\label{{tab:{table.name}}}",
        f"\\begin{{tabular}}{{{columns}}}",
        "\\toprule",
        " & ".join(map(latex, table.columns)) + r" \\",
        "\\midrule",
        *(" & ".join(map(_latex_cell, row)) + r" \\" for row in table.rows),
        "\\bottomrule",
        "\\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex(text: str) -> str:
    """Text with LaTeX's own characters escaped."""
    return re.sub(".", lambda found: LATEX.get(found[0], found[0]), text)


def _latex_cell(cell: Cell) -> str:
    text = f"\\textbf{{{latex(cell.text)}}}" if cell.best else latex(cell.text)
    return f"{text} {{\\small {latex(cell.spread)}}}" if cell.spread else text


def _blank(value: Any) -> Any:
    return "" if value is None else value
