"""What `make docs` adds to mkdocs: links into the repository, the two pages at its root, formulas as MathML."""

import posixpath
import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
AT_ROOT = ("CONTRIBUTING.md", "CHANGELOG.md")
"""Pages of the site that stand in the repository's root, where people look for them."""
EXCLUDED = (".py", ".sh")
"""Files of docs/ that are no part of the site."""
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the repository's root."""
    for name in AT_ROOT:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links are written as they work in the repository; here they are turned to where the site has the file.

    A file outside the site goes to ``repo_url`` if there is one, else its link becomes plain text.
    Raises PluginError for one that does not exist.
    """
    name = page.file.src_uri
    folder = "" if name in AT_ROOT else posixpath.dirname("docs/" + name)

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        place = posixpath.normpath(posixpath.join(folder, target))
        if place not in AT_ROOT and not (ROOT / place).exists():
            raise PluginError(f"{name}: no such file: {target}")
        if place in AT_ROOT:
            return f"[{text}]({posixpath.relpath(place, posixpath.dirname(name) or '.')}{anchor})"
        if place.startswith("docs/") and not place.endswith(EXCLUDED):
            inside = place.removeprefix("docs/")
            return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(name) or '.')}{anchor})"
        return f"[{text}]({config.repo_url.rstrip('/')}/blob/main/{place}{anchor})" if config.repo_url else text

    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in parts)


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:
    """Formulas as MathML, which browsers draw by themselves: nothing is fetched, and no script runs."""

    def formula(match: re.Match[str]) -> str:
        display = "block" if match[2] == "[" else "inline"
        return convert(unescape(match[3]).strip(), display=display)

    return FORMULA.sub(formula, html)
