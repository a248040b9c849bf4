"""The parts of a study file that name things outside it: languages, models, data, each told with its line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from langlift.backbones.base_name import BaseName
from langlift.config.yaml_reader import YamlReader
from langlift.corpus.sources import parse_source
from langlift.errors import InputError
from langlift.graph.plan import KINDS as GRAPH_KINDS
from langlift.language_facts import facts_of
from langlift.languages import Language, find_language
from langlift.studies.study import Place

CORPUS_KINDS = ("glotcc", "wikipedia", "hub", "file")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")
PLACEHOLDER = re.compile(r"\{(\w*)\}")
BUNDLED = "bundled:"


@dataclass
class PlacesReader(YamlReader):
    """Reads names of things; ``languages`` are those of the study, once they are read."""

    loader: Any = None
    languages: list[Language] = field(default_factory=list)

    def _known(self, found: Mapping[str, tuple[str, Any]], known: Sequence[str], what: str) -> None:
        for key, (place, _) in found.items():
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                self.mistakes.append(f"{place}: unknown {what} '{key}' ({hint})")

    def _block(self, place: str, what: str, node: yaml.Node) -> dict[str, tuple[str, yaml.Node]]:
        if isinstance(node, yaml.MappingNode):
            return {key: (where, value) for where, key, value in self.pairs(node, what)}
        self.mistakes.append(f"{place}: {what} must hold 'key: value' lines")
        return {}

    def _texts(self, found: tuple[str, yaml.Node] | None, what: str) -> Iterator[tuple[str, str]]:
        """The texts of a list, or the only one, each with its place."""
        if found is None:
            return
        place, node = found
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not items:
            self.mistakes.append(f"{place}: {what} is empty")
        for item in items:
            if text := self.text(self.place(item), what, item):
                yield self.place(item), text

    def _base(self, place: str, text: str) -> str:
        """A model's name; a folder beside the file as a whole path."""
        folder = Path(self.path.parent, Path(text).expanduser())
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                self.mistakes.append(f"{place}: {text}: not a model folder (no config.json)")
            return str(folder.resolve())
        text = BaseName(text).name
        if text.count("/") > 1 or text.startswith((".", "/", "~")):
            self.mistakes.append(f"{place}: {text}: no such model folder")
        return text

    def _language(self, place: str, text: str) -> None:
        try:
            language = find_language(text)
        except InputError as error:
            self.mistakes.append(f"{place}: {error.message}")
            return
        if language in self.languages:
            self.mistakes.append(f"{place}: {language.name} ({language}) is there already")
        else:
            self.languages.append(language)

    def _places(
        self, place: str, node: yaml.Node, kinds: Sequence[str], languages: Sequence[Language] | None = None
    ) -> dict[Language, Place]:
        """For each language a path, or a list of sources: one pattern for all, or LANG: PATH lines."""
        languages = self.languages if languages is None else languages
        if isinstance(node, yaml.MappingNode):
            found: dict[Language, Place] = {}
            for where, key, value in self.pairs(node, "language"):
                try:
                    language = find_language(key)
                except InputError as error:
                    self.mistakes.append(f"{where}: {error.message}")
                    continue
                if language in languages:
                    found |= self._one_place(where, value, kinds, [language])
            return found
        return self._one_place(place, node, kinds, languages)

    def _one_place(
        self, place: str, node: yaml.Node, kinds: Sequence[str], languages: Sequence[Language]
    ) -> dict[Language, Place]:
        texts = list(self._texts((place, node), "data"))
        found = {}
        for language in languages:
            parts = [(where, self._filled(where, text, language)) for where, text in texts]
            kind_of = {_kind(text) for _, text in parts}
            if len(kind_of) > 1:
                self.mistakes.append(f"{place}: files and sources to build from do not mix in one data set")
                continue
            if not kind_of:
                continue
            (kind,) = kind_of
            if kind not in kinds:
                self.mistakes.append(f"{place}: a file or folder is needed here")
                continue
            if kind == "path" and len(parts) > 1 and "built" not in kinds:
                self.mistakes.append(
                    f"{place}: one file or folder, not several (name each, and write a+b in axes)"
                )
                continue
            paths = [self._path(where, text, kind, "hub" in kinds) for where, text in parts]
            found[language] = Place(kind, tuple(paths), place)
        return found

    def _filled(self, place: str, text: str, language: Language) -> str:
        facts = facts_of(language)
        names = {"language": str(language), "iso639_3": language.code, "iso639_1": facts.iso639_1}
        for name in PLACEHOLDER.findall(text):
            if name not in names:
                self.mistakes.append(f"{place}: unknown placeholder {{{name}}} ({', '.join(names)})")
            elif names[name] is None:
                self.mistakes.append(f"{place}: {language.name} has no code of two letters for {{{name}}}")
        return PLACEHOLDER.sub(lambda match: names.get(match[1]) or match[0], text)

    def _path(self, place: str, text: str, kind: str, hub: bool) -> str:
        """A source or path with its path whole; one that does not exist is a mistake."""
        head, colon, rest = text.partition(":")
        if kind == "corpus" and head != "file":
            try:
                parse_source(text)
            except InputError as error:
                self.mistakes.append(f"{place}: {error.message}")
            return text
        prefix = "" if kind == "path" else head + colon
        if prefix in ("cldr", "cldr:"):
            return text
        inner = text if kind == "path" else rest
        if inner.startswith(BUNDLED):
            inner = str(Path(str(files("langlift")), "bundled", inner.removeprefix(BUNDLED)))
        path = Path(self.path.parent, Path(inner).expanduser())
        if kind == "corpus" and "*" in inner:
            return prefix + str(path.absolute())
        if path.exists():
            return prefix + str(path.resolve())
        if hub and HUB_ID.fullmatch(inner) and not inner.endswith((".txt", ".tsv")):
            return inner
        self.mistakes.append(f"{place}: {path}: no such file or folder")
        return prefix + str(path)

    def _some_languages(self, found: tuple[str, yaml.Node] | None) -> list[Language] | None:
        """Those of the study's languages that a task names; None if it names none."""
        if found is None:
            return None
        some = []
        for place, text in self._texts(found, "languages"):
            try:
                language = find_language(text)
            except InputError as error:
                self.mistakes.append(f"{place}: {error.message}")
                continue
            if language not in self.languages:
                self.mistakes.append(f"{place}: {language.name} ({language}) is not one of the study's languages")
            some.append(language)
        return some

    def _all_languages(
        self, place: str, what: str, places: Mapping[Language, Any], others: Sequence[Language] = ()
    ) -> None:
        missing = [str(one) for one in [*self.languages, *others] if one not in places]
        if missing and not any(mistake.startswith(place) for mistake in self.mistakes):
            self.mistakes.append(f"{place}: {what} has nothing for {', '.join(missing)}")


def _kind(text: str) -> str:
    """What a text under data: is: a path, or a source of triples or of text to build from."""
    head = re.split("[:=]", text, maxsplit=1)[0]
    if text.startswith(BUNDLED):
        return "path"
    if head in GRAPH_KINDS and (":" in text or head == "cldr"):
        return "graph"
    return "corpus" if head in CORPUS_KINDS and (":" in text or "=" in text or text == head) else "path"
