"""Run an ONNX file in place of a trained model, and write it in 8 bits."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from langlift.heads.biaffine import NO_ARC
from langlift.masking.masked_language_model import IGNORED
from langlift.sharing.onnx_graph import MODEL_FILE, WEIGHTS_FILE, Graph, ParserGraph, quiet_onnx
from langlift.sharing.reference import items_of, parser_scores
from langlift.training.trainer import Batch

INT8_FILE = "model_int8.onnx"
Scores = tuple[Tensor, Tensor]
"""A sentence's arcs and relations, as ``ParserGraph`` returns them."""


class OnnxModel(nn.Module):
    """Runs a graph with onnxruntime on the CPU, as a trained model on a padded batch."""

    graph: type[Graph] = Graph

    def __init__(self, path: Path) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # callers look up its device

    def run(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The graph's outputs."""
        named = {name: value.numpy() for name, value in zip(self.graph.inputs, inputs, strict=True)}
        return tuple(map(torch.from_numpy, self._session.run(self.graph.outputs, named)))

    def forward(self, batch: Batch) -> Tensor:
        """-> logits [items, classes]."""
        ids = batch["input_ids"]
        (logits,) = self.run(ids, batch.get("attention_mask", torch.ones_like(ids)))
        return items_of(logits, batch)


class OnnxParser(OnnxModel):
    """Runs a parser's graph, as a ``DependencyParser`` on a padded batch."""

    graph = ParserGraph

    @property
    def head(self) -> "OnnxParser":
        """The object with ``arcs`` and ``relations``."""
        return self

    def forward(self, batch: Batch) -> Tensor:
        """-> scores, as ``parser_scores``."""
        return parser_scores(self, batch)

    def word_vectors(self, batch: Batch) -> list[Scores]:
        """Each sentence's scores in place of vectors; ``arcs`` and ``relations`` select from them."""
        return [self.run(*inputs) for inputs in _sentences(batch)]  # type: ignore[misc]

    def arcs(self, scores: list[Scores], batch: Batch) -> Tensor:
        """As ``BiaffineHead.arcs``."""
        width = 1 + int(batch["sizes"].max())
        rows = [pad(arcs, (0, width - arcs.shape[1]), value=NO_ARC) for arcs, _ in scores]
        return torch.stack([rows[sentence][place - 1] for sentence, place in _words(batch)])

    def relations(self, scores: list[Scores], batch: Batch, heads: Tensor) -> Tensor:
        """As ``BiaffineHead.relations``."""
        arcs = zip(_words(batch), heads.tolist(), strict=True)
        return torch.stack([scores[sentence][1][place - 1, head] for (sentence, place), head in arcs])


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
    """The products with weights of other than two dimensions (AdapterFusion, parsers), which stay in float32."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    others = {weight.name for weight in graph.initializer if len(weight.dims) != 2}
    return [node.name for node in graph.node if node.op_type == "MatMul" and others.intersection(node.input)]


def _words(batch: Batch) -> list[tuple[int, int]]:
    """The sentence of each word in the batch, and the word's position there."""
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
