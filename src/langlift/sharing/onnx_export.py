"""``langlift export --to onnx``: a graph, its tokenizer and labels, checked against PyTorch before it is kept."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import longest_input
from langlift.backbones.registry import backbone_of
from langlift.errors import LangliftError
from langlift.files import check_new_folder, new_folder
from langlift.progress import say
from langlift.sharing.exported import EXPORT_FILE, Exported, file_sizes, origin_of
from langlift.sharing.exported_cards import onnx_card
from langlift.sharing.onnx_graph import MODEL_FILE, Graph, ParserGraph, require_onnx, write_graph
from langlift.sharing.onnx_session import INT8_FILE, OnnxModel, OnnxParser, quantise
from langlift.sharing.parity import answers_to, compared, require_parity
from langlift.sharing.subjects import Subject, subject_of
from langlift.tasks.dependencies import Parse
from langlift.tasks.tagging import Tagged

LABELS_FILE, TOKENIZER_FILE = "labels.json", "tokenizer.json"


@dataclass(frozen=True)
class Int8Loss:
    """What 8 bits cost, both graphs run by onnxruntime on the same ``items`` (sentences, words or gaps).

    ``agreement`` is the share of items that get the same answer. Of a task whose test data is at hand
    ``score_float32`` and ``score_int8`` are its measure, ``metric``, on ``test_examples``; else ``None``.
    """

    items: int
    agreement: float
    metric: str | None
    score_float32: float | None
    score_int8: float | None
    test_examples: int
    bytes_float32: int
    bytes_int8: int


def export_onnx(source: Path, out: Path, base: BaseName, int8: bool, data: str | None) -> Exported:
    """Write a run's model as ONNX into the new folder ``out``; with ``int8`` also in 8 bits, with what that costs.

    The graph must agree with PyTorch on the run's own test sentences, or on those of ``data``, or on neutral ones.

    Raises:
        InputError: no finished run, a kind that is no graph, or onnx is not installed.
        LangliftError: the graph does not compute what the run computes; nothing is left behind.
    """
    require_onnx()
    check_new_folder(out)
    subject = subject_of(source, base, data)
    graph = (ParserGraph if subject.is_parser else Graph)(subject.body, subject.head)
    with new_folder(out) as staging:
        say(f"writing the graph and trying it on {len(subject.sentences)} sentences")
        _write_tokenizer(subject, staging)
        expected = answers_to(subject.batches, subject.computed)
        write_graph(graph, staging, subject.tokenizer.pad_token_id)
        parity = compared(expected, answers_to(subject.batches, _opened(subject, staging / MODEL_FILE)))
        require_parity(parity, f"{source} as ONNX")
        described = _described(subject)
        (staging / LABELS_FILE).write_text(_json(described), encoding="utf-8")
        loss = None
        if int8:
            say("writing it in 8 bits and measuring what that costs")
            quantise(staging)
            loss = asdict(_int8_loss(subject, staging))
        origin = origin_of(source, base.name)
        record = {"format": "onnx", **origin, **asdict(parity), "int8": loss}
        (staging / EXPORT_FILE).write_text(_json(record), encoding="utf-8")
        card = onnx_card(origin, described, parity, loss, source)
        (staging / "README.md").write_text(card, encoding="utf-8")
        sizes = file_sizes(staging)
    return Exported(str(out), origin["name"], "onnx", list(sizes), sizes, **asdict(parity), int8=loss)


def _write_tokenizer(subject: Subject, folder: Path) -> None:
    """One ``tokenizer.json`` that cuts long texts and pads batches by itself; it must give the run's token ids."""
    tokenizer = Tokenizer.from_str(subject.tokenizer.backend_tokenizer.to_str())
    trained = subject.trained
    longest = longest_input(subject.body, subject.tokenizer)
    longest = min(longest, trained.max_tokens) if trained else longest
    tokenizer.enable_truncation(longest)
    tokenizer.enable_padding(pad_id=subject.tokenizer.pad_token_id, pad_token=subject.tokenizer.pad_token)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    alone = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    for text in subject.sentences:
        ids = subject.tokenizer(text, truncation=True, max_length=longest)["input_ids"]
        if alone.encode(text).ids != ids:
            raise LangliftError(
                "tokenizer.json alone cuts text otherwise than the tokenizer of the run",
                "the export would give other answers, and was not written; please report it, with the base model",
            )


def _described(subject: Subject) -> dict[str, Any]:
    """What a reader of the logits must know."""
    if subject.trained is None:
        kind = "text-generation" if backbone_of(subject.body).causal else "fill-mask"
        return {"task": kind, "mask_token": subject.tokenizer.mask_token}
    trained = subject.trained
    return {
        "task": trained.task.name,
        "labels": trained.labels,
        "one_label_for": "sentence" if trained.task.verb == "classify" else "word",
        "max_tokens": min(trained.max_tokens, longest_input(subject.body, subject.tokenizer)),
        **trained.settings,
    }


def _int8_loss(subject: Subject, folder: Path) -> Int8Loss:
    """Both graphs on the whole test split where there is one, else on the batches the model is tried on."""
    exact, small = (_opened(subject, folder / name) for name in (MODEL_FILE, INT8_FILE))
    sizes = {"bytes_float32": _bytes(folder, MODEL_FILE), "bytes_int8": _bytes(folder, INT8_FILE)}
    trained, test = subject.trained, subject.test
    if trained is None or test is None:
        parity = compared(*(answers_to(subject.batches, one) for one in (exact, small)))
        return Int8Loss(parity.items, parity.agreement, None, None, None, 0, **sizes)
    learner = trained.task.learner
    before, after = (learner.predict(one, trained.encoder, test, trained.labels, False) for one in (exact, small))
    pairs = list(zip(_flat(before), _flat(after), strict=True))
    return Int8Loss(
        items=len(pairs),
        agreement=sum(a == b for a, b in pairs) / len(pairs),
        metric=trained.task.metric.name,
        score_float32=learner.score(test, before),
        score_int8=learner.score(test, after),
        test_examples=len(test),
        **sizes,
    )


def _opened(subject: Subject, path: Path) -> OnnxModel | OnnxParser:
    return OnnxParser(path) if subject.is_parser else OnnxModel(path)


def _flat(answers: Iterable[Any]) -> list[Any]:
    """The labels in answers: one a sentence, or those of its words; of trees, each word's head and relation."""
    flat: list[Any] = []
    for answer in answers:
        if isinstance(answer, Parse):
            flat += answer.tree
        else:
            flat += answer.tags if isinstance(answer, Tagged) else [answer]
    return flat


def _bytes(folder: Path, name: str) -> int:
    return sum(path.stat().st_size for path in (folder / name, folder / f"{name}.data") if path.is_file())


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
