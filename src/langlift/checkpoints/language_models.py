"""Load the language model of a folder: a whole model, or an adapter with its base."""

from dataclasses import replace
from pathlib import Path

from langlift.backbones.base_model import BaseModel, BaseName
from langlift.checkpoints.adapter_folder import load_adapter, read_identity
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.errors import InputError


def load_language_model(name: str, base: BaseName, masked_only: bool = False) -> BaseModel:
    """A model; an adapter is attached to its base.

    ``name`` is the folder of an adapter or a run, a model folder, a hub id or a bundled model. ``base`` replaces
    the base model that an adapter recorded. ``masked_only`` rejects decoders.

    Raises:
        InputError: it is none of these, it is damaged, or its base cannot be found.
    """
    folder = Path(name)
    adapter = folder if (folder / CONFIG_FILE).is_file() else None
    source = replace(base, name=name)
    if adapter is not None:
        source = base.or_else(str(read_identity(adapter).get("model_name") or ""))
        if not source:
            raise InputError(f"{name}: does not state its base model", "give the base model with --base")
    elif not (folder / "config.json").is_file() and (folder / "model").is_dir():
        source = replace(base, name=str(folder / "model"))
    loaded = BaseModel.load(source, masked_only=masked_only)
    if adapter is not None:
        load_adapter(loaded.model, adapter)
    return loaded
