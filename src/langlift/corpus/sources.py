"""Where text comes from: GlotCC, Wikipedia, FLORES, any data set in the hub's format, plain text files.

A source is written ``KIND[:WHAT][=FOLDER]``:

    glotcc               wikipedia             flores
    glotcc=FOLDER        wikipedia:20240520    flores=FOLDER
    hub:ID[:CONFIG][@SPLIT][#FIELD]            file:GLOB

After ``=`` stands what to read instead of the official data set: a folder in the hub's format, or the id of a set
in the same form. ``ID`` may be a folder too; ``~`` is the home folder. Everything is streamed: no source is held
whole.
"""

import logging
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from glob import glob
from os.path import exists, expanduser, isdir
from pathlib import Path
from typing import Any

from langlift.corpus.language_names import names_with_script, wiki_code
from langlift.corpus.text_files import MINIMUM_LINES
from langlift.corpus.text_stream import stream_documents
from langlift.errors import InputError, LangliftError
from langlift.languages import Language

BATCH = 64
HOW_TO_WRITE = "glotcc, wikipedia, flores, hub:ID[:CONFIG][@SPLIT][#FIELD] or file:GLOB; folders: glotcc=FOLDER"
HUB_SYNTAX = re.compile(r"(?P<id>[^:@#]+)(?::(?P<config>[^@#]+))?(?:@(?P<split>[^#]+))?(?:#(?P<field>.+))?")


@dataclass(frozen=True)
class KnownSet:
    """A public data set: its id on the hub, the split and the fields that hold text, and its licence."""

    id: str
    split: str
    fields: tuple[str, ...]
    licence: str


KNOWN = {
    "glotcc": KnownSet(
        "cis-lmu/GlotCC-V1", "train", ("content",), "texts: CommonCrawl terms of use; metadata: CC0 1.0"
    ),
    "wikipedia": KnownSet("wikimedia/wikipedia", "train", ("text",), "CC BY-SA 4.0 and GFDL"),
    "flores": KnownSet("openlanguagedata/flores_plus", "devtest", ("text", "sentence"), "CC BY-SA 4.0"),
}
HUB = KnownSet("", "train", ("text", "content", "sentence"), "unknown: see the data set's page")
OWN_FILES = "as given by its owner"
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class SourceName:
    """A source as the user wrote it, taken apart; for ``file`` the ``id`` is the pattern of its files."""

    kind: str
    id: str
    config: str | None = None
    split: str | None = None
    field: str | None = None


@dataclass(frozen=True)
class Source:
    """An opened source. ``documents`` yields texts; ``bytes`` is known for files only."""

    kind: str
    id: str
    config: str | None
    split: str | None
    field: str | None
    licence: str
    files: list[str]
    bytes: int | None
    documents: Iterator[str]


def parse_source(text: str) -> SourceName:
    """Take a ``--source`` apart.

    Raises:
        InputError: it is not written as the module's docstring says.
    """
    head, equals, folder = text.partition("=")
    kind, colon, what = text.partition(":")
    if kind == "file" and what:
        return SourceName("file", what)
    if kind == "hub" and (match := HUB_SYNTAX.fullmatch(what)):
        return SourceName("hub", **match.groupdict())
    kind, colon, what = head.partition(":")
    if kind in KNOWN and not (equals and not folder) and not (colon and not what):
        if kind == "wikipedia" and (not colon or re.fullmatch(r"\d{8}", what)):
            return SourceName(kind, folder or KNOWN[kind].id, config=what or None)
        if kind != "wikipedia" and not colon:
            return SourceName(kind, folder or KNOWN[kind].id)
    if kind == "wikipedia" and colon:
        raise InputError(f"--source {text}: '{what}' is not the date of a dump", "such as wikipedia:20240520")
    as_file = f"plain text is given as {_as_files(text)}; else " if exists(expanduser(text)) else ""  # noqa: PTH110, PTH111
    raise InputError(f"--source {text}: not understood", f"{as_file}one of {HOW_TO_WRITE}")


def open_source(name: SourceName, language: Language) -> Source:
    """Find a source's files or configuration for a language and check that its text field is there.

    Raises:
        InputError: nothing is there, or not in this language; what there is is named.
        LangliftError: the hub cannot be reached.
    """
    name = replace(name, id=expanduser(name.id))  # noqa: PTH111 - leaves what names no user as it is
    return _open_files(name) if name.kind == "file" else _open_dataset(name, language)


def _open_files(name: SourceName) -> Source:
    files = sorted(path for path in glob(name.id, recursive=True) if Path(path).is_file())  # noqa: PTH207 - absolute too
    if not files and Path(name.id).is_dir():
        raise InputError(f"file:{name.id}: is a folder", f"name the files in it: {_as_files(name.id)}")
    if not files:
        raise InputError(f"file:{name.id}: no such file", "check the pattern; put it in quotes for the shell")
    for path in map(Path, files):
        if path.suffix.lower() in TABLES:
            hint = f"a folder of such files is read by hub:FOLDER#FIELD: {shlex.quote(f'hub:{path.parent}#text')}"
            raise InputError(f"{path}: not plain text, going by its name", hint)
        if path.suffix.lower() in PACKED:
            raise InputError(f"{path}: not plain text, going by its name", "unpack it first")
    size = sum(Path(path).stat().st_size for path in files)
    many = len(files) >= MINIMUM_LINES
    documents = (text for path in files for text in stream_documents(Path(path), many))
    return Source("file", name.id, None, None, None, OWN_FILES, files, size, documents)


def _as_files(path: str) -> str:
    """How a file, or the text files of a folder, are written as a source."""
    return shlex.quote(f"file:{path.rstrip('/')}/*.txt" if isdir(expanduser(path)) else f"file:{path}")  # noqa: PTH111, PTH112


def _open_dataset(name: SourceName, language: Language) -> Source:
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it announces each retry on the screen
    if name.id.startswith((".", "/", "~")) and not Path(name.id).is_dir():
        raise InputError(f"{name.id}: no such folder", "check the path; a folder in the hub's format is needed")
    known = KNOWN.get(name.kind, HUB)
    split = name.split or known.split
    with told_plainly(name):
        configs = datasets.get_dataset_config_names(name.id)
        config = CONFIGURATIONS[name.kind](name, configs, language)
        data = datasets.load_dataset(name.id, config, split=split, streaming=True)
        columns = data.column_names or list(next(iter(data), {}))
    fields = (name.field,) if name.field else known.fields
    field = next((field for field in fields if field in columns), None)
    if field is None:
        wanted = " or ".join(f"'{field}'" for field in fields)
        raise InputError(
            f"{name.id} ({config}, {split}): no field {wanted} (found: {', '.join(columns) or 'no row at all'})",
            f"name the field that holds text: hub:{name.id}:{config}@{split}#FIELD",
        )
    if data.column_names:
        data = data.select_columns([field])
    licence = known.licence if name.kind in KNOWN else _licence(name.id)
    return Source(name.kind, name.id, config, split, field, licence, [], None, _texts(data, field, name))


def _texts(data: Any, field: str, name: SourceName) -> Iterator[str]:
    """The texts of a streamed data set."""
    batches = data.iter(batch_size=BATCH)
    row = 0
    while True:
        with told_plainly(name):
            batch = next(batches, None)
        if batch is None:
            return
        for text in batch[field]:
            row += 1
            if text is not None and not isinstance(text, str):
                raise InputError(
                    f"{name.id}: row {row}, field '{field}': {type(text).__name__}, not text", "name another field"
                )
            if text:
                yield text


def _glotcc_config(name: SourceName, configs: list[str], language: Language) -> str:
    return _choose(name, configs, names_with_script(language, "-"), language)


def _flores_config(name: SourceName, configs: list[str], language: Language) -> str:
    return _choose(name, configs, names_with_script(language, "_"), language)


def _wikipedia_config(name: SourceName, configs: list[str], language: Language) -> str:
    """The language's newest dump, or that of the date asked for; configurations are named ``20231101.mt``."""
    code = wiki_code(language)
    if name.config:
        return _choose(name, configs, [f"{name.config}.{code}"], language)
    dumps = sorted((c for c in configs if re.fullmatch(rf"\d{{8}}\.{re.escape(code)}", c)), reverse=True)
    return _choose(name, configs, dumps[:1] or [code], language)


def _hub_config(name: SourceName, configs: list[str], language: Language) -> str:
    if name.config:
        return _choose(name, configs, [name.config], language)
    if len(configs) == 1:
        return configs[0]
    names = [
        *names_with_script(language, "_"),
        *names_with_script(language, "-"),
        language.code,
        wiki_code(language),
    ]
    return _choose(name, configs, names, language)


CONFIGURATIONS: dict[str, Callable[[SourceName, list[str], Language], str]] = {
    "glotcc": _glotcc_config,
    "wikipedia": _wikipedia_config,
    "flores": _flores_config,
    "hub": _hub_config,
}


def _choose(name: SourceName, configs: list[str], names: list[str], language: Language) -> str:
    """The first of ``names`` that is a configuration."""
    if found := next((name for name in names if name in configs), None):
        return found
    near = [config for config in configs if re.search(rf"(^|[^a-z]){language.code}([^a-z]|$)", config)]
    near += [c for n in names for c in get_close_matches(n, configs, cutoff=0.5) if c not in near]
    raise InputError(
        f"{name.id}: no configuration {' or '.join(names[:3])} for {language.name} ({len(configs)} others)",
        f"nearest: {', '.join((near or sorted(configs))[:5])}; any one is read by hub:{name.id}:CONFIG",
    )


def _licence(dataset: str) -> str:
    """What a data set's card says of its licence."""
    from huggingface_hub import DatasetCard

    card = Path(dataset) / "README.md"
    try:
        licence = DatasetCard.load(card if card.is_file() else dataset).data.license
    except (OSError, ValueError):
        licence = None
    return ", ".join(licence) if isinstance(licence, list) else licence or HUB.licence


@contextmanager
def told_plainly(name: SourceName) -> Iterator[None]:
    """Turn what the datasets library raises into an error for people."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from yaml import YAMLError

    told: list[str] = []
    logger = logging.getLogger("datasets")
    handlers, logger.handlers = logger.handlers, [_Listener(told)]
    try:
        yield
    except LangliftError:
        raise
    except DatasetNotFoundError as error:
        if "gated" in str(error):
            raise InputError(
                f"{name.id}: the owners ask readers to accept their terms on the hub first",
                f"accept them at huggingface.co/datasets/{name.id} and run hf auth login; or read a downloaded "
                f"folder: {_with_folder(name)}",
            ) from error
        raise InputError(f"{name.id}: no such data set on the hub, nor a folder", "check the id") from error
    except ConnectionError as error:
        no_folder = "no such folder, and " if name.kind in ("hub", "--data") else ""
        raise LangliftError(
            f"{name.id}: {no_folder}the hub cannot be reached",
            f"check the network; or download the data set and name its folder: {_with_folder(name)}",
        ) from error
    except FileNotFoundError as error:
        raise InputError(
            f"{name.id}: no data files found", "a folder in the hub's format holds README.md and parquet or .jsonl"
        ) from error
    except YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{Path(name.id, 'README.md')}: the header is not valid YAML ({reason})", "mend the lines between ---"
        ) from error
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        # Only the library's log says which file it could not read.
        file = re.search(r"file '([^']+)'", " ".join(told))
        raise InputError(
            f"{file[1] if file else name.id}: {reason}", "check configuration, split and files"
        ) from error
    finally:
        logger.handlers = handlers


class _Listener(logging.Handler):
    """Keeps what is logged from the screen."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage())


def _with_folder(name: SourceName) -> str:
    return {"hub": "hub:FOLDER", "--data": "--data FOLDER"}.get(name.kind, f"{name.kind}=FOLDER")
