"""Convert adapters written by AdapterHub's libraries, or by PEFT as ``.bin``, into langlift's folders."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach
from langlift.adapters.method import METHODS, AdapterConfig
from langlift.adapters.peft_adapter import PeftAdapterConfig
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import weightless_model, weightless_model_of
from langlift.backbones.registry import backbone_of_type
from langlift.checkpoints import layouts
from langlift.checkpoints.adapter_folder import fill, identity_of, read_description, require_base, write_adapter
from langlift.checkpoints.configurations import config_from_adapterhub, config_from_peft
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder, read_json
from langlift.model_cards import render_card, split_front_matter
from langlift.notebook import Shown

NOT_IMPORTED = (*layouts.ADAPTERHUB_HEADS, *layouts.ADAPTERHUB_FUSIONS, *layouts.ADAPTERHUB_EMBEDDINGS)
KEPT_FACTS = ("license", "language", "datasets")
"""Keys of the README's front matter that are kept."""
LAYER = re.compile(r"\blayers?\.(\d+)\.")


@dataclass(frozen=True)
class ImportedAdapter:
    """An imported adapter: its new folder, its properties, and the recorded base model."""

    folder: str
    name: str
    method: str
    base: str
    model_type: str
    parameters: int


@dataclass(frozen=True)
class ImportResult(Shown):
    """The result of ``langlift import``; ``not_imported`` are files with other content, such as heads."""

    adapters: list[ImportedAdapter]
    not_imported: list[str]


def import_adapters(
    source: Path | str,
    out: Path | str,
    base: BaseName | str | None = None,
    inverse_at_head: bool = True,
    name: str | None = None,
) -> ImportResult:
    """Convert an adapter folder, or one with several such as a saved Stack, into the new folder ``out``.

    A single adapter is written to ``out`` itself, several to a subfolder each. With ``base``, shapes are checked
    against that model; otherwise against what the adapter records. ``inverse_at_head=False`` is for invertible
    adapters that were trained without the inverse before the MLM head, such as those of arXiv 2502.10140.
    ``name`` replaces the stored name of a single adapter.

    Raises:
        InputError: there is no adapter, or it is damaged or not supported by langlift.
        LangliftError: ``out`` cannot be written.
    """
    source, out = Path(source), Path(out)
    check_new_folder(out)
    members = _members(source)
    if name is not None and len(members) > 1:
        raise InputError(
            f"{source}: contains {len(members)} adapters, but --name is for a single one",
            "import its subfolders one by one",
        )
    not_imported = sorted({str(path.relative_to(source)) for path in _not_imported(source, members)})
    adapters: list[ImportedAdapter] = []
    with new_folder(out) as staging:
        for member in members:
            identity, config, weights = _read(member, BaseName.of(base), inverse_at_head, name)
            if identity["name"] in (adapter.name for adapter in adapters):
                raise InputError(
                    f"{source}: two adapters have the name '{identity['name']}'", "import them one by one"
                )
            subfolder = "." if len(members) == 1 else identity["name"]
            (staging / subfolder).mkdir(exist_ok=True)
            write_adapter(staging / subfolder, config, weights, identity)
            card = _card(member, identity, config, not_imported)
            (staging / subfolder / "README.md").write_text(card, encoding="utf-8")
            adapters.append(
                ImportedAdapter(
                    folder=str(out / subfolder),
                    name=identity["name"],
                    method=config.method,
                    base=identity["model_name"],
                    model_type=identity["model_type"],
                    parameters=sum(value.numel() for value in weights.values()),
                )
            )
    return ImportResult(adapters, not_imported)


def _members(source: Path) -> list[Path]:
    """The adapter folders in ``source``: itself, or those of a composition such as Stack(a, b), in order."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder", "download the adapter, then give its folder")
    if (source / layouts.CONFIG_FILE).exists():
        return [source]
    setup = source / layouts.ADAPTERHUB_SETUP
    if setup.exists():
        try:
            names = list(dict.fromkeys(_names_in(read_json(setup)["adapter_setup"])))
        except (KeyError, TypeError, RecursionError):
            names = []
        folders = [source / name for name in names]
        inside = all(folder.resolve().parent == source.resolve() for folder in folders)
        if not folders or not inside or not all((folder / layouts.CONFIG_FILE).exists() for folder in folders):
            raise InputError(f"{setup}: damaged, or an adapter is missing", "import its adapters one by one")
        return folders
    if found := sorted(folder.parent for folder in source.glob(f"*/{layouts.CONFIG_FILE}")):
        return found
    raise InputError(
        f"{source}: contains no adapter (no {layouts.CONFIG_FILE}, here or in a subfolder)",
        "give the folder that save_adapter wrote",
    )


def _names_in(block: Any) -> list[str]:
    if isinstance(block, str):
        return [block]
    return [name for child in block["children"] for name in _names_in(child)]


def _not_imported(source: Path, members: list[Path]) -> Iterator[Path]:
    """Files that contain no adapter, in ``source``, its members and a fusion's folder."""
    for folder in {source, *members, *(p.parent for p in source.glob(f"*/{layouts.ADAPTERHUB_FUSIONS[0]}"))}:
        for name in NOT_IMPORTED:
            if (folder / name).exists():
                yield folder / name


def _read(
    folder: Path, base: BaseName, inverse_at_head: bool, name: str | None
) -> tuple[dict[str, Any], AdapterConfig, dict[str, Tensor]]:
    """An adapter's identity, configuration, and weights with the keys of the layout that it will be written in."""
    description = read_description(folder)
    path = folder / layouts.CONFIG_FILE
    from_peft = "peft_type" in description
    if from_peft and (folder / layouts.PEFT_WEIGHTS).exists():
        raise InputError(f"{folder}: is in PEFT's layout", "langlift reads it directly: pass it as --adapter")
    model = weightless_model(base) if base else None
    model_type = description.get("model_type") or (model.config.model_type if model is not None else None)
    if not isinstance(model_type, str):
        raise InputError(f"{path}: does not state its model_type", "give the base model with --base")
    if model is not None:
        require_base(folder, description, model_type=model.config.model_type, hidden_size=model.config.hidden_size)
    read_config = config_from_peft if from_peft else config_from_adapterhub
    config = read_config(description, backbone_of_type(model_type), path)
    stored_name = str(description.get("name", folder.resolve().name))
    name = name or layouts.usable_name(stored_name)
    weights = _weights(folder, layouts.PEFT_PICKLE if from_peft else layouts.ADAPTERHUB_PICKLE)
    if model is None:
        hidden_size = description.get("hidden_size")
        if isinstance(hidden_size, bool) or not isinstance(hidden_size, int) or hidden_size < 2:
            raise InputError(f"{path}: does not state its hidden_size", "give the base model with --base")
        if isinstance(config, PeftAdapterConfig) and backbone_of_type(model_type).causal:
            # The value projection of Llama may be narrower than the hidden size.
            raise InputError(
                f"{path}: the shapes of a {METHODS[config.method].label} differ by model", "give it with --base"
            )
        left_out = config.leave_out if isinstance(config, SeqBnConfig) else ()
        model = weightless_model_of(model_type, hidden_size, _depth(weights, left_out, folder))
    if from_peft:
        weights = layouts.full_peft_keys(model, weights)
    else:
        weights = layouts.renamed(_current_keys(weights, model.base_model_prefix), stored_name, name)
    block = any(".invertible_adapters." in key for key in weights)
    if isinstance(config, SeqBnConfig):
        if config.invertible and not block and description.get("type") == "text_task":
            # 1.x wrote the language adapter's configuration into task adapters, which have no block.
            config = replace(config, invertible=False)
        config = replace(config, inverse_at_head=config.inverse_at_head and inverse_at_head)
    try:
        with torch.device("meta"):  # any size the file specifies takes no memory
            attach(model, name, config)
    except (OverflowError, RuntimeError, TypeError, ValueError):
        raise InputError(f"{path}: specifies an adapter of an impossible size", "the file is damaged") from None
    if isinstance(config, PeftAdapterConfig) and not from_peft:
        weights = {layouts.peft_from_adapterhub(key, name): value for key, value in weights.items()}
    fill(dict(layouts.adapter_keys(model, name, config)), weights, folder)
    base = base.or_else(str(description.get("model_name") or ""))
    return identity_of(model, name, base.name), config, weights


def _weights(folder: Path, pickle: str) -> dict[str, Tensor]:
    """The weights in float32, without shared memory."""
    if not any((folder / name).exists() for name in (layouts.ADAPTERHUB_WEIGHTS, pickle)):
        other = layouts.PEFT_WEIGHTS if pickle == layouts.PEFT_PICKLE else layouts.ADAPTERHUB_WEIGHTS
        raise InputError(f"{folder}: has no weights ({other} or {pickle})", "download the adapter again")
    path, weights = layouts.read_either(folder, layouts.ADAPTERHUB_WEIGHTS, pickle)
    for key, value in weights.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise InputError(
                f"{path}: the weight {key} contains values that are not finite numbers", "the file is damaged"
            )
    return {key: value.float().clone().contiguous() for key, value in weights.items()}


def _depth(weights: dict[str, Tensor], left_out: Sequence[int], folder: Path) -> int:
    """The number of layers, judging by the keys and by the layers without an adapter."""
    depth = 1 + max(*(int(match[1]) for key in weights if (match := LAYER.search(key))), *left_out, 0, 0)
    if depth > len(weights) + len(left_out):  # each layer has several weights
        raise InputError(f"{folder}: mentions layer {depth - 1} but not the layers below", "the file is damaged")
    return depth


def _current_keys(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under the keys of the library's current release, with the body's prefix."""
    new = {}
    for key, value in weights.items():
        key = ".".join(layouts.LEGACY_PLACES.get(part, part) for part in key.split("."))
        new[f"{prefix}.{key.removeprefix(f'{prefix}.')}"] = value
    return new


def _card(folder: Path, identity: Mapping[str, Any], config: AdapterConfig, not_imported: Sequence[str]) -> str:
    readme = folder / "README.md"
    original = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    facts, text = split_front_matter(original)
    return render_card(
        "import.md",
        identity=identity,
        method=METHODS[config.method],
        kept={key: facts[key] for key in KEPT_FACTS if isinstance(facts.get(key), str | list)},
        folder=folder.name,
        left=not_imported,
        text=text,
    )
