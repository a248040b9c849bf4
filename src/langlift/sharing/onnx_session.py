"""An ONNX file in the place of a trained model, and the same file in 8 bits."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from langlift.sharing.onnx_graph import INPUTS, MODEL_FILE, OUTPUT, WEIGHTS_FILE
from langlift.sharing.subjects import items_of
from langlift.training.trainer import Batch

INT8_FILE = "model_int8.onnx"


class OnnxModel(nn.Module):
    """Computes with onnxruntime, on the CPU, what a trained model computes of a padded batch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # by which others see where it computes

    def forward(self, batch: Batch) -> Tensor:
        """-> logits [items, classes]."""
        ids = batch["input_ids"]
        mask = batch.get("attention_mask")
        inputs = (ids, torch.ones_like(ids) if mask is None else mask)
        fed = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
        (logits,) = self._session.run([OUTPUT], fed)
        return items_of(torch.from_numpy(logits), batch)


def quantise(folder: Path) -> None:
    """Write the folder's ``model.onnx`` again as ``model_int8.onnx``: weights in 8 bits, activations as they come.

    Weights use 7 of the 8 bits, so that sums do not overflow on processors without VNNI: the answers are the same
    everywhere.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # advice to preprocess, which changes nothing here
    try:
        quantize_dynamic(
            folder / MODEL_FILE,
            folder / INT8_FILE,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=_with_vectors(folder / MODEL_FILE),
            use_external_data_format=(folder / WEIGHTS_FILE).exists(),
        )
    finally:
        root.setLevel(level)


def _with_vectors(path: Path) -> list[str]:
    """The products with a vector of weights, as AdapterFusion has them: onnxruntime has none in 8 bits."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    vectors = {weight.name for weight in graph.initializer if len(weight.dims) < 2}
    return [node.name for node in graph.node if node.op_type == "MatMul" and vectors.intersection(node.input)]
