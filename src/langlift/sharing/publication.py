"""What goes to the hub: a run's files, only those listed here, and its card, completed for other users."""

import json
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import yaml
from huggingface_hub import EvalResult, ModelCardData
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from langlift.adapters.method import readers
from langlift.backbones.eight_bits import has_eight_bits
from langlift.backbones.loading import is_causal
from langlift.bundled_models import BUNDLED
from langlift.checkpoints import layouts
from langlift.checkpoints.adapter_folder import METADATA, MLM_HEAD, read_identity
from langlift.checkpoints.layouts import read_metadata, read_safetensors
from langlift.config.yaml_reader import load_yaml
from langlift.corpus.text_data import load_text_data
from langlift.data_folder import MANIFEST
from langlift.errors import InputError
from langlift.files import read_json
from langlift.hub_folders import REPOSITORY
from langlift.languages import FLORES_CODE, Language, find_language
from langlift.model_cards import render_card, split_front_matter
from langlift.sharing.reference import (
    EXPORT_FILE,
    LANGUAGE_MODEL,
    MODEL_FILES,
    inputs_in,
    read_readme,
    read_recipe,
    settings_in,
)
from langlift.studies.published import BASES
from langlift.tasks.prediction import is_task_run, seed_folder
from langlift.tasks.runner import HEAD, HEAD_WEIGHTS
from langlift.tasks.setups import FUSED_ADAPTERS, LANGUAGE_ADAPTER
from langlift.tasks.task import TASKS, Task
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
NOT_STATED = "not stated"
SCORES = (
    ("validation_loss_before", "loss on held-out text before, nats"),
    ("validation_loss", "loss on held-out text after, nats"),
    ("mean", "test score, mean over seeds"),
    ("std", "its standard deviation over seeds"),
)
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
    files: dict[str, Path]

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe; empty if there is none."""
        return read_recipe(self.folder)

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
    ready: dict[str, Content] = {}
    for name, path in publication.files.items():
        ready[name] = path
        if path.name in REWRITTEN:
            ready[name] = _portable(path, paths, before, base)
        elif path.name == layouts.PEFT_WEIGHTS and before != base:
            identity = json.loads(read_metadata(path).get(METADATA, "{}"))
            if identity.get("model_name") == before:
                metadata = {METADATA: json.dumps({**identity, "model_name": base})}
                ready[name] = save(read_safetensors(path), metadata=metadata)
    return ready


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


def _chosen(folder: Path, patterns: Sequence[str]) -> dict[str, Path]:
    chosen: dict[str, Path] = {}
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


def published_card(
    publication: Publication,
    repository: str,
    base: str | None,
    base_is_public: bool,
    language: Language | None,
    licence: str | None,
    data: Sequence[Path],
    remarks: list[str],
) -> str:
    """The run's card under the public name of its base, with missing facts and sections added.

    Text by the owner is kept unless it is given again. Missing facts are appended to ``remarks``.
    """
    inputs, settings = inputs_in(publication.recipe), settings_in(publication.recipe)
    onnx, name, method = publication.kind == "onnx", repository.rpartition("/")[2], settings.get("method")
    metrics = {**read_json(publication.whole / METRICS), **read_json(publication.folder / METRICS)}
    task = TASKS.get(str(read_json(publication.folder / ("labels.json" if onnx else HEAD)).get("task")))
    front, text = split_front_matter(_without_paths(publication, base))
    languages = [language] if language is not None else recorded_languages(inputs)
    sources = _sources(data, inputs, remarks)
    for missing, option in {
        "language: give --language": languages,
        "licence: give --license (such as cc-by-4.0)": licence or front.get("license"),
        "licences of the data: give the built data folder with --data": sources,
    }.items():
        if not option:
            remarks.append(f"the card names no {missing}")
    config = publication.files.get("config.json")
    causal = is_causal(str(config.parent)) if config else settings.get("objective") == "causal"
    trained_on = (
        [one["data"] for one in _of_family(inputs)] or inputs.get("train_data") or inputs.get("data") or []
    )
    tested_on = str(inputs["data"]) if task and inputs.get("data") else None
    results = _results(task, tested_on, metrics) if task and tested_on else []
    tags = front["tags"] if isinstance(front.get("tags"), list) else []
    stated = {
        "language": list(dict.fromkeys(one.code for one in languages)),
        "license": licence,
        "library_name": "onnx" if onnx else front.get("library_name") or "langlift",
        "pipeline_tag": task.pipeline_tag if task else front.get("pipeline_tag") or LANGUAGE_MODEL[causal],
        "tags": list(dict.fromkeys([*map(str, tags), "langlift", "low-resource-languages"])),
        "datasets": [hub_id for _, hub_id, _ in sources if hub_id],
        "base_model": base if base_is_public else None,
        "model_name": name if results else None,
        "eval_results": results,
    }
    kept = {key: value for key, value in front.items() if key not in ("base_model", "model-index")}
    facts = ModelCardData(**kept | {key: value for key, value in stated.items() if value})
    # An ONNX export is downloaded to a folder first.
    text = (text if onnx else text.replace("THIS_FOLDER", repository)) or f"# {name}"
    return render_card(
        "published.md",
        front=facts.to_yaml().rstrip(),
        text=text,
        present=re.findall(r"^## (.*)$", text, flags=re.MULTILINE),
        repository=repository,
        kind=publication.kind,
        layout=read_json(publication.folder / EXPORT_FILE).get("format"),
        task=task,
        base=base,
        bundled=BUNDLED,
        causal=causal,
        languages=languages,
        trained_on=list(map(str, trained_on)) if isinstance(trained_on, list) else str(trained_on).split(", "),
        tested_on=tested_on,
        sources=sources,
        settings={
            name: value
            for name, value in settings.items()
            if not (task and name in task.unused) and method in (readers(name) or (method,))
        },
        scores=_scores(metrics),
    )


def recorded_languages(inputs: Mapping[str, Any]) -> list[Language]:
    """The languages that a run recorded; for tasks, those of data with names such as ``mlt_Latn``."""
    of_family = inputs.get("languages")
    codes = [*of_family] if isinstance(of_family, dict) else [inputs.get("language"), inputs.get("data")]
    return [
        find_language(code)
        for code in codes
        if isinstance(code, str) and (FLORES_CODE.fullmatch(code) or code == inputs.get("language"))
    ]


def _without_paths(publication: Publication, base: str | None) -> str:
    """The run's card with the base's public name, and with local paths shortened to names."""
    card, before = read_readme(publication.folder), publication.base
    if before is not None and base is not None:
        card = re.sub(rf"(?<![\w/.-]){re.escape(before)}(?![\w/-])", lambda _: base, card)
    for path in recorded_paths(publication.recipe):
        card = card.replace(path, Path(path).name)
    return card


def _results(task: Task, tested_on: str, metrics: Mapping[str, Any]) -> list[EvalResult]:
    found = [(metric, metrics.get(f"test_{metric.name}")) for metric in (task.metric, *task.further)]
    return [
        EvalResult(
            task_type=task.pipeline_tag,
            dataset_type=tested_on,
            dataset_name=tested_on,
            dataset_split="test",
            metric_type=metric.hub,
            metric_name=metric.name,
            metric_value=round(value, 2),
        )
        for metric, value in found
        if isinstance(value, float)
    ]


def _scores(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what was measured, value)."""
    rows = [
        (f"{key.removeprefix('test_')} on the test split", f"{value:.2f}")
        for key, value in metrics.items()
        if key.startswith("test_") and isinstance(value, float)
    ]
    one_seed = len(metrics.get("seeds", [])) == 1  # its mean is the same score
    rows += [
        (description, f"{metrics[key]:.4g}")
        for key, description in (SCORES[:2] if one_seed else SCORES)
        if metrics.get(key) is not None
    ]
    baseline = metrics.get("baseline")
    if isinstance(baseline, dict):
        rows += [(f"baseline {name} on the test split", f"{value:.2f}") for name, value in baseline.items()]
    return rows


def _of_family(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The data of a family's languages; empty for other runs."""
    languages = inputs.get("languages")
    return [one for some in languages.values() for one in some] if isinstance(languages, dict) else []


def _sources(
    folders: Sequence[Path], inputs: Mapping[str, Any], remarks: list[str]
) -> list[tuple[str, str | None, str]]:
    """(name, hub id if it has one, licence) of the sources in the manifests of built folders."""
    sources = []
    recorded = _hashes(inputs)
    for folder in folders:
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest.get("sources"), list):
            raise InputError(
                f"{folder}: no {MANIFEST} that names sources",
                "give a folder that 'langlift corpus build' or 'langlift graph build' wrote",
            )
        if recorded and load_text_data(folder).sha256 not in recorded:
            remarks.append(f"{folder} is not the data that the run recorded (the hash differs)")
        counted = manifest.get("licences")
        in_graph = ", ".join(counted) if isinstance(counted, dict) else ""
        for source in manifest["sources"]:
            kind, name = str(source.get("kind") or "source"), str(source.get("id") or source.get("path") or "")
            on_hub = name if REPOSITORY.fullmatch(name) and not Path(name).exists() and kind != "file" else None
            title = kind if on_hub or not name else f"{kind} {Path(name).name}"
            licence = str(source.get("licence") or in_graph or NOT_STATED)
            sources.append((title, on_hub, licence.replace("|", "/")))
    return list(dict.fromkeys(sources))


def _hashes(inputs: Mapping[str, Any]) -> set[str]:
    """The hashes of the data that a run of adapt or adapt-family recorded."""
    hashes = [one.get("sha256") for one in _of_family(inputs)]
    if not hashes and "language" in inputs:
        recorded = inputs.get("data_sha256")
        hashes = recorded if isinstance(recorded, list) else [recorded]
    return {str(one) for one in hashes if one}
