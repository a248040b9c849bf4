"""Import adapters that AdapterHub's libraries or PEFT's earlier releases wrote into adapter folders of ours."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach
from langlift.adapters.method import METHODS, AdapterConfig
from langlift.adapters.peft_adapter import PeftAdapterConfig
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import weightless_model, weightless_model_of
from langlift.backbones.registry import backbone_of_type
from langlift.checkpoints.adapter_folder import identity_of, read_description, require_base, write_adapter
from langlift.checkpoints.configurations import config_from_adapterhub, config_from_peft
from langlift.checkpoints.layouts import (
    ADAPTERHUB_EMBEDDINGS,
    ADAPTERHUB_FUSIONS,
    ADAPTERHUB_HEADS,
    ADAPTERHUB_PICKLE,
    ADAPTERHUB_SETUP,
    ADAPTERHUB_WEIGHTS,
    CONFIG_FILE,
    LEGACY_PLACES,
    PEFT_PICKLE,
    PEFT_WEIGHTS,
    adapter_keys,
    full_peft_keys,
    peft_from_adapterhub,
    renamed,
    usable_name,
)
from langlift.checkpoints.weight_files import read_pickle, read_safetensors
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder
from langlift.model_cards import render_card, split_front_matter

LEFT_BEHIND = (*ADAPTERHUB_HEADS, *ADAPTERHUB_FUSIONS, *ADAPTERHUB_EMBEDDINGS)
KEPT_FACTS = ("license", "language", "datasets")
"""What of the facts at the head of an imported folder's README is carried over."""
LAYER = re.compile(r"\blayers?\.(\d+)\.")


@dataclass(frozen=True)
class ImportedAdapter:
    """One adapter: where it lies now, what it is, and the base model it says it belongs to."""

    folder: str
    name: str
    method: str
    base: str
    model_type: str
    parameters: int


@dataclass(frozen=True)
class ImportResult:
    """What ``langlift import`` made; ``not_imported`` are files that hold something else, such as heads."""

    adapters: list[ImportedAdapter]
    not_imported: list[str]


@dataclass(frozen=True)
class _Read:
    """An adapter as read: the weights are under the keys of the layout that it will be written in."""

    identity: dict[str, Any]
    config: AdapterConfig
    weights: dict[str, Tensor]
    source: Path


def import_adapters(
    source: Path,
    out: Path,
    base: BaseName | str | None = None,
    inverse_at_head: bool = True,
    name: str | None = None,
) -> ImportResult:
    """Read an adapter folder (or one with several, as for a stack) and write it anew into ``out``.

    One adapter becomes the folder ``out`` itself, several become a subfolder each. With ``base`` the shapes
    are checked against that model; without it the adapter's own word for its base model is recorded.
    ``inverse_at_head=False`` is for invertible adapters that were trained without the inverse before the
    masked head, as those of arXiv 2502.10140. ``name`` replaces the stored name, and is for one adapter only.

    Raises:
        InputError: no adapter, a damaged one, or one that cannot be represented.
        LangliftError: ``out`` cannot be written.
    """
    check_new_folder(out)
    members = _members(source)
    if name is not None and len(members) > 1:
        raise InputError(
            f"{source}: holds {len(members)} adapters, and --name is for one", "import its subfolders one by one"
        )
    read = [_read(folder, BaseName.of(base), inverse_at_head, name) for folder in members]
    names = [adapter.identity["name"] for adapter in read]
    if len(set(names)) < len(names):
        raise InputError(
            f"{source}: two adapters have the name '{max(names, key=names.count)}'", "import them one by one"
        )
    places = [out] if len(read) == 1 else [out / name for name in names]
    left = sorted({str(p.relative_to(source)) for p in _left_behind(source, members)})
    with new_folder(out) as staging:
        for adapter, place in zip(read, places, strict=True):
            folder = staging / place.relative_to(out)
            folder.mkdir(exist_ok=True)
            write_adapter(folder, adapter.config, adapter.weights, adapter.identity)
            (folder / "README.md").write_text(_card(adapter, left), encoding="utf-8")
    return ImportResult([_summary(a, place) for a, place in zip(read, places, strict=True)], left)


def _members(source: Path) -> list[Path]:
    """The adapter folders in ``source``: itself, or those of a composition in its order."""
    if not source.is_dir():
        raise InputError(f"{source}: no such folder", "download the adapter, then give its folder")
    if (source / CONFIG_FILE).exists():
        return [source]
    if (source / ADAPTERHUB_SETUP).exists():
        names = _setup_names(source / ADAPTERHUB_SETUP)
        if missing := [name for name in names if not (source / name / CONFIG_FILE).exists()]:
            raise InputError(
                f"{source / ADAPTERHUB_SETUP}: names the adapter '{missing[0]}', which is not here",
                "download it again",
            )
        return [source / name for name in names]
    found = sorted(folder.parent for folder in source.glob(f"*/{CONFIG_FILE}"))
    if not found:
        raise InputError(
            f"{source}: holds no adapter (no {CONFIG_FILE}, here or one folder down)",
            "give the folder that save_adapter wrote",
        )
    return found


def _setup_names(path: Path) -> list[str]:
    """The adapters of a composition such as Stack(a, b), first to last."""

    def flat(block: Any) -> Iterator[str]:
        if isinstance(block, str):
            yield block
        elif isinstance(block, dict):
            for child in block["children"]:
                yield from flat(child)
        else:
            raise TypeError

    try:
        names = list(dict.fromkeys(flat(json.loads(path.read_text(encoding="utf-8"))["adapter_setup"])))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        names = []
    if not names or not all(Path(name).name == name and name not in (".", "..") for name in names):
        raise InputError(f"{path}: damaged", "import the folders of its adapters one by one")
    return names


def _left_behind(source: Path, members: list[Path]) -> Iterator[Path]:
    """Files with something that is not an adapter, in ``source``, its members and a fusion's folder."""
    for folder in {source, *members, *(p.parent for p in source.glob(f"*/{ADAPTERHUB_FUSIONS[0]}"))}:
        for name in LEFT_BEHIND:
            if (folder / name).exists():
                yield folder / name


def _read(folder: Path, base: BaseName, inverse_at_head: bool, name: str | None) -> _Read:
    description = read_description(folder)
    path = folder / CONFIG_FILE
    from_peft = "peft_type" in description
    if from_peft and (folder / PEFT_WEIGHTS).exists():
        raise InputError(f"{folder}: is in PEFT's layout", "langlift reads it as it is: use it as --adapter")
    model = weightless_model(base) if base else None
    model_type = description.get("model_type") or (model.config.model_type if model is not None else None)
    if not isinstance(model_type, str):
        raise InputError(f"{path}: does not say its model_type", "give the base model with --base")
    if model is not None:
        require_base(folder, description, model)
    read_config = config_from_peft if from_peft else config_from_adapterhub
    config = read_config(description, backbone_of_type(model_type), path)
    stored_name = str(description.get("name", folder.resolve().name))
    name = name or usable_name(stored_name)
    weights = _weights(folder, PEFT_PICKLE if from_peft else ADAPTERHUB_PICKLE)
    if model is None:
        hidden_size = description.get("hidden_size")
        if isinstance(hidden_size, bool) or not isinstance(hidden_size, int) or hidden_size < 2:
            raise InputError(f"{path}: does not say its hidden_size", "give the base model with --base")
        if isinstance(config, PeftAdapterConfig) and backbone_of_type(model_type).causal:
            # Llama's value projection may be narrower than the model.
            raise InputError(
                f"{path}: the shapes of a {METHODS[config.method].label} differ by model", "give it with --base"
            )
        left = config.leave_out if isinstance(config, SeqBnConfig) else ()
        model = weightless_model_of(model_type, hidden_size, _depth(weights, left, folder))
    if from_peft:
        weights = full_peft_keys(model, weights)
    else:
        weights = renamed(_today(weights, model.base_model_prefix), stored_name, name)
    block = any(".invertible_adapters." in key for key in weights)
    if isinstance(config, SeqBnConfig):
        if config.invertible and not block and description.get("type") == "text_task":
            # 1.x wrote the language adapter's configuration into task adapters, which have no such block.
            config = replace(config, invertible=False)
        config = replace(config, inverse_at_head=config.inverse_at_head and inverse_at_head)
    _attach_weightless(model, name, config, path)
    expected = {key: tuple(parameter.shape) for key, parameter in adapter_keys(model, name, config)}
    if isinstance(config, PeftAdapterConfig) and not from_peft:
        weights = {peft_from_adapterhub(key, name): value for key, value in weights.items()}
    _require_weights(folder, weights, expected, f"{model_type} with {model.config.num_hidden_layers} layers")
    base = base.or_else(str(description.get("model_name") or ""))
    return _Read(identity_of(model, name, base.name), config, weights, folder)


def _attach_weightless(model: PreTrainedModel, name: str, config: AdapterConfig, path: Path) -> None:
    """Attach for names and shapes alone: whatever size the file asks for takes no memory."""
    try:
        with torch.device("meta"):
            attach(model, name, config)
    except (OverflowError, RuntimeError, TypeError, ValueError):
        raise InputError(f"{path}: asks for an adapter larger than any can be", "the file is damaged") from None


def _weights(folder: Path, pickle: str) -> dict[str, Tensor]:
    """The weights in float32, each in memory of its own."""
    if (folder / ADAPTERHUB_WEIGHTS).exists():
        path, weights = folder / ADAPTERHUB_WEIGHTS, read_safetensors(folder / ADAPTERHUB_WEIGHTS)
    elif (folder / pickle).exists():
        path, weights = folder / pickle, read_pickle(folder / pickle)
    else:
        expected = f"{PEFT_WEIGHTS if pickle == PEFT_PICKLE else ADAPTERHUB_WEIGHTS} or {pickle}"
        raise InputError(f"{folder}: has no weights ({expected})", "download the adapter again")
    for key, value in weights.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise InputError(
                f"{path}: the weight {key} holds values that are not finite numbers", "the file is damaged"
            )
    return {key: value.float().clone().contiguous() for key, value in weights.items()}


def _depth(weights: dict[str, Tensor], left_out: Sequence[int], folder: Path) -> int:
    """The number of layers that the keys speak of, and those of an adapter's that have none."""
    depth = 1 + max(*(int(match[1]) for key in weights if (match := LAYER.search(key))), *left_out, 0, 0)
    if depth > len(weights) + len(left_out):  # each layer has several weights
        raise InputError(f"{folder}: speaks of layer {depth - 1} and leaves others out", "the file is damaged")
    return depth


def _today(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under the keys that today's library would write, with the body's prefix."""
    new = {}
    for key, value in weights.items():
        key = ".".join(LEGACY_PLACES.get(part, part) for part in key.split("."))
        new[f"{prefix}.{key.removeprefix(f'{prefix}.')}"] = value
    return new


def _require_weights(
    folder: Path, weights: dict[str, Tensor], expected: dict[str, tuple[int, ...]], what: str
) -> None:
    if surplus := sorted(weights.keys() - expected.keys()):
        raise InputError(
            f"{folder}: holds the weight {surplus[0]}, which such an adapter of a {what} has not",
            "it is of another kind or for another base model",
        )
    if missing := sorted(expected.keys() - weights.keys()):
        raise InputError(
            f"{folder}: the weight {missing[0]} is missing ({len(missing)} in all) for a {what}",
            "it is of another kind, for another base model, or damaged",
        )
    for key, shape in expected.items():
        if tuple(weights[key].shape) != shape:
            raise InputError(
                f"{folder}: the weight {key} has shape {tuple(weights[key].shape)}, not {shape}",
                "the adapter belongs to another base model, or its adapter_config.json is another's",
            )


def _card(adapter: _Read, left: Sequence[str]) -> str:
    """The card of an imported adapter; ``left`` are the files of its folder that were not imported."""
    readme = adapter.source / "README.md"
    origin = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    facts, text = split_front_matter(origin)
    return render_card(
        "import.md",
        identity=adapter.identity,
        method=METHODS[adapter.config.method],
        kept={key: facts[key] for key in KEPT_FACTS if isinstance(facts.get(key), str | list)},
        folder=adapter.source.name,
        left=left,
        text=text,
    )


def _summary(adapter: _Read, place: Path) -> ImportedAdapter:
    return ImportedAdapter(
        folder=str(place),
        name=adapter.identity["name"],
        method=adapter.config.method,
        base=adapter.identity["model_name"],
        model_type=adapter.identity["model_type"],
        parameters=sum(value.numel() for value in adapter.weights.values()),
    )
