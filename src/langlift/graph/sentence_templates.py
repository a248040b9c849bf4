"""How relations are worded: published predicates, words from relation names, and sentence templates.

The predicates of ConceptNet's 33 relations in ``predicates.csv``, and the form ``head predicate tail.``, are facts
of arXiv 2407.01406 and 2502.10140, from github.com/d-gurgurov/Knowledge-Driven-Adaptation-LLMs,
src/conceptnet/cn_to_nl.py (Apache-2.0). Some read the other way round from what ConceptNet means by the relation
(``HasA``: "belongs to"); they are kept as published.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from langlift.config.loading import yaml_readable
from langlift.config.yaml_reader import load_yaml
from langlift.corpus.tables import read_table
from langlift.corpus.text_files import iterate_lines
from langlift.errors import InputError
from langlift.graph.conceptnet import clean_term
from langlift.languages import find_language

ARGUMENT = re.compile(r"(\{head\}|\{tail\})")
ENDINGS = (".yaml", ".yml")
WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Template:
    """The words around the two arguments: ``before`` the first, ``between``, and ``after`` the second.

    ``head_first`` says which comes first. The relation's words are the longest of the three pieces.
    """

    before: str
    between: str
    after: str
    head_first: bool = True

    @classmethod
    def parse(cls, text: str) -> "Template":
        """``{head} is a type of {tail}.`` as a template.

        ValueError if an argument is missing or repeated, or there are no words.
        """
        pieces = ARGUMENT.split(clean_term(text))
        for argument in ("{head}", "{tail}"):
            if pieces.count(argument) != 1:
                raise ValueError(f"{argument} must occur exactly once")
        before, first, between, _, after = pieces
        words = before + between + after
        if "{" in words or "}" in words:
            raise ValueError("braces are only for {head} and {tail}")
        if not any(character.isalpha() for character in words):
            raise ValueError("there are no words for the relation")
        return cls(before, between, after, first == "{head}")

    @classmethod
    def of_predicate(cls, predicate: str) -> "Template":
        """The published form: ``head predicate tail.``"""
        return cls("", f" {predicate} ", ".")

    @property
    def words(self) -> tuple[int, int, int]:
        """The relation's words: which piece (0, 1, 2), where in it they begin, how many characters they have."""
        pieces = (self.before, self.between, self.after)
        piece = max(range(3), key=lambda place: (len(pieces[place].strip(" .")), place == 1))
        words = pieces[piece].strip()
        return piece, pieces[piece].index(words), len(words)


def own_words(relation: str) -> str:
    """A relation's name as words: ``livesIn`` -> ``lives in``, ``born_in`` -> ``born in``.

    Of a URL, only the part after the last ``/`` or ``#`` is used.
    """
    name = re.split(r"[/#]", relation.rstrip("/#"))[-1] or relation
    words = WORD_START.sub(" ", name.replace("_", " ")).split()
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words) or relation


def load_predicates(extra: Path | None = None) -> dict[str, str]:
    """Relation -> predicate: the published table, overridden by a CSV file with the columns relation, predicate.

    InputError if ``extra`` is missing or damaged; the line is named.
    """
    predicates: dict[str, str] = {}
    columns = ("relation", "predicate")
    for path in (Path(str(files("langlift.graph") / "predicates.csv")), *([extra] if extra else [])):
        for _, header, row in read_table(path, iterate_lines(path), columns, True, "write it in the first line"):
            relation, predicate = (clean_term(row[header.index(column)]) for column in columns)
            predicates[relation.removeprefix("/r/")] = predicate
    return predicates


def load_templates(name: str, known: set[str]) -> tuple[Path, dict[str, Template]]:
    """A file and its templates by relation, given its path (``.yaml``) or a shipped name (``mlt_Latn``).

    ``known`` are the relations that may have a template. InputError if there is no such file, or it is not valid;
    the relation is named.
    """
    path = _path(name)
    with yaml_readable(path, "put each template in double quotes"):
        content = load_yaml(path.read_text(encoding="utf-8-sig"))
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: no templates found", 'IsA: "{head} is a type of {tail}."')
    templates = {}
    for relation, text in content.items():
        if relation not in known:
            raise InputError(
                f"{path}: unknown relation '{relation}'", "relations of your own need a row in --predicates first"
            )
        try:
            if not isinstance(text, str):
                raise ValueError("must be text")
            templates[relation] = Template.parse(text)
        except ValueError as error:
            raise InputError(f"{path}: {relation}: {error}", f'{relation}: "{{head}} ... {{tail}}."') from None
    return path, templates


def _path(template: str) -> Path:
    if template.lower().endswith(ENDINGS):
        return Path(template).expanduser()
    shipped = {path.stem: path for path in Path(str(files("langlift.graph") / "templates")).glob("*.yaml")}
    try:
        name = str(find_language(template))
    except InputError:
        name = template
    if name not in shipped:
        hint = f"a .yaml file, or one of {', '.join(sorted(shipped))}"
        raise InputError(f"--templates {template}: no such templates", hint)
    return shipped[name]
