"""Sources of text: GlotCC, Wikipedia, FLORES, any data set in the hub's format, plain text files.

A source is written ``KIND[:WHAT][=FOLDER]``:

    glotcc               wikipedia             flores
    glotcc=FOLDER        wikipedia:20240520    flores=FOLDER
    hub:ID[:CONFIG][@SPLIT][#FIELD]            file:GLOB

The part after ``=`` replaces the official data set: a folder in the hub's format, or the id of a data set in the
same form. ``ID`` may be a folder too; ``~`` is the home folder. All sources are streamed.
"""

import logging
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from glob import glob
from os.path import exists, expanduser, isdir
from pathlib import Path
from typing import Any

from langlift.corpus.language_names import names_with_script, wiki_code
from langlift.corpus.tables import rows_of_files, table_files
from langlift.corpus.text_files import MINIMUM_LINES, stream_documents
from langlift.errors import InputError, LangliftError
from langlift.languages import Language

BATCH = 64
HOW_TO_WRITE = "glotcc, wikipedia, flores, hub:ID[:CONFIG][@SPLIT][#FIELD] or file:GLOB; folders: glotcc=FOLDER"
HUB_SYNTAX = re.compile(r"(?P<id>[^:@#]+)(?::(?P<config>[^@#]+))?(?:@(?P<split>[^#]+))?(?:#(?P<field>.+))?")


@dataclass(frozen=True)
class KnownSet:
    """A public data set: its id on the hub, the split and the fields that contain text, and its licence.

    A ``gated`` one can only be read after its terms are accepted there.
    """

    id: str
    split: str
    fields: tuple[str, ...]
    licence: str
    gated: bool = False


KNOWN = {
    "glotcc": KnownSet(
        "cis-lmu/GlotCC-V1", "train", ("content",), "texts: CommonCrawl terms of use; metadata: CC0 1.0"
    ),
    "wikipedia": KnownSet("wikimedia/wikipedia", "train", ("text",), "CC BY-SA 4.0 and GFDL"),
    "flores": KnownSet(
        "openlanguagedata/flores_plus", "devtest", ("text", "sentence"), "CC BY-SA 4.0", gated=True
    ),
}
HUB = KnownSet("", "train", ("text", "content", "sentence"), "unknown: see the data set's page")
OWN_FILES = "as given by its owner"
TABLES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True)
class SourceSpec:
    """A source as the user wrote it, parsed; for ``file``, ``id`` is the pattern of the files."""

    kind: str
    id: str
    config: str | None = None
    split: str | None = None
    field: str | None = None


@dataclass(frozen=True)
class TextSource:
    """An opened source: its complete ``spec``, its texts, and its ``size`` in bytes (None: unknown)."""

    spec: SourceSpec
    licence: str
    files: list[str]
    size: int | None
    documents: Iterator[str]


def parse_source(text: str) -> SourceSpec:
    """Parse a ``--source``; InputError if it does not follow the syntax in the docstring of this module."""
    kind, _, what = text.partition(":")
    if kind == "file" and what:
        return SourceSpec("file", what)
    if kind == "hub" and (match := HUB_SYNTAX.fullmatch(what)):
        return SourceSpec("hub", **match.groupdict())
    head, equals, folder = text.partition("=")
    kind, colon, what = head.partition(":")
    dated = kind == "wikipedia" and re.fullmatch(r"\d{8}", what)
    if kind in KNOWN and (dated or not colon) and bool(equals) == bool(folder):
        return SourceSpec(kind, folder or KNOWN[kind].id, config=what or None)
    if kind == "wikipedia" and colon:
        raise InputError(
            f"--source {text}: '{what}' is not the date of a dump", "write it as in wikipedia:20240520"
        )
    as_file = f"plain text is given as {_as_files(text)}; else " if exists(expanduser(text)) else ""  # noqa: PTH110, PTH111
    raise InputError(f"--source {text}: not understood", f"{as_file}one of {HOW_TO_WRITE}")


def open_source(spec: SourceSpec, language: Language) -> TextSource:
    """Find the files or the configuration of a source for a language, and check that its text field exists.

    InputError if nothing is found, or nothing in this language; the error lists what is available;
    LangliftError if the hub cannot be reached.
    """
    spec = replace(spec, id=expanduser(spec.id))  # noqa: PTH111 - unlike Path's, it leaves unknown users as they are
    return _open_files(spec) if spec.kind == "file" else _open_dataset(spec, language)


def _open_files(spec: SourceSpec) -> TextSource:
    files = sorted(path for path in glob(spec.id, recursive=True) if Path(path).is_file())  # noqa: PTH207 - absolute too
    if not files and Path(spec.id).is_dir():
        raise InputError(f"file:{spec.id}: is a folder", f"name the files in it: {_as_files(spec.id)}")
    if not files:
        raise InputError(f"file:{spec.id}: no such file", "check the pattern, and quote it in the shell")
    for path in map(Path, files):
        if path.suffix.lower() in (*TABLES, *PACKED):
            hub = shlex.quote(f"hub:{path.parent}#text")
            folder = f"a folder of such files is read by hub:FOLDER#FIELD: {hub}"
            hint = folder if path.suffix.lower() in TABLES else "unpack it first"
            raise InputError(f"{path}: not plain text, judging by its name", hint)
    size = sum(Path(path).stat().st_size for path in files)
    documents = (text for path in files for text in stream_documents(Path(path), len(files) >= MINIMUM_LINES))
    return TextSource(spec, OWN_FILES, files, size, documents)


def _as_files(path: str) -> str:
    """A file, or the text files of a folder, in the syntax of sources."""
    return shlex.quote(f"file:{path.rstrip('/')}/*.txt" if isdir(expanduser(path)) else f"file:{path}")  # noqa: PTH111, PTH112


def _open_dataset(spec: SourceSpec, language: Language) -> TextSource:
    import datasets

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it prints a message at each retry
    if spec.id.startswith((".", "/", "~")) and not Path(spec.id).is_dir():
        raise InputError(f"{spec.id}: no such folder", "check the path; a folder in the hub's format is needed")
    known = KNOWN.get(spec.kind, HUB)
    split = spec.split or known.split
    with hub_errors(spec):
        config = _configuration(spec, datasets.get_dataset_config_names(spec.id), language)
        files = table_files(datasets.load_dataset_builder(spec.id, config)).get(split, [])
        if files:
            columns = list(next(rows_of_files(files), ("", {}))[1])
        else:
            data = datasets.load_dataset(spec.id, config, split=split, streaming=True)
            columns = data.column_names or list(next(iter(data), {}))
    fields = (spec.field,) if spec.field else known.fields
    field = next((field for field in fields if field in columns), None)
    if field is None:
        wanted = " or ".join(f"'{field}'" for field in fields)
        raise InputError(
            f"{spec.id} ({config}, {split}): no field {wanted} (found: {', '.join(columns) or 'no rows'})",
            f"name the field that contains text: hub:{spec.id}:{config}@{split}#FIELD",
        )
    licence = known.licence if spec.kind in KNOWN else _licence(spec.id)
    spec = replace(spec, config=config, split=split, field=field)
    own = ((place, row.get(field)) for place, row in rows_of_files(files))
    rows = own if files else _values(data, field, spec)
    return TextSource(spec, licence, [], None, _texts(rows, field))


def _values(data: Any, field: str, spec: SourceSpec) -> Iterator[tuple[str, Any]]:
    """The values of a field of a streamed data set, with their locations."""
    batches = (data.select_columns([field]) if data.column_names else data).iter(batch_size=BATCH)
    row = 0
    while True:
        with hub_errors(spec):
            batch = next(batches, None)
        if batch is None:
            return
        for value in batch[field]:
            row += 1
            yield f"{spec.id}: row {row}", value


def _texts(rows: Iterable[tuple[str, Any]], field: str) -> Iterator[str]:
    """The texts of rows, empty if missing."""
    for place, text in rows:
        if text is not None and not isinstance(text, str):
            raise InputError(f"{place}, field '{field}': {type(text).__name__}, not text", "name another field")
        yield text or ""


def _configuration(spec: SourceSpec, configs: list[str], language: Language) -> str:
    """The configuration asked for, or the language's."""
    names = _possible_configurations(spec, configs, language)
    if found := next((name for name in names if name in configs), None):
        return found
    near = [config for config in configs if re.search(rf"(^|[^a-z]){language.code}([^a-z]|$)", config)]
    near += [c for n in names for c in get_close_matches(n, configs, cutoff=0.5) if c not in near]
    raise InputError(
        f"{spec.id}: no configuration {' or '.join(names[:3])} for {language.name} ({len(configs)} others)",
        f"nearest: {', '.join((near or sorted(configs))[:5])}; read any of them with hub:{spec.id}:CONFIG",
    )


def _possible_configurations(spec: SourceSpec, configs: list[str], language: Language) -> list[str]:
    wiki = wiki_code(language)
    if spec.kind == "glotcc":
        return names_with_script(language, "-")
    if spec.kind == "flores":
        return names_with_script(language, "_")
    if spec.kind == "wikipedia":  # configurations are named 20231101.mt
        dumps = sorted(config for config in configs if re.fullmatch(rf"\d{{8}}\.{re.escape(wiki)}", config))
        return [f"{spec.config}.{wiki}"] if spec.config else dumps[-1:] or [wiki]
    if spec.config or len(configs) == 1:
        return [spec.config or configs[0]]
    return [*names_with_script(language, "_"), *names_with_script(language, "-"), language.code, wiki]


def _licence(dataset: str) -> str:
    from huggingface_hub import DatasetCard

    card = Path(dataset) / "README.md"
    try:
        licence = DatasetCard.load(card if card.is_file() else dataset).data.license
    except (OSError, ValueError):
        licence = None
    return ", ".join(licence) if isinstance(licence, list) else licence or HUB.licence


@contextmanager
def hub_errors(spec: SourceSpec) -> Iterator[None]:
    """Turn the errors of the datasets library into errors that say what to do."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from yaml import YAMLError

    logged: list[str] = []
    logger = logging.getLogger("datasets")
    handler = logging.Handler()
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    handlers, logger.handlers = logger.handlers, [handler]
    try:
        yield
    except LangliftError:
        raise
    except DatasetNotFoundError as error:
        if "gated" in str(error):
            raise InputError(
                f"{spec.id}: its owners require you to accept their terms on the hub first",
                f"accept them at huggingface.co/datasets/{spec.id} and run hf auth login; or read a downloaded "
                f"folder: {_with_folder(spec)}",
            ) from error
        raise InputError(f"{spec.id}: no such data set on the hub, nor a folder", "check the id") from error
    except ConnectionError as error:
        no_folder = "no such folder, and " if spec.kind in ("hub", "--data") else ""
        raise LangliftError(
            f"{spec.id}: {no_folder}the hub cannot be reached",
            f"check the network; or download the data set and name its folder: {_with_folder(spec)}",
        ) from error
    except YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{Path(spec.id, 'README.md')}: the header is not valid YAML ({reason})", "fix the lines between ---"
        ) from error
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        # Only the library's log says which file it could not read.
        file = re.search(r"file '([^']+)'", " ".join(logged))
        raise InputError(
            f"{file[1] if file else spec.id}: {reason}", "check configuration, split and files"
        ) from error
    finally:
        logger.handlers = handlers


def _with_folder(spec: SourceSpec) -> str:
    return {"hub": "hub:FOLDER", "--data": "--data FOLDER"}.get(spec.kind, f"{spec.kind}=FOLDER")
