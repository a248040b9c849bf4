"""FAMILY.yaml: the languages that share one model, their texts, the base, and the training settings."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from langlift.backbones.base_name import BaseName
from langlift.config.loading import Given, resolve, yaml_readable
from langlift.config.yaml_reader import YamlLoader, YamlReader
from langlift.errors import InputError
from langlift.languages import Language, find_language
from langlift.training.recipes import FamilyRecipe

SECTION = "adapt-family"
HINT = "a family file has base, languages (LANG: FILE or [FILE, FILE]) and settings; docs/families.md"


@dataclass(frozen=True)
class Family:
    """Languages with one or more text files or built folders each, and their base model.

    ``vocabulary``, if any, is a folder of ``langlift vocab build`` that is applied to the base before training.
    """

    name: str
    base: BaseName
    data: Mapping[Language, tuple[Path, ...]]
    vocabulary: str | None = None


def read_family(
    path: Path,
    *,
    base: BaseName | str | None = None,
    vocabulary: str | None = None,
    preset: str | None = None,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> tuple[Family, FamilyRecipe]:
    """A family file, and the recipe from preset, ``--config``, the file's own settings, ``--set`` and flags.

    ``base`` and ``vocabulary`` override the file's. ``$NAME`` in a path is an environment variable; relative paths
    are relative to the file's folder.

    Raises:
        InputError: lists every error in the file and in the settings, each with its line.
    """
    content = _FamilyReader(path)
    with yaml_readable(path):
        loader = YamlLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path}: must contain 'key: value' lines", HINT)
        for place, key, node in content.pairs(root, "setting"):
            if key == "languages":
                content.read_languages(place, node)
            elif key in ("name", "base", "vocabulary"):
                setattr(content, key, content.text(place, key, node))
            else:
                content.settings.append((place, key, loader.construct_object(node, deep=True)))
    if not content.data and not content.mistakes:
        content.mistakes.append(f"{path}: no languages")
    if {"steps", "tokens"} <= {key for _, key, _ in content.settings}:
        content.mistakes.append(f"{path}: steps and tokens are both given")
    base = BaseName.of(base).or_else(content.resolved(content.base))
    vocabulary = vocabulary or content.resolved(content.vocabulary)
    if vocabulary and not Path(vocabulary).is_dir():
        content.mistakes.append(f"{path}: {vocabulary}: no such vocabulary folder")
    if not base:
        content.mistakes.append(f"{path}: no base (or give --base)")
    recipe = resolve(
        FamilyRecipe,
        SECTION,
        base=base.name,
        preset=preset,
        config=config,
        assignments=assignments,
        flags=flags,
        given=content.settings,
        errors=content.mistakes,
    )
    return Family(content.name or path.stem, base, content.data, vocabulary or None), recipe


@dataclass
class _FamilyReader(YamlReader):
    """The settings read so far."""

    name: str = ""
    base: str = ""
    vocabulary: str = ""
    data: dict[Language, tuple[Path, ...]] = field(default_factory=dict)
    settings: list[Given] = field(default_factory=list)

    def resolved(self, name: str) -> str:
        """The folder of this name next to the file, if there is one; else the name unchanged, such as a hub id."""
        folder = Path(self.path.parent, os.path.expanduser(name))  # noqa: PTH111 - leaves unknown users unchanged
        return str(folder) if name and folder.is_dir() else name

    def read_languages(self, place: str, node: yaml.Node) -> None:
        """The block of languages, each with its data."""
        if not isinstance(node, yaml.MappingNode):
            self.mistakes.append(f"{place}: languages must contain 'LANG: FILE' lines")
            return
        used: dict[Path, int] = {}
        for where, key, value in self.pairs(node, "language"):
            try:
                language = find_language(key)
            except InputError as error:
                self.mistakes.append(f"{where}: {error.message}")
                continue
            if language in self.data:
                self.mistakes.append(f"{where}: {language.name} ({language}) is given twice")
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            self.data[language] = tuple(self._files(where, items, used))

    def _files(self, place: str, items: Sequence[yaml.Node], used: dict[Path, int]) -> Iterator[Path]:
        if not items:
            self.mistakes.append(f"{place}: no data")
        for item in items:
            where = f"{self.path}:{item.start_mark.line + 1}"
            if not (text := self.text(where, "data", item)):
                continue
            data = Path(self.path.parent, os.path.expanduser(text))  # noqa: PTH111 - the same
            whole = data.resolve()
            if not data.exists():
                self.mistakes.append(f"{where}: {data}: no such file or folder")
            elif whole in used:
                self.mistakes.append(f"{where}: {data} is given twice (line {used[whole]})")
            used.setdefault(whole, item.start_mark.line + 1)
            yield data
