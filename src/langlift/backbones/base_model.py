"""A loaded base model: weights, tokenizer, architecture, kind of head, longest input."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Self

from transformers import PreTrainedModel

from langlift.backbones.base_name import BaseName as BaseName
from langlift.backbones.loading import load_tokenizer, longest_input, read_model
from langlift.backbones.registry import Backbone, backbone_of


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
        source = BaseName.of(base)
        model, has_head = read_model(source, masked_only, head_needed, quantised)
        kind: Literal["masked", "causal"] = "causal" if backbone_of(model).causal else "masked"
        return cls(source, model, kind if has_head else None)

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
