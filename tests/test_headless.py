"""Encoders without an MLM head: tasks and vocabularies take them, what needs the head says how to get one."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import MALTESE
from safetensors.torch import load_file, save_file

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach
from langlift.backbones import loading
from langlift.backbones.loading import BaseModel, check_head, load_masked_model, load_model, load_tokenizer
from langlift.errors import InputError
from langlift.studies.checking import check_data
from langlift.studies.planning import plan_study
from langlift.studies.study_file import read_study

NO_HEAD = "has no MLM head"


def without_head(model: Path, folder: Path) -> Path:
    """The model as its body's class saves it; BERT-like ones with a pooler, whose weights are then random."""
    from transformers import AutoModel

    torch.manual_seed(0)
    AutoModel.from_pretrained(model).save_pretrained(folder)
    load_tokenizer(str(model)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def headless(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model folder without MLM head, of each architecture of the table in turn."""
    return without_head(base, tmp_path_factory.mktemp("headless"))


@pytest.fixture(scope="module")
def sentence_encoder(tiny_xlm_roberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of them."""
    return without_head(tiny_xlm_roberta, tmp_path_factory.mktemp("sentence encoders") / "mine")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory, maltese_lines: list[str]) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join("\n".join(maltese_lines[i : i + 5]) for i in range(0, 60, 5)), encoding="utf-8")
    return path


def refused(call: Any, *arguments: Any) -> InputError:
    with pytest.raises(InputError) as refusal:
        call(*arguments)
    assert "\n" not in refusal.value.message + refusal.value.hint
    return refusal.value


def test_what_needs_the_head_says_how_to_get_one(headless: Path, base: Path):
    for load in (load_masked_model, load_model, check_head):
        error = refused(load, str(headless))
        assert error.message.startswith(f"{headless}: {NO_HEAD}")
        assert error.hint.startswith(f"langlift pretrain --from {headless} --corpus TEXT --out FOLDER ")
        assert "FOLDER/model" in error.hint
        load(str(base))


def test_the_body_is_the_checkpoints_and_the_head_is_told(headless: Path, base: Path):
    of_body, of_base = (BaseModel.load(str(one), head_needed=False) for one in (headless, base))
    assert (of_body.head, of_base.head) == (None, "masked")
    model, complete = of_body.model, of_base.model
    assert model.dtype == torch.float32 and not model.training
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        assert torch.equal(
            model.base_model(input_ids=ids).last_hidden_state, complete.base_model(input_ids=ids).last_hidden_state
        )
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_a_discriminator_is_an_encoder_without_head(tiny_bert: Path, tmp_path: Path):
    from transformers import ElectraConfig, ElectraForPreTraining

    config = ElectraConfig(
        vocab_size=600, max_position_embeddings=64, embedding_size=16, hidden_size=32, num_hidden_layers=2,
        num_attention_heads=2, intermediate_size=64,
    )  # fmt: skip
    ElectraForPreTraining(config).save_pretrained(tmp_path)
    load_tokenizer(str(tiny_bert)).save_pretrained(tmp_path)
    assert NO_HEAD in refused(BaseModel.load, str(tmp_path)).message
    base = BaseModel.load(str(tmp_path), head_needed=False)
    assert (base.head, base.backbone.model_type, base.longest_input) == (None, "electra", 64)
    assert "embeddings of width 16" in refused(attach, base.model, "inverse", SeqBnConfig(invertible=True)).message


def test_a_damaged_body_is_no_missing_head(headless: Path, tmp_path: Path):
    weights = load_file(headless / "model.safetensors")
    lost = next(name for name in weights if "layer" in name and name.endswith("weight"))
    load_tokenizer(str(headless)).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((headless / "config.json").read_bytes())
    kept = {name: weight for name, weight in weights.items() if name != lost}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for load in (load_masked_model, partial(load_model, head_needed=False), check_head):
        error = refused(load, str(tmp_path))
        assert "has no weights for" in error.message and lost in error.message
        assert "pretrain" not in error.hint


def test_a_decoder_without_head_is_sent_to_no_encoder_command(tiny_decoders: dict[str, Path], tmp_path: Path):
    folder = without_head(tiny_decoders["llama"], tmp_path)
    for load in (load_model, check_head):
        error = refused(load, str(folder))
        assert "has no language modelling head" in error.message
        assert "pretrain" not in error.hint
    assert load_model(str(folder), head_needed=False).base_model is not None


def test_commands_say_it_before_anything_is_written(
    langlift: Any, sentence_encoder: Path, text: Path, tmp_path: Path
):
    out, family = tmp_path / "out", tmp_path / "family.yaml"
    family.write_text(f"name: two\nbase: {sentence_encoder}\nlanguages:\n  mlt: {text}\n  swh: {MALTESE}\n")
    for arguments in (
        ["adapt", "mlt", "--base", sentence_encoder, "--data", text, "--out", out],
        ["score", "--base", sentence_encoder, "--text", text],
        ["adapt-family", family, "--out", out],
    ):
        result = langlift(*arguments, "--json")
        assert result.code == 2
        assert NO_HEAD in result.error["error"]
        assert f"--from '{sentence_encoder}' --corpus" in result.error["hint"], "a path with a space is quoted"
        assert not out.exists()


def test_a_task_trains_and_predicts(langlift: Any, sentence_encoder: Path, topic_folder: Path, tmp_path: Path):
    run, lines, labels = tmp_path / "run", tmp_path / "lines.txt", tmp_path / "labels.tsv"
    settings = ["--seeds", "1", "--epochs", "1"]
    result = langlift(
        "task", "topic", "--base", sentence_encoder, "--data", topic_folder, *settings, "--out", run, "--json"
    )
    assert result.code == 0, result.err
    lines.write_text("Illum rajt il-futbol.\n", encoding="utf-8")
    predicted = langlift("predict", run, "--text", lines, "--out", labels, "--json")
    assert predicted.code == 0, predicted.err


@pytest.fixture
def study(tmp_path: Path, text: Path, tiny_xlm_roberta: Path, sentence_encoder: Path, topic_folder: Path) -> Any:
    def written(**changes: Any) -> Path:
        content = {
            "base": [str(tiny_xlm_roberta), str(sentence_encoder)],
            "languages": "mlt",
            "data": {"text": str(text)},
            "score": "text",
            "tasks": {"topic": {"data": str(topic_folder), "use": ["alone"]}},
            "adapt": {"steps": 4, "batch_size": 4},
            "task": {"epochs": 1},
        } | changes
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False))
        return path

    return written


def test_a_study_says_it_when_it_is_planned(langlift: Any, study: Any, sentence_encoder: Path, tmp_path: Path):
    for what in ("plan", "run"):
        result = langlift("study", what, study(), "--out", tmp_path / "out", "--json")
        assert result.code == 2
        assert result.error["error"].startswith(f"{sentence_encoder}: {NO_HEAD}"), "and of the other base nothing"
        assert "langlift pretrain --from" in result.error["hint"]
    assert not (tmp_path / "out").exists()
    scored_only = plan_study(read_study(study(data=None, adapt=None, tasks=None, score={"text": str(MALTESE)})))
    assert NO_HEAD in refused(check_data, scored_only).message


def test_a_study_of_tasks_alone_takes_it(langlift: Any, study: Any, sentence_encoder: Path):
    result = langlift("study", "plan", study(data=None, score=None, adapt=None), "--json")
    assert result.code == 0, result.err
    runs = [run for run in result.json["runs"] if run["kind"] == "task"]
    assert len(runs) == 2 and all(run["seconds"] > 0 for run in runs), "both are timed"


def test_of_the_hub_only_what_seems_headless_is_fetched(monkeypatch: pytest.MonkeyPatch, headless: Path):
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(headless)
    fetched: list[str] = []

    def load(name: Any, *_: Any, **__: Any) -> tuple[None, bool]:
        fetched.append(str(name))
        return None, False

    monkeypatch.setattr(loading, "read_config", lambda name: config)
    monkeypatch.setattr(loading, "_loaded", load)
    assert NO_HEAD in refused(check_head, "somebody/sentences").message
    config.architectures = ["SomethingForMaskedLM"]
    check_head("somebody/model")
    assert fetched == ["somebody/sentences"]


def test_a_hub_model_that_cannot_be_had_is_left_to_the_run_that_needs_it():
    check_head("somebody/not-there")
    assert "no such model folder" in refused(check_head, "./not-there").message


def pieces_and_vectors(folder: Path) -> tuple[list[str], torch.Tensor]:
    """A model's pieces by their id, and their embeddings."""
    model, tokenizer = load_model(str(folder), head_needed=False), load_tokenizer(str(folder))
    ids = range(model.get_input_embeddings().weight.shape[0])
    return tokenizer.convert_ids_to_tokens(list(ids)), model.get_input_embeddings().weight.detach()


def test_a_new_vocabulary_leaves_it_without_head(langlift: Any, headless: Path, text: Path, tmp_path: Path):
    vocabulary, out = tmp_path / "vocabulary", tmp_path / "out"
    build = ["vocab", "build", "mlt", "--extend", headless, "--pieces", 20, "--corpus", MALTESE]
    assert langlift(*build, "--out", vocabulary, "--json").code == 0
    command = ["vocab", "apply", "--base", headless, "--vocabulary", vocabulary, "--init", "random"]
    applied = langlift(*command, "--out", out, "--json")
    assert applied.code == 0, applied.err
    assert NO_HEAD in refused(check_head, str(out)).message
    body = load_model(str(headless), head_needed=False).base_model
    assert applied.json["parameters_before"] == sum(p.numel() for p in body.parameters()), "no head is counted"
    pieces, vectors = pieces_and_vectors(headless)
    new_pieces, new_vectors = pieces_and_vectors(out)
    assert len(new_pieces) > len(pieces)
    here = dict(zip(new_pieces, new_vectors, strict=True))
    assert all(torch.equal(here[piece], vector) for piece, vector in zip(pieces, vectors, strict=True))


def test_a_trimmed_vocabulary_leaves_it_without_head(langlift: Any, headless: Path, tmp_path: Path):
    out, corpus = tmp_path / "out", tmp_path / "few.txt"
    corpus.write_text("Il-kelb jara l-qattus.\n" * 3, encoding="utf-8")
    trimmed = langlift("vocab", "trim", "--base", headless, "--corpus", corpus, "--out", out, "--json")
    assert trimmed.code == 0, trimmed.err
    assert NO_HEAD in refused(check_head, str(out)).message
    pieces, vectors = pieces_and_vectors(headless)
    new_pieces, new_vectors = pieces_and_vectors(out)
    assert len(new_pieces) < len(pieces)
    there = dict(zip(pieces, vectors, strict=True))
    assert all(torch.equal(there[piece], vector) for piece, vector in zip(new_pieces, new_vectors, strict=True))


@pytest.mark.parametrize("pooled", [True, False])
def test_a_pooler_comes_along_and_none_is_invented(
    langlift: Any, sentence_encoder: Path, tmp_path: Path, pooled: bool
):
    base, vocabulary, out = tmp_path / "base", tmp_path / "vocabulary", tmp_path / "out"
    weights = load_file(sentence_encoder / "model.safetensors")
    base.mkdir()
    for file in sentence_encoder.glob("*.json"):
        (base / file.name).write_bytes(file.read_bytes())
    kept = {name: weight for name, weight in weights.items() if pooled or not name.startswith("pooler")}
    save_file(kept, base / "model.safetensors", metadata={"format": "pt"})
    langlift("vocab", "build", "mlt", "--extend", base, "--pieces", 20, "--corpus", MALTESE, "--out", vocabulary)
    command = ["vocab", "apply", "--base", base, "--vocabulary", vocabulary, "--init", "random", "--out", out]
    assert langlift(*command).code == 0
    written = load_file(out / "model.safetensors")
    assert set(written) == set(kept)
    if pooled:
        assert torch.equal(written["pooler.dense.weight"], weights["pooler.dense.weight"])


def test_diagnose_measures_what_needs_no_head(
    langlift: Any, headless: Path, base: Path, tiny_xlm_roberta: Path, tmp_path: Path
):
    """It ranks last, whatever its place on the command line, and a name that is wrong does not stop the others."""
    page, typo = tmp_path / "page.html", "./not-there"
    bases = ["--base", headless, "--base", typo, "--base", tiny_xlm_roberta]
    arguments = ["diagnose", "mlt", *bases, "--text", MALTESE, "--sentences", 2, "--no-timing"]
    result = langlift(*arguments, "--out", page, "--json")
    assert result.code == 1, "one base could not be measured"
    assert list(result.json["ranking"]) == [str(tiny_xlm_roberta), str(headless)]
    assert result.json["ranking"][str(headless)] is None and result.json["ranking"][str(tiny_xlm_roberta)] > 1
    assert list(result.json["failed"]) == [typo] and "no such model folder" in result.json["failed"][typo]
    assert f"not measured: {typo}: no such model folder" in result.err
    alone = langlift("diagnose", "mlt", "--base", base, *arguments[8:], "--json").json["languages"][0]["bases"][0]
    found = result.json["languages"][0]["bases"][1]
    assert found["measures"]["vocabulary"] == alone["measures"]["vocabulary"]
    assert (found["measures"]["per_character"], found["measures"]["sentences"]) == (None, 0)
    first, *further = found["advice"]["commands"]
    assert first == f"langlift pretrain --from {headless} --corpus {MALTESE} --out {headless.name}-with-head"
    assert NO_HEAD in found["advice"]["text"] and NO_HEAD not in result.json["advice"]["text"]
    assert any(f"--base {headless.name}-with-head/model " in line for line in further)
    assert "NaN" not in result.out
    assert "none: it has no MLM head" in page.read_text() and typo in page.read_text()
    shown = langlift(*arguments)
    said = " ".join(shown.out.split())
    assert f"{headless.name} (no MLM head)." in said and f"{headless.name} has no MLM head: langlift" in said


def test_diagnose_of_headless_bases_alone(langlift: Any, sentence_encoder: Path, tmp_path: Path):
    family = tmp_path / "family.yaml"
    family.write_text(
        f"name: two\nbase: {sentence_encoder}\nlanguages:\n  mlt: {MALTESE}\n  swh: swahili.txt\nsteps: 2\n"
    )
    (tmp_path / "swahili.txt").write_text(
        "".join(f"Habari ya asubuhi, mtoto wa {n}.\n" for n in range(40)), encoding="utf-8"
    )
    picture = tmp_path / "picture.svg"
    result = langlift("diagnose", family, "--sentences", 2, "--out", picture, "--json")
    assert result.code == 0, result.err
    assert result.json["ranking"] == {str(sentence_encoder): None}
    advice = result.json["advice"]
    assert NO_HEAD in advice["text"] and advice["seconds"] > 0
    assert advice["commands"][0].startswith(f"langlift pretrain --from '{sentence_encoder}' --corpus {MALTESE} ")
    assert "--base mine-with-head/model" in advice["commands"][-1]
    assert "missing letters" in picture.read_text() and "NaN" not in picture.read_text()
    shown = langlift("diagnose", family, "--sentences", 2, "--no-timing")
    assert shown.code == 0, shown.err


def test_with_the_head_that_is_advised_it_can_be_adapted(
    langlift: Any, sentence_encoder: Path, text: Path, tmp_path: Path
):
    """The command of the hint, and then what was refused."""
    settings = ["--steps", 2, "--batch-size", 2, "--set", "row_tokens=32", "--set", "validation_rows=2"]
    out = tmp_path / "with-head"
    made = langlift("pretrain", "--from", sentence_encoder, "--corpus", text, *settings, "--out", out, "--json")
    assert made.code == 0, made.err
    base, adapter = out / "model", tmp_path / "adapter"
    adapted = langlift("adapt", "mlt", "--base", base, "--data", text, "--steps", 2, "--out", adapter, "--json")
    assert adapted.code == 0, adapted.err
    assert langlift("score", "--base", base, "--adapter", adapter, "--text", text, "--json").code == 0
