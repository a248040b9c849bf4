"""A model as an ONNX graph, with adapters and heads inside: writing it, in 32 and 8 bits, and running it."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from langlift.backbones.registry import backbone_of
from langlift.errors import InputError, LangliftError
from langlift.heads.classification import ClassificationHead
from langlift.sharing.reference import items_of
from langlift.training.trainer import Batch

MODEL_FILE, WEIGHTS_FILE, INT8_FILE = "model.onnx", "model.onnx.data", "model_int8.onnx"
LARGEST_FILE = 1_900_000_000
"""Bytes of weights above which they get a file of their own: an ONNX file is limited to 2 GiB."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")
AXES = {0: "batch", 1: "length"}
"""The axes of the inputs, which may have any size."""


class Graph(nn.Module):
    """``input_ids`` and ``attention_mask``, int64 [batch, length] -> logits of sentences, or of all tokens.

    ``head`` is a task's head, ``None`` for a language model, which includes its own.
    """

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


def require_onnx() -> None:
    """Raise an InputError unless the packages that write and run ONNX are installed."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"--to onnx needs {', '.join(missing)}", "pip install 'langlift[onnx]'")


def write_graph(graph: Graph, folder: Path, pad_token_id: int) -> None:
    """Write ``model.onnx``, for inputs of any size; a LangliftError if PyTorch cannot convert the model."""
    # Fused attention kernels would be traced for one case only.
    graph.model.set_attn_implementation("eager")
    ids = torch.arange(22).view(2, 11) % max(2, graph.model.config.vocab_size)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = pad_token_id, 0
    try:
        with torch.no_grad(), quiet_onnx():
            program: Any = torch.onnx.export(
                graph.eval(),
                (ids, mask),
                dynamo=True,
                input_names=["input_ids", "attention_mask"],
                output_names=["logits"],
                # Given by name, so that bounds (a position table's) are inferred.
                dynamic_shapes={"input_ids": AXES, "attention_mask": AXES},
                verbose=False,
            )
            weights = sum(p.numel() * p.element_size() for p in graph.parameters())
            program.save(folder / MODEL_FILE, external_data=weights > LARGEST_FILE)
            _clean(folder / MODEL_FILE)
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise LangliftError(
            f"{type(graph.model).__name__} cannot be written as ONNX ({type(error).__name__}: {reason})",
            "the same command with --debug shows where; please report it",
        ) from error


def _clean(path: Path) -> None:
    """Remove torch's record of where each node was made, which names folders of this machine, and weights' shapes.

    The shapes are redundant, and wrong once onnxruntime transposes some of the weights: because of them, its
    versions before 1.32 could not write such a graph in 8 bits.
    """
    import onnx

    model = onnx.load(path, load_external_data=False)
    weights = {weight.name for weight in model.graph.initializer}
    others = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(others)
    nodes = (*model.graph.node, *(node for function in model.functions for node in function.node))
    for part in (model, model.graph, *model.functions, *nodes):
        del part.metadata_props[:]
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


class OnnxModel(nn.Module):
    """Runs a graph with onnxruntime on the CPU, as a trained model on a padded batch."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # callers look up its device

    def forward(self, batch: Batch) -> Tensor:
        """-> logits [items, classes]."""
        ids = batch["input_ids"]
        inputs = {"input_ids": ids, "attention_mask": batch.get("attention_mask", torch.ones_like(ids))}
        (logits,) = self._session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})
        return items_of(torch.from_numpy(logits), batch)


def quantise(folder: Path) -> None:
    """Write the folder's ``model.onnx`` as ``model_int8.onnx``, with dynamic quantisation per channel.

    Weights use 7 of the 8 bits, so that sums cannot overflow on CPUs without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet_onnx():  # it advises to preprocess, which changes nothing here
        quantize_dynamic(
            folder / MODEL_FILE,
            folder / INT8_FILE,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_without_matrices(folder / MODEL_FILE),
            use_external_data_format=(folder / WEIGHTS_FILE).exists(),
        )


def _without_matrices(path: Path) -> list[str]:
    """The products with weights of other than two dimensions (AdapterFusion), which stay in float32."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    others = {weight.name for weight in graph.initializer if len(weight.dims) != 2}
    return [node.name for node in graph.node if node.op_type == "MatMul" and others.intersection(node.input)]
