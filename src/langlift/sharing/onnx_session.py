"""An ONNX file in the place of a trained model, and the same file in 8 bits."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from langlift.heads.biaffine import NO_ARC
from langlift.masking.masked_language_model import IGNORED
from langlift.sharing.onnx_graph import MODEL_FILE, WEIGHTS_FILE, Graph, ParserGraph
from langlift.sharing.subjects import items_of, parser_scores
from langlift.training.trainer import Batch

INT8_FILE = "model_int8.onnx"


class OnnxModel(nn.Module):
    """Computes with onnxruntime, on the CPU, what a trained model computes of a padded batch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = session_of(path)
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # by which others see where it computes

    def forward(self, batch: Batch) -> Tensor:
        """-> logits [items, classes]."""
        ids = batch["input_ids"]
        mask = batch.get("attention_mask")
        inputs = (ids, torch.ones_like(ids) if mask is None else mask)
        fed = {name: value.numpy() for name, value in zip(Graph.inputs, inputs, strict=True)}
        (logits,) = self._session.run(list(Graph.outputs), fed)
        return items_of(torch.from_numpy(logits), batch)


class OnnxParser(nn.Module):
    """Computes with onnxruntime, on the CPU, what a ``DependencyParser`` computes of a padded batch."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._session = session_of(path)
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # by which others see where it computes

    @property
    def head(self) -> "OnnxParser":
        """What scores arcs and relations."""
        return self

    def forward(self, batch: Batch) -> Tensor:
        """-> scores [2 words, most], as ``parser_scores``."""
        return parser_scores(self, batch)

    def word_vectors(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """Not vectors but each sentence's scores, of which ``arcs`` and ``relations`` take what is asked for."""
        return [self._scores(*inputs) for inputs in _sentences(batch)]

    def arcs(self, scored: list[tuple[Tensor, Tensor]], batch: Batch) -> Tensor:
        """As ``BiaffineHead.arcs``."""
        most = 1 + int(batch["sizes"].max())
        rows = [pad(arcs, (0, most - arcs.shape[1]), value=NO_ARC) for arcs, _ in scored]
        return torch.stack([rows[number][place - 1] for number, place in _words(batch)])

    def relations(self, scored: list[tuple[Tensor, Tensor]], batch: Batch, heads: Tensor) -> Tensor:
        """As ``BiaffineHead.relations``."""
        arcs = zip(_words(batch), heads.tolist(), strict=True)
        return torch.stack([scored[number][1][place - 1, head] for (number, place), head in arcs])

    def _scores(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        fed = {name: value.numpy() for name, value in zip(ParserGraph.inputs, inputs, strict=True)}
        arcs, relations = self._session.run(list(ParserGraph.outputs), fed)
        return torch.from_numpy(arcs), torch.from_numpy(relations)


def session_of(path: Path) -> Any:
    """An ONNX file, ready to be run on the CPU."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


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
            nodes_to_exclude=_without_matrices(folder / MODEL_FILE),
            use_external_data_format=(folder / WEIGHTS_FILE).exists(),
        )
    finally:
        root.setLevel(level)


def _without_matrices(path: Path) -> list[str]:
    """The products with weights that are no matrix, as AdapterFusion and parsers have them: none are in 8 bits."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    others = {weight.name for weight in graph.initializer if len(weight.dims) != 2}
    return [node.name for node in graph.node if node.op_type == "MatMul" and others.intersection(node.input)]


def _words(batch: Batch) -> list[tuple[int, int]]:
    """The sentence of each of the batch's words, and its place there."""
    return list(zip(batch["sentence"].tolist(), batch["place"].tolist(), strict=True))


def _sentences(batch: Batch) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The graph's inputs for each sentence of a padded batch."""
    slots, ids = batch["slots"], batch["input_ids"]
    mask = batch.get("attention_mask", torch.ones_like(ids))
    of_row = batch["sentence"][slots.max(dim=1).values]  # there is a word in every window
    of_token = torch.where(slots == IGNORED, 0, batch["place"][slots.clamp(min=0)])
    for number, words in enumerate(batch["sizes"].tolist()):
        rows = of_row == number
        weights = (of_token[rows] == torch.arange(1, words + 1)[:, None, None]).float()
        yield ids[rows], mask[rows], weights / weights.sum(dim=(1, 2), keepdim=True)
