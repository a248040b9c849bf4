"""A model as an ONNX graph: token ids and attention mask in, logits out; adapters and heads are part of it.

A dependency parser is a graph of its own.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.errors import InputError, LangliftError
from langlift.heads.biaffine import BiaffineHead
from langlift.heads.classification import ClassificationHead

MODEL_FILE, WEIGHTS_FILE = "model.onnx", "model.onnx.data"
LARGEST_FILE = 1_900_000_000
"""Bytes of weights beyond which they stand in a file of their own: an ONNX file cannot hold 2 GiB."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")


class Graph(nn.Module):
    """``input_ids`` and ``attention_mask``, int64 [batch, length] -> logits of sentences, or of all tokens.

    ``head`` is what stands on the body, ``None`` for a language model, which has its own.
    """

    inputs, outputs = ("input_ids", "attention_mask"), ("logits",)
    axes: ClassVar = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}}

    def __init__(self, model: PreTrainedModel, head: nn.Module | None) -> None:
        super().__init__()
        self.model, self.head = model, head
        self._kept: dict[str, Any] = {"use_cache": False} if backbone_of(model).causal else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """-> float32 [batch, classes] or [batch, length, classes]."""
        output: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **self._kept)[0]
        if isinstance(self.head, ClassificationHead):
            output = self.head.pool(output, attention_mask)
        return output if self.head is None else self.head(output)

    def example(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Inputs to trace it with, of padded rows of ids."""
        return ids, mask


class ParserGraph(nn.Module):
    """A sentence, as one window of tokens or several, -> the scores of its arcs and their relations.

    ``input_ids`` and ``attention_mask`` are int64 [windows, length], ``word_weights`` float32
    [words, windows, length]: the share that each token has in each word. The tree is searched outside.
    """

    inputs, outputs = ("input_ids", "attention_mask", "word_weights"), ("arcs", "relations")
    axes: ClassVar = {
        "input_ids": {0: "windows", 1: "length"},
        "attention_mask": {0: "windows", 1: "length"},
        "word_weights": {0: "words", 1: "windows", 2: "length"},
    }

    def __init__(self, model: PreTrainedModel, head: BiaffineHead) -> None:
        super().__init__()
        self.model, self.head = model, head
        self._kept: dict[str, Any] = {"use_cache": False} if backbone_of(model).causal else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor, word_weights: Tensor) -> tuple[Tensor, Tensor]:
        """-> float32 [words, 1 + words] and [words, 1 + words, relations], the root being the first head."""
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **self._kept)[0]
        words = word_weights.flatten(1) @ hidden.flatten(0, 1)
        places = torch.arange(words.shape[0])
        sentence = {"sentence": torch.zeros_like(places), "place": places + 1, "sizes": places[-1:] + 1}
        placed = torch.cat([self.head.root[None], words])
        return self.head.arcs(placed[None], sentence), self.head.relations_of_all_arcs(placed)

    def example(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Inputs to trace it with, of padded rows of ids."""
        return ids, mask, torch.rand(7, *ids.shape)


def require_onnx() -> None:
    """Raise an InputError unless what writes and runs ONNX is installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"--to onnx needs {', '.join(missing)}", "pip install 'langlift[onnx]'")


def write_graph(graph: Graph | ParserGraph, folder: Path, pad_token_id: int) -> None:
    """Write ``model.onnx`` for inputs of any number and length into a folder.

    Raises:
        LangliftError: PyTorch cannot turn this architecture into a graph.
    """
    # Attention by plain products: of fused kernels the graph would hold one case only.
    graph.model.set_attn_implementation("eager")
    ids = torch.arange(22).view(2, 11) % max(2, graph.model.config.vocab_size)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = pad_token_id, 0
    try:
        with torch.no_grad(), _quiet():
            program: Any = torch.onnx.export(
                graph.eval(),
                graph.example(ids, mask),
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=list(graph.outputs),
                dynamic_shapes=graph.axes,  # as names, their bounds (a position table's) are found by themselves
                verbose=False,
            )
            weights = sum(p.numel() * p.element_size() for p in graph.parameters())
            program.save(folder / MODEL_FILE, external_data=weights > LARGEST_FILE)
            _forget_weights_shapes(folder / MODEL_FILE)
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise LangliftError(
            f"{type(graph.model).__name__} cannot be written as ONNX ({type(error).__name__}: {reason})",
            "the same command with --debug shows where; please report it",
        ) from error


def _forget_weights_shapes(path: Path) -> None:
    """Leave the weights' shapes to the weights: what else notes them is wrong once onnxruntime transposes some.

    Its versions before 1.32 could not write such a graph in 8 bits.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    weights = {weight.name for weight in model.graph.initializer}
    others = [noted for noted in model.graph.value_info if noted.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    onnx.save(model, path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's running commentary off the screen; errors still raise."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
