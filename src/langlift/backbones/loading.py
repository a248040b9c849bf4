"""Load a base model and its tokenizer by name: a bundled model, a folder, or a hub id."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import torch
from transformers import PreTrainedModel

from langlift.backbones.base_name import BaseName as BaseName
from langlift.backbones.base_name import model_hint, similar_name
from langlift.backbones.base_name import model_location as model_location
from langlift.backbones.eight_bits import has_eight_bits, read_eight_bits
from langlift.backbones.registry import Backbone, backbone_of, backbone_of_type, first_position
from langlift.backbones.segmented_attention import caps_attention
from langlift.bundled_models import BUNDLED
from langlift.bundled_models import NANO as NANO
from langlift.errors import InputError, is_panic
from langlift.hub_folders import similar_path, tell_hub

OFFLINE = "check the network; or give a folder with the downloaded model (docs/howto/air-gapped.md)"


def _location(base: BaseName) -> str:
    """As ``model_location``, saying so if the hub is going to be asked."""
    location = model_location(base)
    if not Path(location).exists():
        tell_hub(location)
    return location


def load_tokenizer(base: BaseName | str, location: str | None = None) -> Any:
    """The fast tokenizer of a model, or in a folder that is none; InputError if it cannot be found or read."""
    from transformers import AutoTokenizer

    base = BaseName.of(base)
    location = location or _location(base)
    with _loadable(base):
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=base.trust_remote_code)
    if not tokenizer.is_fast:
        raise InputError(f"{base}: has no fast tokenizer", "convert it to tokenizer.json first")
    # Sentence encoders often store both; calls set their own, but uses of the tokenizer inside would have them.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    if tokenizer.pad_token_id is None:
        # Many decoders have no pad token. Padding is always masked here, so any token will do.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.convert_ids_to_tokens(0)
    return tokenizer


@dataclass(frozen=True)
class BaseModel:
    """A loaded base model, in float32 and evaluation mode.

    ``head`` is the kind of the language modelling head in its checkpoint. If ``None``, the head of ``model`` is
    newly initialised.
    """

    source: BaseName
    model: PreTrainedModel
    head: Literal["masked", "causal"] | None

    @classmethod
    def load(
        cls, base: BaseName | str, *, masked_only: bool = False, head_needed: bool = True, quantised: bool = False
    ) -> Self:
        """Load the weights; the tokenizer is loaded on first use.

        ``masked_only`` rejects decoders. ``head_needed=False`` also accepts checkpoints without a language
        modelling head. ``quantised`` loads the layers in 4 bits onto the GPU. InputError if it cannot be found or
        read, its architecture is not in the table of backbones, or weights that are needed are missing; for
        ``quantised`` also without GPU or bitsandbytes.
        """
        base = BaseName.of(base)
        config = read_config(base)
        causal = backbone_of_type(config.model_type).causal
        if causal and masked_only:
            raise InputError(
                f"{base}: a causal model ({config.model_type}); only masked language models are supported here",
                "docs/causal.md lists what supports causal models: adapt, score, task and predict",
            )
        model, headed = _loaded(base, config, _four_bits(base.name) if quantised else {})
        if head_needed and not headed:
            raise _headless(base.name, causal)
        if not headed:
            return cls(base, model, None)
        return cls(base, model, "causal" if causal else "masked")

    @property
    def name(self) -> str:
        """The folder, hub id or bundled model; aliases are resolved."""
        return self.source.name

    @cached_property
    def tokenizer(self) -> Any:
        """Its fast tokenizer."""
        return load_tokenizer(self.source)

    @property
    def backbone(self) -> Backbone:
        """Where the parts of its architecture are."""
        return backbone_of(self.model)

    @property
    def longest_input(self) -> int:
        """The maximum input length in tokens, including special tokens."""
        return longest_input(self.model, self.tokenizer)


def load_masked_model(base: BaseName | str, head_needed: bool = True) -> PreTrainedModel:
    """The model of ``BaseModel.load``, which must not be a decoder."""
    return BaseModel.load(base, masked_only=True, head_needed=head_needed).model


def load_model(base: BaseName | str, head_needed: bool = True) -> PreTrainedModel:
    """The model of ``BaseModel.load``."""
    return BaseModel.load(base, head_needed=head_needed).model


def check_head(base: BaseName | str) -> None:
    """Raise an InputError unless a model has its language modelling head; its weights are not read.

    A hub model is downloaded only if its configuration does not name a class with a head; one that cannot be
    downloaded passes.
    """
    base = BaseName.of(base)
    here = Path(model_location(base)).exists()
    try:
        config = read_config(base)
    except InputError:
        if here:
            raise
        return
    if not here and any(not kind.endswith("Model") for kind in config.architectures or ()):
        return
    if not _loaded(base, config, {"device_map": "meta"})[1]:
        raise _headless(base.name, backbone_of_type(config.model_type).causal)


def is_causal(base: BaseName | str) -> bool:
    """Whether a model is a decoder, by its configuration alone; errors as ``BaseModel.load``."""
    return backbone_of_type(read_config(base).model_type).causal


def _loaded(base: BaseName, config: Any, further: Mapping[str, Any]) -> tuple[PreTrainedModel, bool]:
    """The model, and whether the checkpoint has its head. ``further`` goes to ``from_pretrained``."""
    location = model_location(base)
    weights = read_eight_bits(location) if has_eight_bits(location) else None
    with _loadable(base):
        # Weights in memory are passed to the model's own class, without a folder.
        kind = _class_for(config) if weights is None else type(_weightless(config))
        model, info = kind.from_pretrained(
            location if weights is None else None,
            state_dict=weights,
            config=config,
            dtype=torch.float32,
            # Never flash attention, which has no float32.
            attn_implementation="eager" if caps_attention(config) else "sdpa",
            trust_remote_code=base.trust_remote_code,
            output_loading_info=True,
            **further,
        )
    prefix = f"{model.base_model_prefix}."
    missing = info["missing_keys"]
    if of_body := sorted(key for key in missing if key.startswith(prefix)):
        raise InputError(
            f"{base}: has no weights for {of_body[0]} ({len(missing)} missing in all)",
            "the files are incomplete or belong to another model: download or save it again",
        )
    return model.eval(), not missing


def _headless(name: str, causal: bool) -> InputError:
    if causal:
        return InputError(
            f"{name}: has no language modelling head (an embedding model?)",
            "give the language model that it was trained from",
        )
    return InputError(f"{name}: has no MLM head (a sentence encoder, or trained for a task?)", head_hint(name))


def head_hint(name: str) -> str:
    """The command that adds an MLM head to an encoder without one."""
    return f"langlift pretrain --from {shlex.quote(name)} --corpus TEXT --out FOLDER gives it one: FOLDER/model"


def read_config(base: BaseName | str) -> Any:
    """transformers' configuration of a model; InputError if it cannot be found or read."""
    from transformers import AutoConfig

    base = BaseName.of(base)
    location = _location(base)
    with _loadable(base):
        return AutoConfig.from_pretrained(location, trust_remote_code=base.trust_remote_code)


def _four_bits(name: str) -> dict[str, Any]:
    """What ``from_pretrained`` needs for NF4 weights with double quantisation (QLoRA, Dettmers et al. 2023)."""
    from importlib.util import find_spec

    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise InputError(f"{name}: quantised needs a GPU, and this machine has none", "leave quantised out")
    if find_spec("bitsandbytes") is None:
        raise InputError(f"{name}: quantised needs bitsandbytes", "pip install 'langlift[quantised]'")
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": settings, "device_map": {"": torch.cuda.current_device()}}


def weightless_model(base: BaseName | str) -> PreTrainedModel:
    """A model with its head and no weights (on the meta device), for names and shapes alone."""
    return _weightless(read_config(base))


def weightless_model_of(model_type: str, hidden_size: int, layers: int) -> PreTrainedModel:
    """The same for an architecture, width and depth; its other dimensions are arbitrary."""
    from transformers import AutoConfig

    further = {"num_key_value_heads": 1} if backbone_of_type(model_type).causal else {}
    try:
        with quiet_transformers():
            config = AutoConfig.for_model(
                model_type,
                hidden_size=hidden_size,
                embedding_size=hidden_size,  # ELECTRA's may differ; invertible adapters are then rejected
                num_hidden_layers=layers,
                num_attention_heads=1,
                vocab_size=8,
                pad_token_id=0,
                **further,
            )
        return _weightless(config)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"no {model_type} has hidden size {hidden_size} and {layers} layers ({reason})", "the file is damaged"
        ) from None


def _weightless(config: Any) -> PreTrainedModel:
    with torch.device("meta"), quiet_transformers():
        model: PreTrainedModel = _class_for(config).from_config(config)
    return model


def _class_for(config: Any) -> Any:
    """transformers' class that makes the model with its language modelling head."""
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    return AutoModelForCausalLM if backbone_of_type(config.model_type).causal else AutoModelForMaskedLM


def longest_input(model: PreTrainedModel, tokenizer: Any) -> int:
    """The maximum input length in tokens, including special tokens, given the tokenizer and the position table."""
    places: int = model.config.max_position_embeddings - first_position(model)
    return min(places, tokenizer.model_max_length)


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Suppress the progress bars and messages of transformers and the hub; errors are still raised."""
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


@contextmanager
def _loadable(base: BaseName) -> Iterator[None]:
    """Quietly, with an InputError for whatever is raised while a model's files are loaded."""
    try:
        with quiet_transformers():
            yield
    except BaseException as error:
        if not (isinstance(error, Exception) or is_panic(error)):
            raise
        raise unloadable(base.name, error) from error


def unloadable(name: str, error: BaseException) -> InputError:
    """The error for a model that transformers could not load."""
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if not Path(name).exists() and name not in BUNDLED:
        similar = similar_name(name) or similar_path(Path(name))
        hint = OFFLINE if "couldn't connect" in reason else model_hint()
        return InputError(
            f"{name}: no such folder, and not found on the Hugging Face hub ({reason})",
            f"did you mean {similar}?" if similar else hint,
        )
    return InputError(f"{name}: cannot be loaded ({reason})", model_hint())
