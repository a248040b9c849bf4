"""The language model that a folder holds: a whole model, or an adapter together with its base."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from langlift.backbones.loading import load_model, load_tokenizer
from langlift.checkpoints.adapter_folder import load_adapter, read_identity
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.errors import InputError


def load_language_model(
    name: str,
    base: str | None = None,
    trust_remote_code: bool = False,
    load: Callable[[str, bool], PreTrainedModel] = load_model,
) -> tuple[PreTrainedModel, Any]:
    """The model, its adapter attached if it is one, and its tokenizer.

    ``name`` is the folder of an adapter or of a run, a model folder, a hub id or a bundled model. ``base``
    stands in for the base model that an adapter recorded. ``load`` says which kinds of models are welcome.

    Raises:
        InputError: it is none of these, damaged, or its base cannot be found.
    """
    folder = Path(name)
    adapter = folder if (folder / CONFIG_FILE).is_file() else None
    source = name
    if adapter is not None:
        source = base or str(read_identity(adapter).get("model_name") or "")
        if not source:
            raise InputError(f"{name}: does not say its base model", "give the base model with --base")
    elif not (folder / "config.json").is_file() and (folder / "model").is_dir():
        source = str(folder / "model")
    tokenizer = load_tokenizer(source, trust_remote_code)
    model = load(source, trust_remote_code)
    if adapter is not None:
        load_adapter(model, adapter)
    return model, tokenizer
