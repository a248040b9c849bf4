"""Sources of labelled data: folders with a file per split, and data sets in the hub's format."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from langlift.corpus.sources import SourceSpec, hub_errors
from langlift.corpus.tables import TEXT_FILES, rows_of_files, table_files
from langlift.errors import InputError
from langlift.hub_folders import LABELLED_HINT, refuse_path, tell_hub

SPLITS = ("train", "dev", "test")
FILES = (*TEXT_FILES, ".parquet")
HUB_SPLITS = {"train": ("train",), "dev": ("validation", "dev", "valid"), "test": ("test",)}


class SplitFolder:
    """A folder with a file for each split: ``train``, ``dev`` and ``test`` with the first of ``endings`` found."""

    def __init__(self, name: str, endings: Sequence[str], needed: str) -> None:
        self.folder, self._endings, self._needed = Path(name), endings, needed
        if not self.folder.is_dir():
            what = "a folder is needed, not a file" if self.folder.exists() else "no such folder"
            raise InputError(f"{self.folder}: {what}", f"it must contain {needed}")

    def found(self, split: str) -> list[Path]:
        """The files of a split; empty if it is missing."""
        files = (self.folder / f"{split}{ending}" for ending in self._endings)
        return [file for file in files if file.is_file()][:1]

    def files(self, split: str) -> list[Path]:
        """The files of a split; raises an InputError if it is missing."""
        if files := self.found(split):
            return files
        found = ", ".join(name for name in SPLITS if self.found(name)) or "none"
        other = "; --train-data names other data to train on" if split == "train" else ""
        raise InputError(
            f"{self.folder}: the {split} split is missing (found: {found})",
            f"the folder must contain {self._needed}{other}",
        )

    def place(self, split: str) -> str:
        """The path of its first file."""
        return str(self.files(split)[0])

    def content(self, split: str) -> bytes:
        """The bytes of its files."""
        return b"".join(file.read_bytes() for file in self.found(split))


class HubSet:
    """A data set on the hub, ``ID[:CONFIG]``, a folder in its format, or a file (parquet or JSON lines).

    ``fields`` are the fields to read, each given by its possible names. Tables and JSON lines on this machine are
    read by langlift's own readers, so that a label ``01`` is not a number and errors name file and line.

    Raises:
        InputError: there is no such data set, or it has several configurations and none is named.
        LangliftError: the hub cannot be reached.
    """

    def __init__(self, name: str, fields: Sequence[Sequence[str]]) -> None:
        import datasets

        self.name, self._fields = name, fields
        self._files: dict[str, list[Path]] = {}
        self._splits: Mapping[str, Any] = {}
        self._features: Mapping[str, Any] = {}
        self.columns: list[str] = []  # those read, once there was a row
        if Path(name).is_file():
            if name.lower().endswith(".parquet"):
                with hub_errors(SourceSpec("--data", name)):
                    self._splits = datasets.load_dataset("parquet", data_files={"train": escape(name)})
            else:
                self._files = {"train": [Path(name)]}
            return
        identity, _, config = name.partition(":")
        if not Path(identity).expanduser().is_dir():
            refuse_path(identity, "folder", LABELLED_HINT)
            tell_hub(identity)
        identity = str(Path(identity).expanduser()) if identity.startswith("~") else identity
        datasets.disable_progress_bars()
        try:
            with hub_errors(SourceSpec("--data", identity)):
                configs = datasets.get_dataset_config_names(identity)
                if not config and len(configs) > 1:
                    raise InputError(
                        f"{name}: has {len(configs)} configurations and none is named",
                        f"name one, such as {name}:{configs[0]}; there are {', '.join(configs[:20])}",
                    )
                if config and config not in configs:
                    raise InputError(
                        f"{name}: no configuration '{config}'", f"there are {', '.join(sorted(configs)[:20])}"
                    )
                config = config or configs[0]
                builder = datasets.load_dataset_builder(identity, config)
                self._files = table_files(builder)
                if self._files:
                    self._features = builder.info.features or {}
                else:
                    self._splits = datasets.load_dataset(identity, config)
        finally:
            datasets.enable_progress_bars()

    def rows(self, split: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """The rows of a split: (location for errors, fields) of each, with class names for class numbers."""
        name = self._named(split)
        if name is None:
            raise InputError(
                f"{self.name}: the {split} split is missing (found: {', '.join(self._files or self._splits)})",
                f"it must be called {' or '.join(HUB_SPLITS[split])}",
            )
        columns: list[str] = []
        features = self._features
        rows = rows_of_files(self._files.get(name, ()))
        if self._splits:
            data = self._splits[name]
            columns, features = self._columns(data.column_names, split), data.features
            numbered = enumerate(data.select_columns(columns), start=1)
            rows = ((f"{self.place(split)}, row {number}", row) for number, row in numbered)
        for place, row in rows:
            columns = columns or self._columns(list(row), split)
            values = [_with_class_names(row.get(column), features.get(column)) for column in columns]
            if empty := [column for column, value in zip(columns, values, strict=True) if value in (None, "")]:
                raise InputError(f"{place}: field '{empty[0]}' is empty", "drop the row")
            yield place, tuple(values)

    def _named(self, split: str) -> str | None:
        """The data set's own name of a split; None if it has none."""
        return next((name for name in HUB_SPLITS[split] if name in (self._files or self._splits)), None)

    def _columns(self, found: Sequence[str], split: str) -> list[str]:
        self.columns = []
        for names in self._fields:
            if (own := next((name for name in names if name in found), None)) is None:
                wanted = " or ".join(f"'{name}'" for name in names)
                raise InputError(
                    f"{self.place(split)}: no field {wanted} (found: {', '.join(found)})", "rename the field"
                )
            self.columns.append(own)
        return self.columns

    def place(self, split: str) -> str:
        """The name and, unless it is a single file, the split."""
        return self.name if Path(self.name).is_file() else f"{self.name} ({split})"

    def content(self, split: str) -> bytes:
        """The fields of its rows."""
        if self._named(split) is None:
            return b""
        return b"".join(json.dumps(values, default=str).encode() + b"\n" for _, values in self.rows(split))


class SingleFile(SplitFolder):
    """A file with all labelled rows, which the learner splits; ``table`` reads them as its ``train`` split."""

    def __init__(self, path: Path, fields: Sequence[Sequence[str]]) -> None:
        if path.suffix.lower() not in FILES:
            raise InputError(f"{path}: not a table of labelled texts", f"give {', '.join(FILES)}, or a folder")
        self.folder = path
        self.table = self if path.suffix.lower() in (".tsv", ".csv") else HubSet(str(path), fields)

    def found(self, split: str) -> list[Path]:
        """The file."""
        return [self.folder]


Source = SplitFolder | HubSet


def open_source(data: str, endings: Sequence[str], needed: str, fields: Sequence[Sequence[str]]) -> Source:
    """A folder of split files, or else a data set in the hub's format; raises an InputError if it is neither.

    A path that does not exist is taken as a hub id. A folder without split files is in the hub's format if it
    contains parquet, JSON lines or CSV, directly or in ``data``, or at any depth if it has a README.md.
    """
    folder = Path(data)
    if folder.is_dir():
        own = any((folder / f"{split}{ending}").exists() for split in SPLITS for ending in endings)
        deep = (folder / "README.md").is_file()
        below = folder.rglob("*") if deep else [*folder.glob("*"), *folder.glob("data/*")]
        on_hub = not own and any(path.suffix in (".parquet", ".jsonl", ".csv") for path in below)
    else:
        on_hub = not folder.exists()
    return HubSet(data, fields) if on_hub else SplitFolder(data, endings, needed)


def digest(sources: Sequence[Source], tested: Source) -> str:
    """The SHA-256 of all splits of some sources and of the test split of ``tested`` (which may be one of them)."""
    found = hashlib.sha256()
    for source in sources:
        for split in SPLITS:
            found.update(source.content(split))
    found.update(tested.content("test"))
    return found.hexdigest()


def _with_class_names(value: Any, feature: Any) -> Any:
    """A value, or a list of them, with class names for class numbers; ``None`` if one is missing."""
    if isinstance(value, list):
        values = [_with_class_names(one, getattr(feature, "feature", None)) for one in value]
        return None if None in values else values
    names = getattr(feature, "names", None)
    if value is None or names is None:
        return value
    if value in names:
        return value
    number = int(value) if str(value).isdecimal() else -1
    return names[number] if 0 <= number < len(names) else None
