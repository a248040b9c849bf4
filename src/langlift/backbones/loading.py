"""Load a base model and its tokenizer by name: the bundled one, a folder, or a hub id."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of, backbone_of_type
from langlift.errors import InputError

NANO = "langlift-nano"


def model_location(name: str) -> str:
    """The folder or hub id behind a model's name; ``langlift-nano`` is the bundled base.

    Raises:
        InputError: it looks like a path and is not a model folder.
    """
    if name == NANO:
        return str(files("langlift") / "bundled" / NANO)
    path = Path(name).expanduser()
    if path.exists():
        if not (path / "config.json").is_file():
            raise InputError(f"{name}: not a model folder (no config.json)", _hint())
        return str(path)
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or not name:
        raise InputError(f"{name or '(empty)'}: no such model folder", _hint())
    return name


def load_tokenizer(name: str, trust_remote_code: bool = False) -> Any:
    """The fast tokenizer of a model.

    Raises:
        InputError: it cannot be found or read.
    """
    from transformers import AutoTokenizer

    location = model_location(name)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise _unloadable(name, error) from error
    if not tokenizer.is_fast:
        raise InputError(f"{name}: has no fast tokenizer", "convert it to tokenizer.json first")
    return tokenizer


def load_masked_model(name: str, trust_remote_code: bool = False, head_needed: bool = True) -> PreTrainedModel:
    """A model with its masked language modelling head, float32, in evaluation mode.

    Where only the body is used (tasks), ``head_needed=False`` also takes checkpoints without a head;
    the head is then freshly initialised.

    Raises:
        InputError: it cannot be found or read, its architecture is not in the table of backbones, or
            weights that are needed are missing.
    """
    from transformers import AutoConfig, AutoModelForMaskedLM

    location = model_location(name)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(location, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise _unloadable(name, error) from error
    backbone_of_type(config.model_type)
    try:
        with quiet_transformers():
            model, info = AutoModelForMaskedLM.from_pretrained(
                location,
                config=config,
                dtype=torch.float32,
                attn_implementation="sdpa",  # never flash attention, which has no float32
                trust_remote_code=trust_remote_code,
                output_loading_info=True,
            )
    except Exception as error:
        raise _unloadable(name, error) from error
    prefix = f"{model.base_model_prefix}."
    missing = sorted(key for key in info["missing_keys"] if head_needed or key.startswith(prefix))
    if missing:
        raise InputError(
            f"{name}: has no weights for {missing[0]} ({len(missing)} missing in all)",
            "give a model with its masked language modelling head; sentence encoders have lost it",
        )
    loaded: PreTrainedModel = model.eval()
    return loaded


def weightless_model(name: str) -> PreTrainedModel:
    """A model with its masked head and no weights (on the meta device), for names and shapes alone.

    Raises:
        InputError: its configuration cannot be found or read, or its architecture is not in the table.
    """
    from transformers import AutoConfig

    location = model_location(name)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(location)
    except Exception as error:
        raise _unloadable(name, error) from error
    return _weightless(config)


def weightless_model_of(model_type: str, hidden_size: int, layers: int) -> PreTrainedModel:
    """The same for any base model of an architecture, width and depth; of the rest it says nothing.

    Raises:
        InputError: there is no such model.
    """
    from transformers import AutoConfig

    backbone_of_type(model_type)
    try:
        with quiet_transformers():
            config = AutoConfig.for_model(
                model_type,
                hidden_size=hidden_size,
                num_hidden_layers=layers,
                num_attention_heads=1,
                vocab_size=8,
                pad_token_id=0,
            )
        return _weightless(config)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"no {model_type} has hidden size {hidden_size} and {layers} layers ({reason})", "the file is damaged"
        ) from None


def _weightless(config: Any) -> PreTrainedModel:
    from transformers import AutoModelForMaskedLM

    backbone_of_type(config.model_type)
    with torch.device("meta"), quiet_transformers():
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(config)
    return model


def longest_input(model: PreTrainedModel, tokenizer: Any) -> int:
    """The longest input in tokens, special ones included, by the tokenizer and the position table."""
    config = model.config
    places = config.max_position_embeddings
    if backbone_of(model).positions_follow_padding:
        places -= config.pad_token_id + 1
    return int(min(places, tokenizer.model_max_length))


def default_device() -> torch.device:
    """The GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' loading bars and notes, and the hub's retries, off the screen; errors still raise."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_level = hub_logging.get_verbosity()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bars:
            logging.enable_progress_bar()


def _unloadable(name: str, error: Exception) -> InputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if not Path(name).exists() and name != NANO:
        return InputError(
            f"{name}: no such folder, and not to be had from the Hugging Face hub ({reason})", _hint()
        )
    return InputError(f"{name}: cannot be loaded ({reason})", _hint())


def _hint() -> str:
    return f"give '{NANO}', a folder written by save_pretrained, or a hub id such as FacebookAI/xlm-roberta-base"
