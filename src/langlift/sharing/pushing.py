"""``langlift push``: publish a run, an adapter or a model, with a model card, in one commit."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from langlift.adapters.method import readers
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import is_causal
from langlift.bundled_models import BUNDLED
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.corpus.text_data import load_text_data
from langlift.data_folder import MANIFEST
from langlift.errors import InputError
from langlift.hub_folders import REPOSITORY
from langlift.languages import FLORES_CODE, Language, find_language
from langlift.progress import say
from langlift.sharing.export_records import EXPORT_FILE, inputs_in, read_json, read_recipe, settings_in
from langlift.sharing.hub import upload
from langlift.sharing.published_cards import CardFacts, DataSource, published_card
from langlift.sharing.published_files import (
    README,
    Publication,
    find_publication,
    loaded_from_hub,
    made_portable,
    on_hub,
    readme_of,
    recorded_base,
    recorded_paths,
    size_of,
)
from langlift.tasks.runner import HEAD
from langlift.tasks.task import TASKS
from langlift.training.run_folder import METRICS

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Pushed:
    """What ``langlift push`` uploaded, or with ``dry_run`` would upload.

    ``files`` are sizes in bytes by name. ``remarks`` name what the card lacks. ``url`` and ``commit`` are ``None``
    for a dry run. ``card`` is the README.md.
    """

    repository: str
    kind: str
    files: dict[str, int]
    bytes: int
    private: bool
    dry_run: bool
    remarks: list[str] = field(default_factory=list)
    url: str | None = None
    commit: str | None = None
    card: str = ""


def push(
    source: Path,
    repository: str,
    *,
    private: bool = False,
    dry_run: bool = False,
    language: Language | None = None,
    licence: str | None = None,
    base: str | None = None,
    data: Sequence[Path] = (),
) -> Pushed:
    """Publish ``source`` as the hub repository ``owner/name``, which is created if necessary.

    Weights, settings, metrics and the card are uploaded; checkpoints, training text, predictions and local paths
    never are. ``language``, ``licence`` (an identifier such as ``cc-by-4.0``) and ``base`` (a hub id) replace what
    the run recorded; ``data`` are built data folders, whose manifests give sources and licences. The token is
    read from ``HF_TOKEN`` or ``hf auth login``; ``HF_ENDPOINT`` selects another hub.

    Raises:
        InputError: nothing to publish, an unfinished run, or an invalid repository name.
        LangliftError: no token, or the hub rejects the files or cannot be reached; then nothing was published.
    """
    if not REPOSITORY.fullmatch(repository):
        raise InputError(
            f"{repository}: not the name of a repository", "write it as owner/name, such as anna/welsh-xlmr"
        )
    found = find_publication(source)
    recipe = read_recipe(found.folder)
    before = recorded_base(found, recipe)
    remarks: list[str] = []
    after = _published_base(found, before, base, remarks)
    public = after is not None and after not in BUNDLED and (base is not None or on_hub(after))
    facts = _facts(found, recipe, repository, after, public, language, licence, data, remarks)
    files = made_portable(found.files, before, after)
    card = published_card(_without_paths(readme_of(found), recipe, before, after), facts)
    files[README] = card.encode()
    files = dict(sorted(files.items()))
    result = Pushed(
        repository=repository,
        kind=found.kind,
        files={name: size_of(content) for name, content in files.items()},
        bytes=sum(size_of(content) for content in files.values()),
        private=private,
        dry_run=dry_run,
        remarks=remarks,
        card=card,
    )
    for remark in remarks:
        say(remark)
    if dry_run:
        return result
    say(f"publishing {len(files)} files ({result.bytes / 1e6:,.1f} MB) as {repository}")
    url, commit = upload(repository, files, private, f"{found.kind} by langlift")
    return replace(result, url=url, commit=commit)


def _without_paths(card: str, recipe: Mapping[str, Any], before: str | None, after: str | None) -> str:
    """The run's card with the base's new name, and with local paths shortened to names."""
    if before is not None and after is not None and before != after:
        card = re.sub(rf"(?<![\w/.-]){re.escape(before)}(?![\w/-])", lambda _: after, card)
    for path in recorded_paths(recipe):
        card = card.replace(path, Path(path).name)
    return card


def _published_base(found: Publication, before: str | None, base: str | None, remarks: list[str]) -> str | None:
    """The public name of the base model; of a local folder, its name."""
    if base is not None:
        return BaseName(base).name
    if before is None or before in BUNDLED:
        return before
    if on_hub(before):
        if not loaded_from_hub(before):
            remarks.append(
                f"the base model {before} is assumed to be on the hub, but was not loaded from there: "
                "if it is a local folder, publish it too, and give --base owner/name"
            )
        return before
    if CONFIG_FILE in found.files:
        remarks.append(f"the base model {before} is a local folder: publish it too, and give --base owner/name")
    return Path(before).name


def _facts(
    found: Publication,
    recipe: Mapping[str, Any],
    repository: str,
    base: str | None,
    public: bool,
    language: Language | None,
    licence: str | None,
    data: Sequence[Path],
    remarks: list[str],
) -> CardFacts:
    inputs, settings = inputs_in(recipe), settings_in(recipe)
    metrics = {**read_json(found.whole / METRICS), **read_json(found.folder / METRICS)}
    exported = read_json(found.folder / EXPORT_FILE)
    described = "labels.json" if found.kind == "onnx" else HEAD
    task = TASKS.get(str(read_json(found.folder / described).get("task")))
    unused, method = task.unused if task else frozenset(), settings.get("method")
    languages = [language] if language is not None else recorded_languages(inputs)
    if not languages:
        remarks.append("the card names no language: give --language")
    if licence is None and "license:" not in readme_of(found).partition("\n---")[0]:
        remarks.append("the card names no licence: give --license (such as cc-by-4.0)")
    sources = _sources(data, inputs, remarks)
    if not sources:
        remarks.append("the card names no licences of the data: give the built data folder with --data")
    config = found.files.get("config.json")
    return CardFacts(
        repository=repository,
        kind=found.kind,
        languages=languages,
        base=base,
        base_is_public=public,
        licence=licence,
        task=task,
        trained_on=_data_names(inputs),
        tested_on=str(inputs["data"]) if task and inputs.get("data") else None,
        sources=sources,
        settings={
            name: value
            for name, value in settings.items()
            if name not in unused and method in (readers(name) or (method,))
        },
        metrics=metrics,
        layout=exported.get("format"),
        causal=is_causal(str(config.parent))
        if isinstance(config, Path)
        else settings.get("objective") == "causal",
    )


def recorded_languages(inputs: Mapping[str, Any]) -> list[Language]:
    """The languages that a run recorded; for tasks, those of data with names such as ``mlt_Latn``."""
    of_family = inputs.get("languages")
    codes = [*of_family] if isinstance(of_family, dict) else [inputs.get("language"), inputs.get("data")]
    found = []
    for code in codes:
        if isinstance(code, str) and (FLORES_CODE.fullmatch(code) or code == inputs.get("language")):
            found.append(find_language(code))
    return found


def _data_names(inputs: Mapping[str, Any]) -> list[str]:
    """The names of a run's training data."""
    if isinstance(of_family := inputs.get("languages"), dict):
        return [str(one["data"]) for some in of_family.values() for one in some if isinstance(one, dict)]
    data = inputs.get("train_data") or inputs.get("data") or []
    names = data if isinstance(data, list) else str(data).split(", ")
    return [str(name) for name in names]


def _sources(folders: Sequence[Path], inputs: Mapping[str, Any], remarks: list[str]) -> list[DataSource]:
    """The sources and licences in the manifests of built folders; remarks on folders that the run did not use.

    Raises:
        InputError: a folder has no manifest.
    """
    sources: list[DataSource] = []
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
            sources.append(DataSource(title, on_hub, licence.replace("|", "/")))
    return list(dict.fromkeys(sources))


def _hashes(inputs: Mapping[str, Any]) -> set[str]:
    """The hashes of the data that a run of adapt or adapt-family recorded."""
    if isinstance(of_family := inputs.get("languages"), dict):
        return {str(one["sha256"]) for some in of_family.values() for one in some if "sha256" in one}
    if "language" not in inputs:
        return set()
    hashes = inputs.get("data_sha256")
    return {str(one) for one in (hashes if isinstance(hashes, list) else [hashes]) if one}
