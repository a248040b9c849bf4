"""Names that may be a path on this machine or a repository on the hub, and published runs and adapters."""

import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from langlift.errors import InputError
from langlift.progress import say

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PUBLISHED = (
    "*.json",
    "*.yaml",
    "README.md",
    "adapter*.safetensors",
    "*_adapter.bin",
    "head.safetensors",
    "mlm_head.safetensors",
    "model*.safetensors",
    "language_adapter/*",
    "fused_adapters/*",
)
"""The files of a repository that belong to a run or an adapter."""
LABELLED_HINT = "give a folder of labelled data or a hub id"
FILE_ENDINGS = (".txt", ".tsv", ".csv", ".json", ".jsonl", ".yaml", ".yml", ".conll", ".conllu", ".parquet", ".gz")


def is_path(name: str) -> bool:
    """Whether a name can only be a path, existing or not, so that the hub must not be asked for it.

    Such as ``./welsh``, ``welsh.txt``, ``runs/topic/seed-1``, and ``runs/welsh`` if there is a folder ``runs``.
    """
    first, slash, rest = name.partition("/")
    written_as_one = name.startswith((".", "/", "~")) or "/" in rest or name.endswith(("/", *FILE_ENDINGS))
    return not name or written_as_one or (bool(slash) and Path(first).is_dir())


def missing(name: str | Path, what: str, hint: str) -> InputError:
    """The error for a path that does not exist; the hint names the most similar one that does."""
    near = similar_path(Path(name).expanduser())
    return InputError(f"{name or '(empty)'}: no such {what}", f"did you mean {near}?" if near else hint)


def refuse_path(name: str, what: str, hint: str) -> None:
    """Raise an InputError for a name that does not exist here and can only be a path."""
    if is_path(name) and not Path(name).expanduser().exists():
        raise missing(name, what, hint)


def existing(name: str, what: str = "file") -> Path:
    """The name as a path; raises an InputError if it does not exist."""
    if not Path(name).exists():
        raise missing(name, what, "check the path given")
    return Path(name)


def may_be_on_hub(name: str | Path) -> bool:
    """Whether a name is that of a repository, ``owner/name``, and not of a path."""
    text = str(name)
    return not Path(name).exists() and not is_path(text) and REPOSITORY.fullmatch(text) is not None


def similar_path(path: Path) -> Path | None:
    """The existing path most similar to a misspelt one, of which one or more parts are wrong."""
    if not path.name or path.exists():
        return path if path.exists() else None
    parent = similar_path(path.parent)
    try:
        beside = [] if parent is None else sorted(one.name for one in parent.iterdir())
    except OSError:
        return None
    near = get_close_matches(path.name, beside, n=1, cutoff=0.7)
    return parent / near[0] if parent and near else None


@cache
def tell_hub(name: str) -> None:
    """Say, once, that a name which is no path here is taken for one on the hub."""
    say(f"{name}: not a path on this machine, so it is read from the Hugging Face hub or its local cache")


def local_folder(name: str | Path) -> Path:
    """The folder with this name if there is one, else the downloaded files of the hub repository with this name.

    Raises:
        InputError: there is neither, or the hub cannot be reached.
    """
    if not may_be_on_hub(name):
        return existing(str(name), "folder")
    from huggingface_hub import snapshot_download

    tell_hub(str(name))
    try:
        return Path(snapshot_download(str(name), allow_patterns=list(PUBLISHED)))
    except (OSError, ValueError) as error:  # the hub's own errors are OSErrors, or ValueErrors of names
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{name}: no such folder, and not found on the Hugging Face hub ({reason})",
            "give a folder that langlift wrote, or a repository such as owner/name",
        ) from None


def run_in_repository(name: str | Path) -> Path | None:
    """The files of the hub repository with this name, if it contains an adapter or a task run; else ``None``.

    Folders and models also give ``None``: these are loaded by name elsewhere.
    """
    if not may_be_on_hub(name):
        return None
    from huggingface_hub import hf_hub_download

    tell_hub(str(name))
    for marker in ("head.json", "adapter_config.json"):
        try:
            hf_hub_download(str(name), marker)
        except (OSError, ValueError):  # missing, or the hub is unreachable: loading it as a model reports that
            continue
        return local_folder(name)
    return None
