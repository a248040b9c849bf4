"""Labelled data sets in the hub's format: ``ID[:CONFIG]``, where ID is a data set of the hub or a folder."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langlift.corpus.sources import SourceSpec, hub_errors
from langlift.errors import InputError

SPLIT_NAMES = {"train": ("train",), "dev": ("validation", "dev", "valid"), "test": ("test",)}


def is_hub_set(data: str, endings: Sequence[str]) -> bool:
    """Whether this is no folder of train, dev and test files with one of these endings.

    What does not exist here is taken for a hub id. A folder counts as one if it holds parquet or JSON lines,
    itself or in ``data``, or anywhere below where it has a README.md.
    """
    folder = Path(data)
    if not folder.is_dir():
        return not folder.exists()
    own = any((folder / f"{split}{ending}").exists() for split in SPLIT_NAMES for ending in endings)
    below = folder.rglob("*") if (folder / "README.md").is_file() else [*folder.glob("*"), *folder.glob("data/*")]
    return not own and any(path.suffix in (".parquet", ".jsonl") for path in below)


class HubSet:
    """A data set of the hub, or a folder in its format (parquet or JSON lines), with all its splits.

    Raises:
        InputError: there is no such data set, or it has several configurations and none is named.
        LangliftError: the hub cannot be reached.
    """

    def __init__(self, name: str) -> None:
        import datasets

        self.name = name
        identity, _, config = name.partition(":")
        a_path = identity.startswith((".", "/", "~")) or identity.count("/") > 1
        if a_path and not Path(identity).expanduser().is_dir():
            raise InputError(f"{identity}: no such folder", "give a folder of labelled data or a hub id")
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
                self._splits = datasets.load_dataset(identity, config or configs[0])
        finally:
            datasets.enable_progress_bars()

    def rows(self, split: str, wanted: Sequence[Sequence[str]]) -> Iterator[tuple[Any, ...]]:
        """The rows of a split; of each the ``wanted`` fields, each given by the names it may have.

        Numbers of classes come as the classes' names.

        Raises:
            InputError: the split or a field is missing.
        """
        data = self._split(split)
        columns = [self._column(data.column_names, split, names) for names in wanted]
        of_class = [_class_names(data.features[column]) for column in columns]
        for number, row in enumerate(data.select_columns(columns), start=1):
            values = []
            for column, names in zip(columns, of_class, strict=True):
                value = row[column]
                if value is None or (names is not None and not _is_named(value, names)):
                    raise InputError(f"{self.place(split, number)}: nothing in '{column}'", "drop the row")
                values.append(value if names is None else _named(value, names))
            yield tuple(values)

    def place(self, split: str, row: int) -> str:
        """How an error names a row, counted from 1."""
        return f"{self.name} ({split}), row {row}"

    def content(self, split: str, wanted: Sequence[Sequence[str]]) -> bytes:
        """What of a split is read, as bytes to be hashed; nothing where it is missing."""
        if not any(name in self._splits for name in SPLIT_NAMES[split]):
            return b""
        return b"".join(json.dumps(row).encode() + b"\n" for row in self.rows(split, wanted))

    def _split(self, split: str) -> Any:
        for name in SPLIT_NAMES[split]:
            if name in self._splits:
                return self._splits[name]
        raise InputError(
            f"{self.name}: the {split} split is missing (found: {', '.join(self._splits)})",
            f"it must be called {' or '.join(SPLIT_NAMES[split])}",
        )

    def _column(self, columns: Sequence[str], split: str, names: Sequence[str]) -> str:
        for name in names:
            if name in columns:
                return name
        wanted = " or ".join(f"'{name}'" for name in names)
        raise InputError(
            f"{self.name} ({split}): no field {wanted} (found: {', '.join(columns)})", "rename the field"
        )


def _class_names(feature: Any) -> list[str] | None:
    """The names of a class label's numbers, or of those in a list of them."""
    if hasattr(feature, "names"):
        return [str(name) for name in feature.names]
    return _class_names(feature.feature) if hasattr(feature, "feature") else None


def _is_named(value: Any, names: Sequence[str]) -> bool:
    values = value if isinstance(value, list) else [value]
    return all(number is not None and 0 <= number < len(names) for number in values)


def _named(value: Any, names: Sequence[str]) -> Any:
    return [names[number] for number in value] if isinstance(value, list) else names[value]
