"""Reads the parts of a study file that name things outside it: languages, models and data."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from langlift.backbones.base_name import BaseName
from langlift.config.loading import check_setting
from langlift.config.yaml_reader import YamlReader
from langlift.corpus.sources import parse_source
from langlift.errors import InputError
from langlift.graph.plan import KINDS as GRAPH_KINDS
from langlift.language_facts import facts_of
from langlift.languages import Language, find_language
from langlift.studies.step import SCORED, on_disk
from langlift.studies.study import DataSource

CORPUS_KINDS = ("glotcc", "wikipedia", "hub", "file")
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")
PLACEHOLDER = re.compile(r"\{(\w*)\}")
BUNDLED = "bundled:"
Entry = tuple[str, yaml.Node]
"""``FILE:LINE`` and a value."""
Block = Mapping[str, Entry]


@dataclass
class SourceReader(YamlReader):
    """Collects the errors of a file, each with its line; ``languages`` are those of the study."""

    loader: Any = None
    languages: list[Language] = field(default_factory=list)

    def _error(self, location: str, message: str) -> None:
        if (mistake := f"{location}: {message}") not in self.mistakes:  # one, not one for each language
            self.mistakes.append(mistake)

    @contextmanager
    def _noting(self, location: str, prefix: str = "", hint: bool = False) -> Iterator[None]:
        """Record an InputError as an error of this line, and continue."""
        try:
            yield
        except InputError as error:
            self._error(location, f"{prefix}{error.message}" + (f" ({error.hint})" if hint else ""))

    def _value(self, node: yaml.Node) -> Any:
        return self.loader.construct_object(node, deep=True)

    def _check_known(self, location: str, key: str, known: Collection[str], what: str) -> None:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            self._error(location, f"unknown {what} '{key}' ({hint})")

    def _block(
        self, entry: Entry | None, what: str, known: Collection[str] | None = None, kind: str = "", main: str = ""
    ) -> Block:
        """The entries of a block; of a value that is not one, an entry of the name ``main`` if there is one."""
        if entry is None:
            return {}
        location, node = entry
        if not isinstance(node, yaml.MappingNode):
            if not main:
                self._error(location, f"{what} must contain 'key: value' lines")
            return {main: entry} if main else {}
        found = {key: (line, value) for line, key, value in self.pairs(node, kind or what)}
        for key, (line, _) in found.items() if known is not None else ():
            self._check_known(line, key, known or (), kind)
        return found

    def _has(self, entry: Entry, what: str, block: Block, *keys: str) -> bool:
        """Whether a block has these keys; otherwise it is an error."""
        missing = [key for key in keys if key not in block]
        if missing:
            self._error(entry[0], f"{what} has no {' and no '.join(missing)}")
        return not missing

    def _items(self, entry: Entry | None, what: str) -> list[Entry]:
        """The elements of a list, or the only value, each with its line."""
        if entry is None:
            return []
        location, node = entry
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not items:
            self._error(location, f"{what} is empty")
        return [(self.place(item), item) for item in items]

    def _texts(self, entry: Entry | None, what: str) -> list[tuple[str, str]]:
        items = self._items(entry, what)
        return [(location, text) for location, node in items if (text := self.text(location, what, node))]

    def _text(self, block: Block, key: str) -> str | None:
        return self.text(block[key][0], key, block[key][1]) if key in block else None

    def _checked(self, kind: type, location: str, name: str, value: Any) -> Any:
        """A setting's value, or None after an error."""
        try:
            return check_setting(kind, name, value)
        except ValueError as error:
            self._error(location, f"{name} {error}")
            return None

    def _limited(self, kind: type, block: Block) -> dict[str, Any]:
        """The entries of a block that are fields with limits; without those that have errors."""
        names = [one.name for one in fields(kind) if one.metadata and one.name in block]
        values = {name: self._checked(kind, block[name][0], name, self._value(block[name][1])) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def _base(self, location: str, text: str) -> str:
        """A model's name; a folder next to the file becomes an absolute path."""
        folder = Path(self.path.parent, Path(text).expanduser())
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                self._error(location, f"{text}: not a model folder (no config.json)")
            return str(folder.resolve())
        text = BaseName(text).name
        if text.count("/") > 1 or text.startswith((".", "/", "~")):
            self._error(location, f"{text}: no such model folder")
        return text

    def _language(self, location: str, text: str, prefix: str = "") -> Language | None:
        with self._noting(location, prefix, hint=True):
            return find_language(text)
        return None

    def _languages(self, entry: Entry | None, allowed: Sequence[Language] | None = None) -> list[Language]:
        """A list of different languages, of those that are ``allowed`` (default: all)."""
        found: list[Language] = []
        for location, text in self._texts(entry, "languages"):
            if (language := self._language(location, text)) is None:
                continue
            if language in found:
                self._error(location, f"{language.name} ({language}) is listed twice")
            elif allowed is not None and language not in allowed:
                self._error(location, f"{language.name} ({language}) is not one of the study's languages")
            else:
                found.append(language)
        return found

    def _sources(
        self, entry: Entry, kinds: Sequence[str], languages: Sequence[Language] | None = None
    ) -> dict[Language, DataSource]:
        """The data of each language: one pattern or list of sources for all, or ``LANG: PATH`` lines.

        ``kinds`` are the allowed ones: path, graph, corpus, flores, hub (an id) and several (paths).
        """
        location, node = entry
        languages = self.languages if languages is None else languages
        found: dict[Language, DataSource] = {}
        if isinstance(node, yaml.MappingNode):
            for line, key, value in self.pairs(node, "language"):
                language = self._language(line, key)
                if language is not None and language in languages:
                    found |= self._sources((line, value), kinds, [language])
            return found
        texts = self._texts(entry, "data")
        for language in languages if texts else ():
            parts = [(line, self._filled(line, text, language)) for line, text in texts]
            kind, *others = {_kind(text) for _, text in parts}
            problem = ""
            if others:
                problem = "files cannot be mixed with sources to build from"
            elif kind == SCORED and kind not in kinds:
                problem = f"{SCORED} is only scored: name it under score:"
            elif kind not in kinds:
                problem = "a file or folder is needed here"
            elif kind == "path" and len(parts) > 1 and "several" not in kinds:
                problem = "only one file or folder is allowed (give each a name, and write a+b in axes)"
            if problem:
                self._error(location, problem)
                break
            paths = [self._path(line, text, kind, "hub" in kinds) for line, text in parts]
            found[language] = DataSource(kind, tuple(paths))
        return found

    def _filled(self, location: str, text: str, language: Language) -> str:
        two_letters = facts_of(language).iso639_1
        names = {"language": str(language), "iso639_3": language.code, "iso639_1": two_letters}
        for name in PLACEHOLDER.findall(text):
            if name not in names:
                self._error(location, f"unknown placeholder {{{name}}} ({', '.join(names)})")
            elif names[name] is None:
                self._error(location, f"{language.name} has no two-letter code for {{{name}}}")
        return PLACEHOLDER.sub(lambda match: names.get(match[1]) or match[0], text)

    def _path(self, location: str, text: str, kind: str, hub: bool) -> str:
        """A path or source with an absolute path, which must exist."""
        head, colon, rest = text.partition(":")
        if kind == SCORED or (kind == "corpus" and head != "file"):
            with self._noting(location):
                parse_source(text)
            return text
        if kind == "graph" and head == "cldr":
            return text
        prefix, inner = ("", text) if kind == "path" else (head + colon, rest)
        if inner.startswith(BUNDLED):
            inner = str(Path(str(files("langlift")), "bundled", inner.removeprefix(BUNDLED)))
        path = Path(self.path.parent, Path(inner).expanduser())
        if kind == "corpus" and "*" in inner:
            return prefix + str(path.absolute())
        if path.exists() or (hub and on_disk(path) != path):
            return prefix + str(path.resolve())
        if hub and HUB_ID.fullmatch(inner) and not inner.endswith((".txt", ".tsv")):
            return inner
        self._error(location, f"{path}: no such file or folder")
        return prefix + str(path)

    def _check_all_languages(
        self, location: str, what: str, data: Collection[Language], others: Sequence[Language] = ()
    ) -> None:
        missing = [str(one) for one in [*self.languages, *others] if one not in data]
        if missing and not any(mistake.startswith(location) for mistake in self.mistakes):
            self._error(location, f"{what} has nothing for {', '.join(missing)}")


def _kind(text: str) -> str:
    """Whether a text is a path, or a source that a graph or corpus is built from."""
    head = re.split("[:=]", text, maxsplit=1)[0]
    if text.startswith(BUNDLED):
        return "path"
    if head in GRAPH_KINDS and (":" in text or head == "cldr"):
        return "graph"
    if head == SCORED and (text == head or "=" in text):
        return SCORED
    return "corpus" if head in CORPUS_KINDS and (":" in text or "=" in text or text == head) else "path"
