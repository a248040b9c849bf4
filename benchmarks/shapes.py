"""The model shapes that are measured: architecture and sizes of well-known models, with random weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForMaskedLM, set_seed

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach
from langlift.backbones.loading import quiet_transformers
from langlift.checkpoints.adapter_folder import save_adapter

ADAPTER = "bench"


@dataclass(frozen=True)
class Shape:
    """Architecture and sizes of a model."""

    model_type: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    feed_forward: int

    def config(self) -> Any:
        """The same as a configuration of transformers, with the bundled tokenizer's special ids."""
        return AutoConfig.for_model(
            self.model_type,
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=self.feed_forward,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
        )


SHAPES = {
    "xlmr": Shape("xlm-roberta", 250_002, 768, 12, 12, 3072),
    "mbert": Shape("bert", 119_547, 768, 12, 12, 3072),
    "mini": Shape("bert", 54_000, 384, 12, 12, 1536),
    "nano": Shape("xlm-roberta", 16_000, 256, 6, 4, 1024),
}


def write_model(shape: Shape, folder: Path) -> tuple[Path, Path]:
    """A base model of the shape and a Seq_bn adapter for it, with fixed random weights: their folders."""
    set_seed(0)
    base, adapter = folder / "base", folder / "adapter"
    adapter.mkdir()
    config = SeqBnConfig()
    with quiet_transformers():
        model = AutoModelForMaskedLM.from_config(shape.config(), dtype=torch.float32)
        model.save_pretrained(base)
    attach(model, ADAPTER, config)
    save_adapter(model, ADAPTER, config, adapter, str(base))
    return base, adapter
