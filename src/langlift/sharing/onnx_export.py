"""``langlift export --to onnx``: a graph, its tokenizer and labels, compared with PyTorch before they are kept."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.exporting import Exported
from langlift.files import check_new_folder, new_folder, write_json
from langlift.progress import say
from langlift.sharing import onnx_graph
from langlift.sharing.export_records import finish_export
from langlift.sharing.reference import (
    Reference,
    compared,
    load_reference,
    logits_on,
    require_parity,
    require_same_tokens,
)

LABELS_FILE, TOKENIZER_FILE = "labels.json", "tokenizer.json"
TEMPLATES = {"classify": "onnx_texts.md", "parse": "onnx_trees.md", "tag": "onnx_words.md"}
"""Templates of the cards of tasks, by their verb."""


def export_onnx(source: Path, out: Path, base: BaseName, int8: bool, data: str | None) -> Exported:
    """Write a run's model as ONNX into the new folder ``out``; with ``int8`` also in 8 bits, measuring its loss.

    The graph is compared with PyTorch on the run's test sentences, on ``data``, or on arbitrary strings.

    Raises:
        InputError: no finished run, a model that cannot be a graph, or onnx is not installed.
        LangliftError: the graph does not compute what the run computes; then no files remain.
    """
    onnx_graph.require_onnx()
    check_new_folder(out)
    run = load_reference(source, base, data)
    graph = (onnx_graph.ParserGraph if run.is_parser else onnx_graph.Graph)(run.body, run.head)
    with new_folder(out) as staging:
        say(f"writing the graph and comparing it on {len(run.sentences)} sentences")
        _write_tokenizer(run, staging)
        expected = logits_on(run.batches, run.compute)
        onnx_graph.write_graph(graph, staging, run.tokenizer.pad_token_id)
        parity = compared(expected, logits_on(run.batches, _open(run, staging / onnx_graph.MODEL_FILE)))
        require_parity(parity, f"{source} as ONNX")
        described = _description(run)
        write_json(staging / LABELS_FILE, described)
        loss = None
        if int8:
            say("writing it in 8 bits and measuring the loss")
            onnx_graph.quantise(staging)
            loss = _int8_loss(run, staging)
        task = run.trained.task if run.trained else None
        return finish_export(
            out,
            staging,
            source,
            base.name,
            parity,
            "onnx",
            {"int8": loss},
            TEMPLATES[task.verb] if task else "onnx_language_model.md",
            task.pipeline_tag if task else described["task"],
            described=described,
        )


def _write_tokenizer(run: Reference, folder: Path) -> None:
    """Write a ``tokenizer.json`` that also truncates and pads, and check that it gives the run's token ids."""
    tokenizer = Tokenizer.from_str(run.tokenizer.backend_tokenizer.to_str())
    longest = longest_input(run.body, run.tokenizer)
    longest = min(longest, run.trained.max_tokens) if run.trained else longest
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=run.tokenizer.pad_token_id, pad_token=run.tokenizer.pad_token)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    written = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    require_same_tokens(run, lambda text: written.encode(text).ids, longest)


def _description(run: Reference) -> dict[str, Any]:
    trained = run.trained
    if trained is None:
        kind = "text-generation" if backbone_of(run.body).causal else "fill-mask"
        return {"task": kind, "mask_token": run.tokenizer.mask_token}
    return {
        "task": trained.task.name,
        "labels": trained.labels,
        "one_label_for": "sentence" if trained.task.verb == "classify" else "word",
        "max_tokens": min(trained.max_tokens, longest_input(run.body, run.tokenizer)),
        **trained.settings,
    }


def _int8_loss(run: Reference, folder: Path) -> dict[str, Any]:
    """Compare both graphs on the whole test split if there is one, else on the batches of the parity check."""
    names = (onnx_graph.MODEL_FILE, onnx_graph.INT8_FILE)
    models = [_open(run, folder / name) for name in names]
    sizes = [sum(path.stat().st_size for path in folder.glob(f"{name}*")) for name in names]
    trained, test = run.trained, run.test
    metric, test_examples = None, 0
    scores: list[float | None] = [None, None]
    if trained is None or test is None:
        parity = compared(*(logits_on(run.batches, model) for model in models))
        items, agreement = parity.items, parity.agreement
    else:
        learner = trained.task.learner
        answers = [learner.predict(one, trained.encoder, test.inputs, trained.labels) for one in models]
        pairs = list(zip(*map(_labels, answers), strict=True))
        items, agreement = len(pairs), sum(a == b for a, b in pairs) / len(pairs)
        metric, test_examples = trained.task.metric.name, len(test)
        scores = [learner.measure(test, one)[metric] for one in answers]
    return {
        "items": items,
        "agreement": agreement,
        "metric": metric,
        "score_float32": scores[0],
        "score_int8": scores[1],
        "test_examples": test_examples,
        "bytes_float32": sizes[0],
        "bytes_int8": sizes[1],
    }


def _open(run: Reference, path: Path) -> onnx_graph.OnnxModel | onnx_graph.OnnxParser:
    return onnx_graph.OnnxParser(path) if run.is_parser else onnx_graph.OnnxModel(path)


def _labels(answers: Iterable[Any]) -> list[Any]:
    """The labels in answers: one per sentence, or per word; in trees, each word's head and relation."""
    labels = [answer.gold for answer in answers]
    return [one for label in labels for one in ([label] if isinstance(label, str) else label)]
