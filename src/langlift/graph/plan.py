"""The arguments of a build, checked before anything is read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os.path import expanduser
from pathlib import Path
from typing import Any

from langlift.errors import InputError, printable
from langlift.files import sha256_of
from langlift.graph.cldr import PREDICATES
from langlift.graph.recipe import GraphRecipe
from langlift.graph.sentence_templates import Template, load_predicates, load_templates
from langlift.graph.triples import column_names

KINDS = ("conceptnet", "triples", "cldr")


@dataclass(frozen=True)
class Source:
    """One source; ``number`` is its position among them. For ``cldr`` the path is a locale, or empty."""

    number: int
    kind: str
    path: str


@dataclass(frozen=True)
class Plan:
    """Everything that determines the sentences, except the languages.

    ``templates`` combines the published predicates, those of ``--predicates`` and those of ``--templates``; later
    ones win. ``settings`` goes into the manifest.
    """

    sources: list[Source]
    recipe: GraphRecipe
    columns: dict[str, str]
    templates: dict[str, Template]
    strict: bool
    settings: dict[str, Any]

    def numbers(self, kind: str) -> list[int]:
        """The numbers of the sources of a kind."""
        return [source.number for source in self.sources if source.kind == kind]


def make_plan(
    sources: Sequence[str],
    recipe: GraphRecipe | None,
    strict: bool = False,
    columns: str | None = None,
    predicates: Path | None = None,
    templates: str | None = None,
) -> Plan:
    """Check the arguments of a build, and read its predicates and templates.

    InputError if there is no source, or one of an unknown kind; a file of predicates or templates is damaged;
    a setting needs a kind of source that is not given.
    """
    recipe = recipe or GraphRecipe()
    if not sources:
        raise InputError("no source is given", "--source conceptnet:PATH, --source triples:PATH or --source cldr")
    parsed = [_source(number, text) for number, text in enumerate(sources)]
    kinds = {source.kind for source in parsed}
    for given, setting, kind in (
        (columns, "--columns", "triples"),
        (recipe.ends == "either", "--either-end", "conceptnet"),
        (recipe.term == "last_segment", "term=last_segment", "conceptnet"),
    ):
        if given and kind not in kinds:
            raise InputError(f"{setting} needs a source {kind}:PATH", "leave it out")
    table = load_predicates(predicates)
    words = {relation: Template.of_predicate(words) for relation, words in (PREDICATES | table).items()}
    file = None
    if templates is not None:
        file, own = load_templates(templates, set(words))
        words |= own
    if "cldr" not in kinds:
        # ConceptNet's own relations are those that have a predicate.
        words = {name: template for name, template in words.items() if name not in PREDICATES.keys() - table}
    settings = asdict(recipe) | {
        "columns": columns,
        "strict": strict,
        "predicates": _described(predicates),
        "templates": _described(file),
    }
    return Plan(parsed, recipe, column_names(columns), words, strict, settings)


def _source(number: int, text: str) -> Source:
    """``conceptnet:PATH``, ``triples:PATH``, ``cldr`` or ``cldr:LOCALE``."""
    kind, colon, path = text.partition(":")
    if kind not in KINDS or (not path and kind != "cldr"):
        given = "PATH" if colon else text
        hint = f"conceptnet:{given} (the official dump), triples:{given} (a table) or cldr"
        raise InputError(f"--source {text}: unknown kind of source", hint)
    return Source(number, kind, expanduser(path))  # noqa: PTH111 - leaves what names no user as it is


def _described(path: Path | None) -> dict[str, str] | None:
    if path is None:
        return None
    return {"name": printable(path.name), "sha256": sha256_of([path])}
