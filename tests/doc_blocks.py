"""The code blocks of the README and the pages under docs/, and what their authors say of running them.

A shell block is a fence marked ``bash``, or an indented block with a line that starts with a command. It is run
by ``make test-all`` (test_docs_run.py), unless the line above says ``<!-- not run: REASON -->``. What a page
needs first and a reader does not (a small text in place of theirs) stands in a hidden ``<!-- setup`` comment.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
GENERATED = ("docs/cli.md",)
PAGES = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    if path.relative_to(ROOT).as_posix() not in GENERATED
)
SHELL = ("bash", "console", "sh", "shell")
COMMANDS = (
    "accelerate",
    "docker",
    "git",
    "hf",
    "langlift",
    "make",
    "pip",
    "pytest",
    "python",
    "ray",
    "sbatch",
    "source",
    "torchrun",
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\s*$")
NOT_RUN = re.compile(r"<!-- not run: (?P<reason>.*?) -->", re.DOTALL)
LIST = re.compile(r"^\s*([-*+]|\d+\.)\s")


@dataclass(frozen=True)
class Block:
    """One block: where it stands, its fence's language ("" if indented), and why it is not run, if it is not."""

    page: Path
    line: int
    language: str
    text: str
    reason: str | None = None
    setup: bool = False

    @property
    def shell(self) -> bool:
        """Whether it holds commands for a reader to type."""
        starts = (re.sub(r"^([A-Za-z_]+=\S+\s+)+", "", line) for line in self.text.splitlines())
        return (
            self.setup
            or self.language in SHELL
            or (not self.language and any(start.split(" ")[0] in COMMANDS for start in starts))
        )

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    return list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    at, above, in_list = 0, "", False
    while at < len(lines):
        line, start = lines[at], at
        if line.startswith("<!--"):
            while "-->" not in lines[at]:
                at += 1
            above = "\n".join(lines[start : at + 1])
            if above.startswith("<!-- setup"):
                yield Block(page, start + 2, "bash", "\n".join(lines[start + 1 : at]), setup=True)
        elif fence := FENCE.match(line):
            end = fence["indent"] + "```"
            at += 1
            while lines[at].rstrip() != end:
                at += 1
            text = "\n".join(row.removeprefix(fence["indent"]) for row in lines[start + 1 : at])
            yield Block(page, start + 2, fence["language"] or "none", text, _reason(above))
            above = ""
        elif line.startswith("    ") and not in_list and not (start and lines[start - 1].strip()):
            while at + 1 < len(lines) and (lines[at + 1].startswith("    ") or not lines[at + 1].strip()):
                at += 1
            text = "\n".join(row[4:] for row in lines[start : at + 1]).rstrip()
            yield Block(page, start + 1, "", text, _reason(above))
            above = ""
        elif line.strip():
            above = ""
            in_list = bool(LIST.match(line)) or (in_list and line.startswith(" "))
        at += 1


def _reason(above: str) -> str | None:
    match = NOT_RUN.search(above)
    return " ".join(match["reason"].split()) if match else None


def command_lines(text: str) -> list[list[str]]:
    """The words of each command: continued lines joined, comments and pipes cut, loops' keywords left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = []
    for line in joined.splitlines():
        if line.startswith((" ", "\t")) and not line.strip().startswith("langlift "):
            continue  # inside a loop, a function or a here-document
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&<>")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|;&<>"):
                found += [words] if words else []
                words = []
            else:
                words.append(word)
    return found


def langlift_arguments(words: list[str]) -> list[str] | None:
    """The arguments of ``langlift`` in a command, also under a launcher; None if it is another command."""
    while words and re.match(r"[A-Za-z_]+=", words[0]):
        words = words[1:]
    if words[:1] == ["langlift"]:
        return words[1:]
    for at in range(len(words) - 1):
        if words[at : at + 2] == ["-m", "langlift"]:
            return words[at + 2 :]
    return None
