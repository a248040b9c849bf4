"""Runs leave as plain transformers models and as ONNX, and give the same answers there."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import CommandResult
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach
from langlift.adapters.peft_adapter import LoraConfig
from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import load_model, load_tokenizer
from langlift.backbones.registry import BACKBONES
from langlift.checkpoints.adapter_folder import load_adapter, save_adapter
from langlift.checkpoints.exporting import export_adapter
from langlift.checkpoints.importing import import_adapters
from langlift.errors import InputError
from langlift.model_cards import split_front_matter
from langlift.sharing import onnx_export, reference
from langlift.sharing.exporting import export
from langlift.sharing.plain_model import SENTENCE_HEADS, TOKEN_HEADS, export_transformers, head_parts
from langlift.sharing.pushing import push
from langlift.tasks.conllu import sentence_of
from langlift.tasks.prediction import load_trained_task
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task

TEXTS = ["Illum rajt il-futbol u mbagħad it-tim.", "Il-vapur.", "Il-biljett u l-bagalja u l-plejer u l-vjaġġ 7."]
NAMES = [["Anna", "Borg", "marret", "Ruma", "."], ["Ruma"], ["Il-qattus", "ta'", "Anna", "u", "Borg"]]


@pytest.fixture(scope="module")
def ner_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ner")
    for split, count in (("train", 12), ("dev", 4), ("test", 6)):
        rows = []
        for number in range(count):
            rows += ["Anna B-PER", "Borg I-PER", "marret O", ("Ruma B-LOC", "hemm O")[number % 2], ". O", ""]
        (folder / f"{split}.conll").write_text("\n".join(rows), encoding="utf-8")
    return folder


def trained(task: str, base: Path, data: Path, out: Path, adapter: Path | None = None, **settings: Any) -> Path:
    recipe = TaskRecipe(**{"epochs": 1, "seeds": (1,), "learning_rate": 1e-2, "precision": "float32", **settings})
    train_task(task, str(base), str(data), out, recipe, adapter)
    return out


def adapter_of(base: Path, config: Any, out: Path) -> Path:
    """An adapter folder with weights that matter."""
    torch.manual_seed(1)
    model = load_model(str(base))
    attach(model, "mlt_Latn", config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "mlt_Latn" in name.split("."):
                parameter.copy_(0.2 * torch.randn_like(parameter))
    out.mkdir(exist_ok=True)
    save_adapter(model, "mlt_Latn", config, out, str(base))
    return out


def shares(run: Path, inputs: Sequence[Any]) -> list[dict[str, Any]]:
    """What ``langlift predict`` answers."""
    return [answer.record() for answer in load_trained_task(run)(inputs)]


@torch.inference_mode()
def plain(model: Any, tokenizer: Any, text: str) -> np.ndarray:
    return model.eval()(**tokenizer(text, return_tensors="pt")).logits[0].softmax(dim=-1).numpy()


def first_tokens(tokenizer: Any, words: Sequence[str]) -> list[int]:
    """The place of each word's first token in the words joined by spaces."""
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    encoded = tokenizer(" ".join(words), return_offsets_mapping=True, return_special_tokens_mask=True)
    first: dict[int, int] = {}
    spans = zip(encoded["offset_mapping"], encoded["special_tokens_mask"], strict=True)
    for place, ((start, end), special) in enumerate(spans):
        if not special:
            first.setdefault(int(np.searchsorted(ends, max(start, end - 1), side="right")), place)
    return [first[word] for word in range(len(words))]


def run_card(folder: Path, replaced: dict[str, str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the code on a card, with words replaced; what it prints."""
    _, text = split_front_matter((folder / "README.md").read_text(encoding="utf-8"))
    block = text.partition("## Use\n\n")[2].partition("\n\n## ")[0]
    code = "\n".join(line[4:] for line in block.splitlines() if line.startswith("    ") or not line)
    for old, new in {"THIS_FOLDER": str(folder), **replaced}.items():
        assert old in code
        code = code.replace(old, new)
    capsys.readouterr()
    exec(compile(code, "card", "exec"), {})
    return capsys.readouterr().out


# Plain transformers models.


def test_a_classifier_as_transformers_own(
    tiny_model: Path, topic_folder: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = trained("topic", tiny_model, topic_folder, tmp_path / "run", method="full")
    result = langlift("export", run, "--to", "transformers", "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    assert result.json["difference"] < 1e-5 and result.json["agreement"] == 1.0 and result.json["items"] == 12
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.id2label == {0: "sports", 1: "travel"}
    assert model.config.label2id == {"sports": 0, "travel": 1}
    for text, ours in zip(TEXTS, shares(run, TEXTS), strict=True):
        theirs = plain(model, tokenizer, text)
        assert theirs == pytest.approx(list(ours["probabilities"].values()), abs=1e-5)
    front, text = split_front_matter((tmp_path / "out" / "README.md").read_text(encoding="utf-8"))
    assert front["pipeline_tag"] == "text-classification" and "AutoModelForSequenceClassification" in text
    assert "## The run" in text and "macro-F1 on test" in text, "the card of the seed that was exported"
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record["difference"] == result.json["difference"] and record["method"] == "full"
    assert sorted(result.json["files"]) == sorted(path.name for path in (tmp_path / "out").iterdir())


def test_a_tagger_as_transformers_own(
    tiny_xlm_roberta: Path, ner_folder: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = trained("ner", tiny_xlm_roberta, ner_folder, tmp_path / "run", method="full")
    result = langlift("export", run, "--to", "transformers", "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for words, ours in zip(NAMES, shares(run, NAMES), strict=True):
        found = plain(model, tokenizer, " ".join(words))[first_tokens(tokenizer, words)]
        assert [model.config.id2label[best] for best in found.argmax(axis=1)] == ours["tags"]
        assert found.max(axis=1) == pytest.approx(ours["probabilities"], abs=1e-5)


def test_lora_is_added_to_the_base(
    tiny_model: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    adapter = adapter_of(tiny_model, LoraConfig(rank=4, alpha=12.0), tmp_path / "lora")
    result = langlift("export", adapter, "--to", "transformers", "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    assert 0 <= result.json["difference"] < 1e-4
    ours = load_model(str(tiny_model))
    load_adapter(ours, adapter)
    merged = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    before = AutoModelForMaskedLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    encoded = tokenizer(TEXTS[0], return_tensors="pt")
    with torch.inference_mode():
        logits = [model.eval()(**encoded).logits for model in (ours, merged, before)]
    assert torch.allclose(logits[0], logits[1], atol=1e-4) and not torch.allclose(logits[0], logits[2], atol=1e-2)
    changed = {
        name for name, weight in merged.state_dict().items() if not torch.equal(weight, before.state_dict()[name])
    }
    assert len(changed) == 4 and all("query.weight" in name or "value.weight" in name for name in changed)
    hub, back = str(tmp_path / "hub"), str(tmp_path / "back")  # strings are paths, too
    export_adapter(str(adapter), "adapterhub", hub)
    assert import_adapters(hub, back).adapters[0].method == "lora"
    assert "adapter_model.safetensors" in push(back, "anna/back", dry_run=True).files


def test_a_whole_model_is_copied(
    adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = adapted_runs / "full"
    result = langlift("export", run, "--to", "transformers", "--out", tmp_path / "out", "--json")
    assert result.code == 0 and result.json["difference"] == 0.0, result.err
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (run / name).read_bytes()
    assert not (tmp_path / "out" / "recipe.yaml").exists()
    AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    again = langlift("export", run, "--to", "transformers", "--out", tmp_path / "out", "--json")
    assert again.code == 2 and "not empty" in again.error["error"], "nothing is ever overwritten"
    sent = langlift("push", tmp_path / "out", "anna/plain", "--dry-run", "--json").json
    assert sent["kind"] == "model" and sorted(sent["files"]) == sorted(result.json["files"])
    assert 'AutoModelForMaskedLM.from_pretrained("anna/plain")' in sent["card"]


def test_a_model_stored_in_16_bits_loads_in_32_with_transformers_4_and_5(tmp_path: Path) -> None:
    export("langlift-nano", "transformers", str(tmp_path / "out"))
    assert AutoModelForMaskedLM.from_pretrained(tmp_path / "out").dtype == torch.float32, "without options"
    settings = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast", "version 4 has no TokenizersBackend"
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(TEXTS[0])["input_ids"]
    assert ids == load_tokenizer("langlift-nano")(TEXTS[0])["input_ids"]


def test_an_export_that_is_told_to_end_leaves_nothing(tmp_path: Path) -> None:
    begun = (  # SIGTERM, as from `docker stop`, once the folder is begun
        "import os, signal, sys; from langlift.cli.main import main; import langlift.sharing.plain_model as plain;"
        "plain.compared = lambda *_: os.kill(os.getpid(), signal.SIGTERM); sys.argv[1:] ="
        f" ['export', 'langlift-nano', '--to', 'transformers', '--out', {str(tmp_path / 'out')!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", begun], capture_output=True, text=True)
    assert done.returncode == 130 and "Error: interrupted" in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_what_no_plain_model_can_hold_is_said(
    adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    for run in ("seq_bn_inv", "topic"):
        result = langlift("export", adapted_runs / run, "--to", "transformers", "--out", tmp_path / "o", "--json")
        assert result.code == 2 and "cannot be merged" in result.error["error"], result.err
        assert "--to onnx" in result.error["hint"] and "--to adapterhub" in result.error["hint"]
        assert not (tmp_path / "o").exists()
    for layout in ("adapterhub", "peft"):
        whole = langlift("export", adapted_runs / "full", "--to", layout, "--out", tmp_path / "o", "--json")
        assert whole.code == 2 and "--to transformers or --to onnx" in whole.error["hint"], whole.err
    for model_type in BACKBONES.keys() - SENTENCE_HEADS.keys():
        with pytest.raises(InputError, match=f"sentence classifier for {model_type}"):
            head_parts(model_type, "classify", "first", Path("run"))
    for model_type in BACKBONES.keys() - TOKEN_HEADS.keys():
        with pytest.raises(InputError, match=f"token classifier for {model_type}"):
            head_parts(model_type, "tag", "first", Path("run"))
    with pytest.raises(InputError, match="'mean'"):
        head_parts("bert", "classify", "mean", Path("run"))


# ONNX.


def test_a_stacked_classifier_as_onnx_in_32_and_8_bits(
    adapted_runs: Path,
    tiny_xlm_roberta: Path,
    topic_folder: Path,
    langlift: Callable[..., CommandResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A task adapter over a language adapter with its invertible block: all of it is in the graph."""
    run = trained("topic", tiny_xlm_roberta, topic_folder, tmp_path / "run", adapted_runs / "seq_bn_inv")
    result = langlift("export", run, "--to", "onnx", "--out", tmp_path / "out", "--int8", "--json")
    assert result.code == 0, result.err
    assert result.json["difference"] < 1e-4 and result.json["agreement"] == 1.0 and result.json["items"] == 12
    loss = result.json["int8"]
    assert loss["metric"] == "macro_f1" and loss["test_examples"] == loss["items"] == 12
    assert loss["bytes_int8"] < loss["bytes_float32"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert loss["score_float32"] == pytest.approx(metrics["mean"])
    assert 0 <= loss["agreement"] <= 1 and 0 <= loss["score_int8"] <= 100
    assert json.loads((tmp_path / "out" / "export.json").read_text())["int8"] == loss
    printed = run_card(tmp_path / "out", {'["your sentence", "another one"]': repr(TEXTS)}, capsys)
    assert printed.strip() == str([answer["predicted"] for answer in shares(run, TEXTS)])


def test_a_tagger_as_onnx(
    tiny_bert: Path,
    ner_folder: Path,
    langlift: Callable[..., CommandResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = trained("ner", tiny_bert, ner_folder, tmp_path / "run", pooling="mean")
    result = langlift("export", run, "--to", "onnx", "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    assert result.json["difference"] < 1e-4 and result.json["items"] == 30 and result.json["int8"] is None
    labels = json.loads((tmp_path / "out" / "labels.json").read_text(encoding="utf-8"))
    assert labels["one_label_for"] == "word" and labels["pooling"] == "mean"
    [answer] = shares(run, NAMES[:1])
    printed = run_card(tmp_path / "out", {'["your", "sentence", "in", "words"]': repr(NAMES[0])}, capsys)
    assert printed.strip() == str(list(zip(NAMES[0], answer["tags"], strict=True)))
    sent = langlift("push", tmp_path / "out", "anna/names", "--dry-run", "--json").json
    assert sent["kind"] == "onnx" and sorted(sent["files"]) == sorted(result.json["files"])
    front, text = split_front_matter(sent["card"])
    assert front["library_name"] == "onnx" and front["pipeline_tag"] == "token-classification"
    assert "hf download anna/names --local-dir THIS_FOLDER" in text
    assert str(tmp_path) not in sent["card"] and str(tiny_bert) not in sent["card"]
    graph = (tmp_path / "out" / "model.onnx").read_bytes()
    assert b".py" not in graph, "torch records where each node was made: source files of this machine"


@pytest.mark.parametrize("pooling", ["mean", pytest.param("first", marks=pytest.mark.slow)])
def test_a_parser_as_onnx(
    pooling: str,
    tiny_bert: Path,
    treebank: Path,
    langlift: Callable[..., CommandResult],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"train_examples": 8, "pooling": pooling, "max_tokens": 12}
    run = trained("dependencies", tiny_bert, treebank, tmp_path / "run", **settings)
    result = langlift("export", run, "--to", "onnx", "--out", tmp_path / "out", "--int8", "--json")
    assert result.code == 0, result.err
    graph = onnx.load(tmp_path / "out" / "model.onnx", load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    # onnxruntime before 1.32 could not write it in 8 bits.
    assert weights and not weights & {noted.name for noted in graph.value_info}
    metrics = json.loads((run / "seed-1" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test_sentences_in_windows"] > 3, "sentences of several windows are among them"
    answers = (run / "seed-1" / "test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    words = sum(len(json.loads(line)["words"]) for line in answers)
    assert result.json["difference"] < 1e-4 and result.json["items"] == 2 * words  # heads and relations
    loss = result.json["int8"]
    assert loss["items"] == words and loss["metric"] == "las" and loss["bytes_int8"] < loss["bytes_float32"]
    labels = json.loads((tmp_path / "out" / "labels.json").read_text(encoding="utf-8"))
    assert labels["task"] == "dependencies" and "nsubj" in labels["labels"] and labels["decoding"] == "mst"
    sentence = ["il-", "kelb", "jara", "."]  # of one window
    [answer] = load_trained_task(run)([sentence_of(sentence, " ".join(sentence), 1)])
    printed = run_card(tmp_path / "out", {'["your", "sentence", "in", "words"]': repr(sentence)}, capsys)
    expected = zip(range(1, 5), sentence, answer.heads, answer.relations, strict=True)
    assert printed.splitlines() == [" ".join(map(str, row)) for row in expected]


def test_a_graph_that_computes_something_else_is_not_kept(
    adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(onnx_export, "write_graph", lambda graph, folder, pad: (folder / "model.onnx").touch())
    monkeypatch.setattr(
        onnx_export, "OnnxModel", lambda path: lambda batch: torch.ones(len(batch["input_ids"]), 2)
    )
    result = langlift("export", adapted_runs / "topic", "--to", "onnx", "--out", tmp_path / "out", "--json")
    assert result.code == 1 and "does not compute what the run computes" in result.error["error"], result.err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_usage(
    adapted_runs: Path,
    treebank: Path,
    tiny_bert: Path,
    langlift: Callable[..., CommandResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, out = adapted_runs / "topic", ["--out", tmp_path / "out", "--json"]
    result = langlift("export", run, "--to", "gguf", *out)
    assert result.code == 2 and "adapterhub, peft, transformers, onnx" in result.error["hint"]
    result = langlift("export", run, "--to", "transformers", "--int8", *out)
    assert result.code == 2 and "--int8" in result.error["error"]
    result = langlift("export", tmp_path / "none", "--to", "onnx", *out)
    assert result.code == 2, result.err
    parser = trained("dependencies", tiny_bert, treebank, tmp_path / "parser", method="full", train_examples=8)
    result = langlift("export", parser, "--to", "transformers", *out)
    assert result.code == 2 and "parser" in result.error["error"] and "--to onnx" in result.error["hint"]
    # Of a task's run the adapter of the best seed, not an error that it has subfolders.
    result = langlift("export", run, "--to", "adapterhub", "--out", tmp_path / "hub", "--json")
    assert result.code == 0 and "adapter_config.json" in result.json["files"], result.err
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnxscript" else name)
    result = langlift("export", run, "--to", "onnx", *out)
    assert result.code == 2 and "onnxscript" in result.error["error"]
    assert result.error["hint"] == "pip install 'langlift[onnx]'"
    assert not (tmp_path / "out").exists()


def test_differences_are_measured() -> None:
    same, other = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[1.0, 2.5], [0.0, 3.0]])
    found = reference.compared([same, same], [same, other])
    assert (found.items, found.difference, found.agreement) == (4, 3.0, 0.75)
    broken = reference.compared([same], [same * float("nan")])
    assert broken.difference == float("inf")
    with pytest.raises(Exception, match="does not compute"):
        broken.require("it")


# Every architecture, and what is slow.


@pytest.mark.slow
def test_masked_models_of_all_architectures_as_onnx(
    base: Path, langlift: Callable[..., CommandResult], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = adapter_of(base, SeqBnConfig(4.0, invertible=True), tmp_path / "adapter")
    result = langlift("export", adapter, "--to", "onnx", "--out", tmp_path / "out", "--int8", "--json")
    assert result.code == 0, result.err
    assert result.json["difference"] < 1e-3 and result.json["items"] > 20
    assert result.json["int8"]["metric"] is None
    assert run_card(tmp_path / "out", {}, capsys).strip()


@pytest.mark.slow
def test_decoders_as_plain_models_and_as_onnx(
    decoder: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    lora = adapter_of(decoder, LoraConfig(rank=2), tmp_path / "lora")
    result = langlift("export", lora, "--to", "transformers", "--out", tmp_path / "plain", "--json")
    assert result.code == 0 and result.json["difference"] < 1e-3, result.err
    AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    bottleneck = adapter_of(decoder, SeqBnConfig(4.0), tmp_path / "bottleneck")
    result = langlift("export", bottleneck, "--to", "onnx", "--out", tmp_path / "onnx", "--json")
    assert result.code == 0 and result.json["difference"] < 1e-3, result.err


@pytest.mark.slow
def test_tasks_on_a_decoder(
    tiny_decoders: dict[str, Path],
    ner_folder: Path,
    topic_folder: Path,
    langlift: Callable[..., CommandResult],
    tmp_path: Path,
) -> None:
    run = trained("ner", tiny_decoders["llama"], ner_folder, tmp_path / "run", method="full")
    result = langlift("export", run, "--to", "transformers", "--out", tmp_path / "out", "--json")
    assert result.code == 0 and result.json["difference"] < 1e-4, result.err
    _, text = split_front_matter((tmp_path / "out" / "README.md").read_text(encoding="utf-8"))
    assert "A word's label is that of its last token." in text
    run = trained("topic", tiny_decoders["llama"], topic_folder, tmp_path / "topic")
    result = langlift("export", run, "--to", "onnx", "--out", tmp_path / "onnx", "--json")
    assert result.code == 0 and result.json["difference"] < 1e-4, result.err
    assert json.loads((tmp_path / "onnx" / "labels.json").read_text())["pooling"] == "last"


@pytest.mark.slow
def test_fusion_and_parts_of_speech_as_onnx(
    tiny_bert: Path, topic_folder: Path, treebank: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    adapters = [adapter_of(tiny_bert, SeqBnConfig(4.0), tmp_path / name) for name in ("one", "two")]
    recipe = TaskRecipe(epochs=1, seeds=(1,), pooling="mean", precision="float32")
    train_task("topic", str(tiny_bert), topic_folder, tmp_path / "fused", recipe, adapters)
    pos = trained("pos", tiny_bert, treebank, tmp_path / "pos", method="mosa", train_examples=8)
    for run, *data in ((tmp_path / "fused",), (pos,), (pos, "--data", treebank)):
        out = tmp_path / f"{run.name}-onnx{len(data)}"
        result = langlift("export", run, "--to", "onnx", "--out", out, "--int8", "--json", *data)
        assert result.code == 0 and result.json["difference"] < 1e-4, result.err
        assert result.json["int8"]["score_float32"] is not None
    refused = langlift("export", tmp_path / "fused", "--to", "transformers", "--out", tmp_path / "o", "--json")
    assert refused.code == 2 and "fusion" in refused.error["error"]


@pytest.mark.slow
def test_a_run_without_its_test_sentences(
    adapted_runs: Path, topic_folder: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(adapted_runs / "topic", run)
    (run / "seed-1" / "test_predictions.jsonl").unlink()
    out = ["--to", "onnx", "--int8", "--json"]
    result = langlift("export", run, *out, "--out", tmp_path / "a")
    assert result.code == 0 and result.json["int8"]["score_int8"] is None, result.err
    assert result.json["items"] == len(reference.NEUTRAL)
    result = langlift("export", run, *out, "--out", tmp_path / "b", "--data", topic_folder)
    assert result.code == 0 and result.json["int8"]["test_examples"] == 12, result.err


def test_no_torch_is_needed_to_run_the_card() -> None:
    """The code on the cards of ONNX exports imports neither langlift nor torch."""
    templates = list(Path(str(files("langlift") / "templates")).glob("onnx_*.md"))
    assert len(templates) == 4
    for template in templates:
        code = re.findall(r"^    .*", template.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert "    import onnxruntime" in code
        assert not any(name in line for line in code for name in ("torch", "langlift", "transformers"))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            {"adapter_config.json": {"config": {"architecture": None}, "name": "welsh"}},
            "the relu of a bottleneck adapter does not fit",
        ),
        (
            {"head.json": {"task": "topic", "pooling": "mean"}, "config.json": {"model_type": "bert"}},
            "pooling is 'mean'",
        ),
        (
            {"head.json": {"task": "topic", "pooling": "first"}, "config.json": {"model_type": "modernbert"}},
            "transformers' sentence classifier for modernbert computes something else",
        ),
    ],
)
def test_what_no_plain_model_can_be_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: dict[str, Any], said: str
):
    def load(*arguments: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("langlift.sharing.plain_model.load_reference", load)
    for name, content in written.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(said)):
        export_transformers(tmp_path, tmp_path / "out", BaseName(), None)
