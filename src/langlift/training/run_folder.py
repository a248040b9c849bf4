"""A run's folder: atomic writes, and the files that every run has."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import yaml
from safetensors import SafetensorError

from langlift.errors import InputError, LangliftError
from langlift.processes import is_writer, wait_for_all

CHECKPOINTS = "checkpoints"
RECIPE = "recipe.yaml"
VERSIONS = "versions.json"
METRICS = "metrics.json"
PROGRESS = "progress.jsonl"
LEARNING_CURVES = "learning_curves.svg"
BEFORE_THE_RECIPE = (VERSIONS, f".{VERSIONS}.writing", f".{RECIPE}.writing")
"""What a process that was killed at once may leave."""
TORCH_WRITER = re.compile("PytorchStreamWriter|inline_container")
"""What torch.save's errors mention when the system does not let it write."""


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn the operating system's refusals (disk full, read-only) into an error for people (exit code 1)."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch and safetensors wrap the system's refusal in errors of their own.
        if isinstance(error, RuntimeError) and not TORCH_WRITER.search(str(error)):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise LangliftError(
            f"{target}: cannot be written ({reason})",
            "check free space and permissions; finished work is kept, the same command with --resume goes on",
        ) from error


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; rename it to ``target`` on success, remove it on failure.

    Of several processes only the writer's file counts; what the others write is thrown away.
    """
    if not is_writer():
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere, target.name)
        return
    staging = target.with_name(f".{target.name}.writing")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield staging
            staging.replace(target)
        finally:
            staging.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """As ``atomic_file``, for a folder; an existing ``target`` is replaced as a whole."""
    staging = target.with_name(f".{target.name}.writing")
    with writing(target):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            yield staging
            if target.exists():
                shutil.rmtree(target)
            staging.replace(target)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def atomic_files(folder: Path) -> Iterator[Path]:
    """Yield an empty staging folder; on success each file in it is renamed into ``folder``, one by one.

    Of several processes only the writer's files count.
    """
    if not is_writer():
        with tempfile.TemporaryDirectory() as nowhere:
            yield Path(nowhere)
        return
    staging = folder / ".writing"
    with writing(folder):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            yield staging
            for file in sorted(staging.iterdir()):
                file.replace(folder / file.name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def write_json(target: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically."""
    with atomic_file(target) as staging:
        staging.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_text(target: Path, content: str) -> None:
    """Write a text file atomically."""
    with atomic_file(target) as staging:
        staging.write_text(content, encoding="utf-8")


def open_run(
    folder: Path,
    recipe: Mapping[str, Any],
    resume: bool,
    may_change: frozenset[str] = frozenset(),
) -> None:
    """Prepare a run's folder: record recipe and versions before step 0, or check that a resumed run's agree.

    Settings named in ``may_change`` may differ when a run that is not finished is resumed; the recipe is
    then recorded anew. Of several processes the writer does it, and the others wait.

    Raises:
        InputError: the folder holds another run; or a resumed run's recipe differs from the recorded one.
        LangliftError: the folder cannot be written.
    """
    if is_writer():
        _open_run(folder, recipe, resume, may_change)
    wait_for_all()


def _open_run(folder: Path, recipe: Mapping[str, Any], resume: bool, may_change: frozenset[str]) -> None:
    recorded = folder / RECIPE
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    if recorded.exists():
        if not resume:
            raise InputError(
                f"{folder}: holds a run already", "add --resume to go on with it, or choose another --out"
            )
        before, now = _flat(_read_recipe(recorded)), _flat(yaml.safe_load(text))
        changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        finished = is_finished(folder)
        if forbidden := sorted(changed if finished else changed - may_change):
            key = forbidden[0]
            raise InputError(
                f"{recorded}: the run was started with {key} = {before.get(key)!r}, not {now.get(key)!r}",
                "resume with the same settings, or choose another --out",
            )
        if changed and not finished:
            write_text(recorded, text)
        return
    if folder.is_file():
        raise InputError(f"{folder}: is a file", "choose a folder for --out")
    foreign = [p.name for p in folder.iterdir() if p.name not in BEFORE_THE_RECIPE] if folder.exists() else []
    if foreign:
        raise InputError(f"{folder}: holds other files ({min(foreign)})", "choose a new or empty folder for --out")
    write_json(folder / VERSIONS, _versions())
    write_text(recorded, text)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a finished run, once no process reads them any more."""
    wait_for_all()
    if is_writer():
        shutil.rmtree(folder / CHECKPOINTS)


def is_finished(folder: Path) -> bool:
    """Whether a run wrote its metrics, which it does last."""
    return (folder / METRICS).exists()


def read_metrics(folder: Path) -> dict[str, Any]:
    """The metrics of a finished run; raises an InputError where they are damaged."""
    try:
        metrics = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        metrics = None
    if not isinstance(metrics, dict):
        raise InputError(f"{folder / METRICS}: damaged", "restore the file, or run again with another --out")
    return metrics


def sha256_of(files: Iterable[Path]) -> str:
    """The SHA-256 of some files' bytes, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        recipe = None
    if not isinstance(recipe, dict):
        raise InputError(f"{path}: damaged, so the run cannot be resumed", "choose another --out")
    return recipe


def _flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings and inputs on one level."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        flat |= value if isinstance(value, dict) else {key: value}
    return flat


def _versions() -> dict[str, str]:
    names = ("langlift", "torch", "transformers", "tokenizers", "peft", "accelerate", "numpy")
    return {"python": python_version(), **{name: version(name) for name in names}}
