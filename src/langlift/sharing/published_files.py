"""The files of a run that go to the hub, and their names there; only listed files are ever uploaded."""

import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from langlift.backbones.eight_bits import has_eight_bits
from langlift.checkpoints import layouts
from langlift.checkpoints.adapter_folder import METADATA, MLM_HEAD, read_identity
from langlift.checkpoints.layouts import read_metadata, read_safetensors
from langlift.config.yaml_reader import load_yaml
from langlift.errors import InputError
from langlift.files import read_json
from langlift.hub_folders import REPOSITORY
from langlift.sharing.export_records import EXPORT_FILE, MODEL_FILES, inputs_in, read_readme, read_recipe
from langlift.studies.published import BASES
from langlift.tasks.prediction import is_task_run, seed_folder
from langlift.tasks.runner import HEAD, HEAD_WEIGHTS
from langlift.tasks.setups import FUSED_ADAPTERS, LANGUAGE_ADAPTER
from langlift.training.run_folder import LEARNING_CURVES, METRICS, PROGRESS, RECIPE, VERSIONS, is_finished

PICKLE = b"\x80"
"""How a PyTorch file of the old format begins."""
RUN_FILES = (RECIPE, VERSIONS, METRICS, PROGRESS, LEARNING_CURVES, EXPORT_FILE)
ADAPTER_FILES = (
    layouts.CONFIG_FILE,
    layouts.ADAPTERHUB_WEIGHTS,
    layouts.ADAPTERHUB_PICKLE,
    layouts.PEFT_WEIGHTS,
    MLM_HEAD,
    *layouts.ADAPTERHUB_FUSIONS,
)
TASK_FILES = (HEAD, HEAD_WEIGHTS, *ADAPTER_FILES, *MODEL_FILES)
ONNX_GRAPH = "model.onnx"
ONNX_FILES = (ONNX_GRAPH, "model.onnx.data", "model_int8*.onnx*", "labels.json", "tokenizer.json")
BELOW = (LANGUAGE_ADAPTER, FUSED_ADAPTERS)
REWRITTEN = (RECIPE, METRICS, EXPORT_FILE, layouts.CONFIG_FILE, layouts.FUSION_CONFIG)
"""The files that may name local paths or the base model."""

Content = Path | bytes


@dataclass(frozen=True)
class Publication:
    """The files to publish, by their name in the repository.

    ``kind`` is ``task``, ``adapter``, ``model`` or ``onnx``; ``folder`` has the recipe, ``whole`` the metrics of
    all seeds of a task.
    """

    kind: str
    folder: Path
    whole: Path
    files: dict[str, Content]

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe; empty if there is none."""
        return read_recipe(self.folder)

    @property
    def readme(self) -> str:
        """The run's own card, which its owner may have edited; empty if there is none."""
        return read_readme(self.folder)

    @property
    def base(self) -> str | None:
        """The recorded base model; of a whole model, the one that it was trained from."""
        base = None
        if layouts.CONFIG_FILE in self.files:
            base = read_identity(self.folder).get("model_name")
            base = base or read_json(self.folder / layouts.CONFIG_FILE).get("base_model_name_or_path")
        base = base or inputs_in(self.recipe).get("base") or read_json(self.folder / EXPORT_FILE).get("base")
        return str(base) if base else None


def find_publication(source: Path) -> Publication:
    """What a folder contains, and which of its files go to the hub. For a task, these are of the best seed on dev.

    Raises:
        InputError: it contains nothing to publish, or an unfinished run.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder", "give the folder of a run, an adapter or a model")
    if (source / RECIPE).is_file() and not is_finished(source):
        raise InputError(f"{source}: the run is not finished", "the same command with --resume continues")
    if is_task_run(source):
        folder = seed_folder(source)
        files = _chosen(folder, (*TASK_FILES, *RUN_FILES))
        for name in BELOW:
            below = next((path for path in (folder.parent / name, folder / name) if path.is_dir()), None)
            if below is not None:
                adapters = [path for path in sorted(below.rglob("*")) if path.name in ADAPTER_FILES]
                for path in (below, *adapters):
                    _require_own(path)
                files |= {f"{name}/{path.relative_to(below).as_posix()}": path for path in adapters}
        return Publication("task", folder, source, files)
    if (source / layouts.CONFIG_FILE).is_file():
        return Publication("adapter", source, source, _chosen(source, (*ADAPTER_FILES, *RUN_FILES)))
    if (source / ONNX_GRAPH).is_file():
        return Publication("onnx", source, source, _chosen(source, (*ONNX_FILES, *RUN_FILES)))
    model = next((path for path in (source, source / "model") if (path / "config.json").is_file()), None)
    if model is None:
        raise InputError(
            f"{source}: contains no adapter, task run or model",
            "give the folder that 'langlift adapt', 'task', 'export' or another command wrote with --out",
        )
    if has_eight_bits(model):
        raise InputError(
            f"{source}: its weights are in langlift's 8-bit format, which only langlift can load",
            f"langlift export {shlex.quote(str(source))} --to transformers --out FOLDER, and publish FOLDER",
        )
    return Publication("model", source, source, _chosen(model, MODEL_FILES) | _chosen(source, RUN_FILES))


def made_portable(publication: Publication, base: str | None) -> dict[str, Content]:
    """The files with local paths shortened to names, and the recorded base replaced by ``base``."""
    before, paths = publication.base, set(recorded_paths(publication.recipe))
    ready = dict(publication.files)
    for name, path in publication.files.items():
        if not isinstance(path, Path):
            continue
        if path.name in REWRITTEN:
            ready[name] = _portable(path, paths, before, base)
        elif path.name == layouts.PEFT_WEIGHTS and before != base:
            identity = json.loads(read_metadata(path).get(METADATA, "{}"))
            if identity.get("model_name") == before:
                metadata = {METADATA: json.dumps({**identity, "model_name": base})}
                ready[name] = save(read_safetensors(path), metadata=metadata)
    return ready


def size_of(content: Content) -> int:
    """The size in bytes."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def on_hub(name: str) -> bool:
    """Whether a recorded base is assumed to be on the hub: named like a repository, and not a local folder."""
    return not Path(name).exists() and (REPOSITORY.fullmatch(name) is not None or name in BASES)


def recorded_paths(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The local paths in a recipe, including the language adapter's if it was relative to another folder."""
    yield from filter(_is_local, _strings(recipe))
    below = inputs_in(recipe).get(LANGUAGE_ADAPTER)
    if below and "/" in str(below):
        yield str(below)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _is_local(value: str) -> bool:
    """Whether a string is a local path, and not a hub id or a word."""
    if not value or "\n" in value or len(value) > 1000:
        return False
    path = Path(value)
    return path.is_absolute() or value.startswith("~") or ("/" in value and path.exists())


def _chosen(folder: Path, patterns: Sequence[str]) -> dict[str, Content]:
    chosen: dict[str, Content] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and any(fnmatch(path.name, pattern) for pattern in patterns):
            _require_own(path)
            chosen[path.name] = path
    return chosen


def _require_own(path: Path) -> None:
    """Raise an InputError for a link, and for a file that is not what its name says."""
    if path.is_symlink():
        raise InputError(f"{path}: is a link, which may lead out of the run", "put the file itself in its place")
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".yaml":
            load_yaml(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safe_open(path, "numpy"):
                pass
        elif path.suffix == ".bin" and not (is_zipfile(path) or path.read_bytes()[:1] == PICKLE):
            raise ValueError("neither a zip archive nor a pickle")
    except (ValueError, RecursionError, yaml.YAMLError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a {path.suffix.removeprefix('.')} file ({reason})", "remove it, or write the run again"
        ) from None


def _portable(path: Path, paths: Collection[str], before: str | None, base: str | None) -> bytes:
    text = path.read_text(encoding="utf-8")
    content = load_yaml(text) if path.name == RECIPE else json.loads(text)

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: changed(part) for key, part in value.items()}
        if isinstance(value, list):
            return [changed(part) for part in value]
        if before is not None and value == before:
            return base
        return Path(value).name if isinstance(value, str) and (value in paths or _is_local(value)) else value

    new = changed(content)
    if new == content:
        return text.encode()
    if path.name == RECIPE:
        return yaml.safe_dump(new, sort_keys=False, allow_unicode=True).encode()
    return (json.dumps(new, indent=2, ensure_ascii=False) + "\n").encode()
