"""A model as an ONNX graph: token ids and attention mask in, logits out, with adapters and heads inside."""

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
from langlift.heads.classification import ClassificationHead

MODEL_FILE, WEIGHTS_FILE = "model.onnx", "model.onnx.data"
LARGEST_FILE = 1_900_000_000
"""Bytes of weights above which they get a file of their own: an ONNX file is limited to 2 GiB."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")


class Graph(nn.Module):
    """``input_ids`` and ``attention_mask``, int64 [batch, length] -> logits of sentences, or of all tokens.

    ``head`` is a task's head, ``None`` for a language model, which includes its own.
    """

    inputs: ClassVar = {
        "input_ids": {0: "batch", 1: "length"},
        "attention_mask": {0: "batch", 1: "length"},
    }
    """Names -> names of the axes of any size."""
    outputs: ClassVar = ["logits"]

    def __init__(self, model: PreTrainedModel, head: Any) -> None:
        super().__init__()
        self.model, self.head = model, head
        self._options: dict[str, Any] = {"use_cache": False} if backbone_of(model).causal else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """-> float32 [batch, classes] or [batch, length, classes]."""
        output: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **self._options)[0]
        if isinstance(self.head, ClassificationHead):
            output = self.head.pool(output, attention_mask)
        return output if self.head is None else self.head(output)

    def example(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """The inputs for tracing, from padded rows of ids."""
        return ids, mask


class ParserGraph(Graph):
    """A sentence in one or more windows -> the scores of its arcs and their relations.

    ``input_ids`` and ``attention_mask`` are int64 [windows, length], ``word_weights`` float32
    [words, windows, length]: the weight of each token in each word. The tree is decoded outside.
    """

    inputs: ClassVar = {
        "input_ids": {0: "windows", 1: "length"},
        "attention_mask": {0: "windows", 1: "length"},
        "word_weights": {0: "words", 1: "windows", 2: "length"},
    }
    outputs: ClassVar = ["arcs", "relations"]

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, word_weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """-> float32 [words, 1 + words] and [words, 1 + words, relations], with the root as first head."""
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask, **self._options)[0]
        words = word_weights.flatten(1) @ hidden.flatten(0, 1)
        places = torch.arange(words.shape[0])
        sentence = {"sentence": torch.zeros_like(places), "place": places + 1, "sizes": places[-1:] + 1}
        vectors = torch.cat([self.head.root[None], words])
        return self.head.arcs(vectors[None], sentence), self.head.relations_of_all_arcs(vectors)

    def example(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """As in ``Graph``, with random weights of 7 words."""
        return ids, mask, torch.rand(7, *ids.shape)


def require_onnx() -> None:
    """Raise an InputError unless the packages that write and run ONNX are installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"--to onnx needs {', '.join(missing)}", "pip install 'langlift[onnx]'")


def write_graph(graph: Graph, folder: Path, pad_token_id: int) -> None:
    """Write ``model.onnx``, for inputs of any size, into a folder.

    Raises:
        LangliftError: PyTorch cannot convert this architecture into a graph.
    """
    # Fused attention kernels would be traced for one case only.
    graph.model.set_attn_implementation("eager")
    ids = torch.arange(22).view(2, 11) % max(2, graph.model.config.vocab_size)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = pad_token_id, 0
    try:
        with torch.no_grad(), quiet_onnx():
            program: Any = torch.onnx.export(
                graph.eval(),
                graph.example(ids, mask),
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=graph.outputs,
                dynamic_shapes=graph.inputs,  # given by name, so that bounds (a position table's) are inferred
                verbose=False,
            )
            weights = sum(p.numel() * p.element_size() for p in graph.parameters())
            program.save(folder / MODEL_FILE, external_data=weights > LARGEST_FILE)
            _drop_shapes_of_weights(folder / MODEL_FILE)
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise LangliftError(
            f"{type(graph.model).__name__} cannot be written as ONNX ({type(error).__name__}: {reason})",
            "the same command with --debug shows where; please report it",
        ) from error


def _drop_shapes_of_weights(path: Path) -> None:
    """Remove the redundant shapes of weights, which are wrong once onnxruntime transposes some.

    Because of them, its versions before 1.32 could not write such a graph in 8 bits.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    weights = {weight.name for weight in model.graph.initializer}
    others = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    onnx.save(model, path)


@contextmanager
def quiet_onnx() -> Iterator[None]:
    """Suppress what the packages of ``NEEDED`` print, log and warn of; errors still raise."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(disabled)
