"""The model card on the hub: the run's own card, completed for other users."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from langlift.adapters.method import readers
from langlift.backbones.loading import is_causal
from langlift.bundled_models import BUNDLED
from langlift.corpus.text_data import load_text_data
from langlift.data_folder import MANIFEST
from langlift.errors import InputError
from langlift.files import read_json
from langlift.hub_folders import REPOSITORY
from langlift.languages import FLORES_CODE, Language, find_language
from langlift.model_cards import render_card, split_front_matter
from langlift.sharing.export_records import EXPORT_FILE, inputs_in, settings_in
from langlift.sharing.published_files import Publication, recorded_paths
from langlift.tasks.runner import HEAD
from langlift.tasks.task import TASKS, Task
from langlift.training.run_folder import METRICS

NOT_STATED = "not stated"
LANGUAGE_MODEL = {False: "fill-mask", True: "text-generation"}
"""Whether it is a decoder -> the hub's name for the kind of model."""
SCORES = (
    ("validation_loss_before", "loss on held-out text before, nats"),
    ("validation_loss", "loss on held-out text after, nats"),
    ("mean", "test score, mean over seeds"),
    ("std", "its standard deviation over seeds"),
)


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
    causal = is_causal(str(config.parent)) if isinstance(config, Path) else settings.get("objective") == "causal"
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
    card, before = publication.readme, publication.base
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
