"""Save and load AdapterFusion in AdapterHub's layout, and copy the adapters that it fuses."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file
from transformers import PreTrainedModel

from langlift.adapters.composition import HOW_TO_FUSE, attached, fuse
from langlift.adapters.method import METHODS
from langlift.backbones.registry import backbone_of, backbone_of_type
from langlift.checkpoints import layouts
from langlift.checkpoints.adapter_folder import (
    fill,
    identity_of,
    load_adapter,
    read_config,
    read_description,
    require_base,
    write_adapter,
)
from langlift.checkpoints.configurations import (
    ADAPTERHUB_FUSION,
    FUSION_WITHOUT_EFFECT,
    first_difference,
    own_architecture,
)
from langlift.checkpoints.weight_files import read_either, read_safetensors
from langlift.errors import InputError
from langlift.files import read_json, write_json


def save_fusion(model: PreTrainedModel, name: str, folder: Path, base: str) -> None:
    """Write a fusion, without its adapters, into an existing folder; ``base`` is the base model's name."""
    content = {
        **identity_of(model, name, base),
        "adapter_names": name.split(","),
        "config": {**ADAPTERHUB_FUSION, **own_architecture(backbone_of(model))},
        "version": layouts.ADAPTERHUB_VERSION,
    }
    write_json(folder / layouts.FUSION_CONFIG, content)
    save_file(
        {key: p.detach().cpu().contiguous() for key, p in layouts.fusion_keys(model, name)},
        folder / layouts.FUSION_WEIGHTS,
    )


def load_fusion(model: PreTrainedModel, folder: Path) -> str:
    """Fuse a model's adapters, which must be those of the folder's fusion, in order; returns its name.

    The weights are read from ``model_adapter_fusion.safetensors``, or else (tensors only) from
    ``pytorch_model_adapter_fusion.bin``. InputError if the folder contains no fusion, or one of another kind, of
    other adapters or for another base.
    """
    path = folder / layouts.FUSION_CONFIG
    description = read_json(path)
    if not path.exists():
        raise InputError(
            f"{folder}: contains no fusion (no {layouts.FUSION_CONFIG})", "give one that 'langlift fuse' wrote"
        )
    if not {"config", "name"} <= description.keys():
        raise InputError(f"{path}: damaged, or describes no fusion", "copy it or train it again")
    expected = {**ADAPTERHUB_FUSION, **own_architecture(backbone_of(model))}
    settings = description["config"] if isinstance(description["config"], dict) else {}
    if key := first_difference(settings, expected, FUSION_WITHOUT_EFFECT, required=expected):
        raise InputError(
            f"{path}: another kind of fusion ({key} is {settings.get(key)!r}, not {expected[key]!r})",
            "AdapterHub's dynamic fusion (its default) can be loaded",
        )
    require_base(folder, description, model_type=model.config.model_type, hidden_size=model.config.hidden_size)
    stored = str(description["name"])
    members = description.get("adapter_names") or stored
    members = members.split(",") if isinstance(members, str) else [str(member) for member in members]
    if members != attached(model):
        raise InputError(
            f"{path}: fuses {', '.join(members)}; loaded are {', '.join(attached(model)) or 'no adapters'}",
            "load its adapters first, in this order and with these names",
        )
    _, weights = read_either(folder, layouts.FUSION_WEIGHTS, layouts.FUSION_PICKLE)
    name = ",".join(members)
    place, prefix = "adapter_fusion_layer", f"{model.base_model_prefix}."
    weights = {
        prefix + key.removeprefix(prefix).replace(f".{place}.{stored}.", f".{place}.{name}.", 1): value
        for key, value in weights.items()
    }
    fuse(model)
    fill(dict(layouts.fusion_keys(model, name)), weights, folder)
    return name


def load_members(model: PreTrainedModel, folders: Sequence[Path], names: Sequence[str]) -> None:
    """Attach the adapters to be fused, with their names; InputError if one cannot be fused."""
    for folder, name in zip(folders, names, strict=True):
        method = METHODS[read_config(folder, backbone_of(model)).method]
        if not method.fusible:
            raise InputError(f"{folder}: a {method.label} cannot be fused", HOW_TO_FUSE)
        load_adapter(model, folder, name)


def member_names(folders: Sequence[Path]) -> list[str]:
    """The stored names of the adapters to be fused, or if they are not distinct, the folders' names."""
    descriptions = [read_description(folder) for folder in folders]
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError(f"{max(folders, key=folders.count)}: given twice", "give each adapter once")
    stored = [str(description.get("name", "")) for description in descriptions]
    by_folder = [folder.name for folder in resolved]
    numbered = [f"{name}_{i}" for i, name in enumerate(by_folder, start=1)]
    for names in (stored, by_folder, numbered):
        usable = [layouts.usable_name(name) for name in names]
        if len(set(usable)) == len(usable):
            break
    return usable


def with_invertible_block(folders: Sequence[Path], names: Sequence[str]) -> list[str]:
    """The names of the adapters that have an invertible block."""
    settings = [read_description(folder).get("config") for folder in folders]
    return [name for name, s in zip(names, settings, strict=True) if isinstance(s, dict) and s.get("inv_adapter")]


def copy_member(source: Path, target: Path, name: str) -> None:
    """Copy a bottleneck adapter into the existing folder ``target``, under another name."""
    description = read_description(source)
    config = read_config(source, backbone_of_type(description["model_type"]))
    weights = layouts.renamed(
        read_safetensors(source / layouts.ADAPTERHUB_WEIGHTS), str(description["name"]), name
    )
    write_adapter(target, config, weights, {**description, "name": name})
