"""Renders the templates of this package."""

import re
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


def render(template: str, **values: Any) -> str:
    """An HTML page, with all values escaped unless they are markup."""
    environment = Environment(loader=PackageLoader("langlift.reports"), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(values)


def render_latex(template: str, **values: Any) -> str:
    """A LaTeX file; its template has tags ``<% %>`` and ``<< >>``, and a filter ``latex`` that escapes text."""
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
    return environment.get_template(template).render(values)
