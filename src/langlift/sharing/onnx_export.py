"""``langlift export --to onnx``: a graph with adapters and head, compared with PyTorch before it is kept."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.exporting import Exported
from langlift.errors import InputError, LangliftError
from langlift.files import check_new_folder, new_folder, write_json
from langlift.heads.biaffine import NO_ARC
from langlift.heads.classification import ClassificationHead
from langlift.masking import IGNORED
from langlift.progress import say
from langlift.sharing.reference import Reference, compared, items_of, load_reference, parser_scores
from langlift.training.trainer import Batch

MODEL_FILE, WEIGHTS_FILE, INT8_FILE = "model.onnx", "model.onnx.data", "model_int8.onnx"
LARGEST_FILE = 1_900_000_000
"""Bytes of weights above which they get a file of their own: an ONNX file is limited to 2 GiB."""
NEEDED = ("onnx", "onnxruntime", "onnxscript")
TEMPLATES = {"classify": "onnx_texts.md", "parse": "onnx_trees.md", "tag": "onnx_words.md"}
"""Templates of the cards of tasks, by their verb."""
Scores = tuple[Tensor, Tensor]
"""A sentence's arcs and relations, as ``ParserGraph`` returns them."""


class Graph(nn.Module):
    """``input_ids`` and ``attention_mask``, int64 [batch, length] -> logits of sentences, or of all tokens.

    ``head`` is a task's head, ``None`` for a language model, which includes its own.
    """

    inputs: ClassVar = {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}}
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


def write_graph(graph: Graph, folder: Path, pad_token_id: int) -> None:
    """Write ``model.onnx``, for inputs of any size; a LangliftError if PyTorch cannot convert the model."""
    # Fused attention kernels would be traced for one case only.
    graph.model.set_attn_implementation("eager")
    ids = torch.arange(22).view(2, 11) % max(2, graph.model.config.vocab_size)
    mask = torch.ones_like(ids)
    ids[1, 7:], mask[1, 7:] = pad_token_id, 0
    inputs = (ids, mask, torch.rand(7, *ids.shape))[: len(graph.inputs)]
    try:
        with torch.no_grad(), quiet_onnx():
            program: Any = torch.onnx.export(
                graph.eval(),
                inputs,
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=graph.outputs,
                dynamic_shapes=graph.inputs,  # given by name, so that bounds (a position table's) are inferred
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


def export_onnx(source: Path, out: Path, base: BaseName, int8: bool, data: str | None) -> Exported:
    """Write a run's model as ONNX into the new folder ``out``; with ``int8`` also in 8 bits, measuring its loss.

    The graph is compared with PyTorch on the run's test sentences, on ``data``, or on arbitrary strings.

    Raises:
        InputError: no finished run, a model that cannot be a graph, or onnx is not installed.
        LangliftError: the graph does not compute what the run computes; then no files remain.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise InputError(f"--to onnx needs {', '.join(missing)}", "pip install 'langlift[onnx]'")
    check_new_folder(out)
    run = load_reference(source, base, data)
    as_graph, as_model = (ParserGraph, OnnxParser) if run.is_parser else (Graph, OnnxModel)
    graph = as_graph(run.body, run.head)
    with new_folder(out) as staging:
        say(f"writing the graph and comparing it on {len(run.sentences)} sentences")
        _write_tokenizer(run, staging)
        expected = run.logits(run.compute)
        write_graph(graph, staging, run.tokenizer.pad_token_id)
        written = as_model(staging / MODEL_FILE)
        parity = compared(expected, run.logits(written))
        parity.require(f"{source} as ONNX")
        described, loss = _description(run), None
        write_json(staging / "labels.json", described)
        if int8:
            say("writing it in 8 bits and measuring the loss")
            quantise(staging)
            sizes = [sum(p.stat().st_size for p in staging.glob(f"{name}*")) for name in (MODEL_FILE, INT8_FILE)]
            loss = _int8_loss(run, written, as_model(staging / INT8_FILE))
            loss |= {"bytes_float32": sizes[0], "bytes_int8": sizes[1]}
        template = TEMPLATES[run.trained.task.verb] if run.trained else "onnx_language_model.md"
        return run.finish(out, staging, parity, "onnx", {"int8": loss}, template, described=described)


def _write_tokenizer(run: Reference, folder: Path) -> None:
    """Write a ``tokenizer.json`` that also truncates and pads, and check that it gives the run's token ids."""
    tokenizer = Tokenizer.from_str(run.tokenizer.backend_tokenizer.to_str())
    longest = longest_input(run.body, run.tokenizer)
    longest = min(longest, run.trained.max_tokens) if run.trained else longest
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=run.tokenizer.pad_token_id, pad_token=run.tokenizer.pad_token)
    path = str(folder / "tokenizer.json")
    tokenizer.save(path)
    written = Tokenizer.from_file(path)
    run.require_same_tokens(lambda text: written.encode(text).ids, longest)


def _description(run: Reference) -> dict[str, Any]:
    trained = run.trained
    if trained is None:
        return {"task": run.pipeline_tag, "mask_token": run.tokenizer.mask_token}
    return {
        "task": trained.task.name,
        "labels": trained.labels,
        "one_label_for": "sentence" if trained.task.verb == "classify" else "word",
        "max_tokens": min(trained.max_tokens, longest_input(run.body, run.tokenizer)),
        **trained.settings,
    }


def _int8_loss(run: Reference, *models: nn.Module) -> dict[str, Any]:
    """Compare both graphs on the whole test split if there is one, else on the batches of the parity check."""
    trained, test = run.trained, run.test
    found: tuple[Any, ...]
    if trained is None or test is None:
        parity = compared(*(run.logits(model) for model in models))
        found = (parity.items, parity.agreement, None, None, None, 0)
    else:
        learner, metric = trained.task.learner, trained.task.metric.name
        answers = [learner.predict(one, trained.encoder, test.inputs, trained.labels) for one in models]
        pairs = list(zip(*map(_labels, answers), strict=True))
        scores = [learner.measure(test, one)[metric] for one in answers]
        found = (len(pairs), sum(a == b for a, b in pairs) / len(pairs), metric, *scores, len(test))
    names = ("items", "agreement", "metric", "score_float32", "score_int8", "test_examples")
    return dict(zip(names, found, strict=True))


def _labels(answers: Iterable[Any]) -> list[Any]:
    """The labels in answers: one per sentence, or per word; in trees, each word's head and relation."""
    labels = [answer.gold for answer in answers]
    return [one for label in labels for one in ([label] if isinstance(label, str) else label)]
