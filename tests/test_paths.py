"""Names of files, folders and hub repositories: a wrong one is told with the nearest, and the hub is not asked."""

import socket
import sys
from pathlib import Path

import pytest

from langlift.backbones.base_name import similar_name
from langlift.hub_folders import is_path, similar_path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a text and two runs; nothing in it may use the network."""
    (tmp_path / "runs" / "welsh").mkdir(parents=True)
    (tmp_path / "runs" / "topic").mkdir()
    (tmp_path / "welsh.txt").write_text("Mae'r gath yn cysgu.\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path


def test_what_is_written_as_a_path_is_one(folder: Path):
    for name in ("./welsh", "/data/x", "~/x", "welsh.tsv", "a/b/c", "runs/swahili", "runs/", "", "data/x.jsonl"):
        assert is_path(name), name
    for name in ("xlm-r", "FacebookAI/xlm-roberta-base", "google/gemma-3-1b", "welsh/runs"):
        assert not is_path(name), name


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("wlsh.txt", "welsh.txt"),
        ("run/welsh", "runs/welsh"),
        ("run/welhs", "runs/welsh"),
        ("runs/welsh", "runs/welsh"),
        ("runs/zulu", None),
        ("nothere/welsh", None),
    ],
)
def test_the_nearest_path(folder: Path, wrong: str, near: str | None):
    assert similar_path(Path(wrong)) == (None if near is None else Path(near))


SCORE = ("score", "--base", "langlift-nano", "--text")
BASE_OUT = ("--base", "xlm-r", "--out", "out")


@pytest.mark.parametrize(
    ("command", "error", "hint"),
    [
        ((*SCORE, "wlsh.txt"), "wlsh.txt: no such file", "did you mean welsh.txt?"),
        ((*SCORE, "other"), "other: no such file", "check the path given"),
        ((*SCORE, "welsh.txt", "--adapter", "runs/welhs"), "runs/welhs: no such folder", "runs/welsh?"),
        (("score", "--base", "runs/wels", "--text", "welsh.txt"), "no such model folder", "runs/welsh?"),
        (("adapt", "cy", *BASE_OUT, "--data", "welsh.tx"), "welsh.tx: no such file", "welsh.txt"),
        (("task", "topic", *BASE_OUT, "--data", "runs/topc"), "runs/topc: no such folder", "runs/topic?"),
        (("predict", "runs/topik", "--text", "welsh.txt"), "runs/topik: no such folder", "runs/topic?"),
        (("predict", "runs/topic", "--text", "welhs.txt"), "welhs.txt: no such file", "welsh.txt?"),
        (("export", "welsh", "--to", "onnx", "--out", "o"), "welsh: no such folder", "welsh.txt?"),
        (("playground", "runs/welsch"), "runs/welsch: no such folder", "runs/welsh?"),
        (("diagnose", "cy", "--text", "welsh.tx"), "welsh.tx: no such file", "welsh.txt?"),
    ],
)  # fmt: skip
def test_a_wrong_path_is_refused_with_the_nearest_before_anything_is_loaded(
    langlift, folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], error: str, hint: str
):
    monkeypatch.setitem(sys.modules, "transformers", None)  # importing it would fail
    result = langlift(*command, "--json")
    assert result.code == 2, result.err
    assert error in result.error["error"]
    assert hint in result.error["hint"]


def test_a_base_without_its_owner_is_recognised():
    assert similar_name("xlm-roberta-bse") == "FacebookAI/xlm-roberta-base"
    assert similar_name("xlm-roberta-base") == "FacebookAI/xlm-roberta-base"


def test_looking_on_the_hub_is_said(langlift, folder: Path):
    result = langlift("score", "--base", "nobody/nothing", "--text", "welsh.txt")
    assert result.code == 2
    assert "nobody/nothing: not a path on this machine, so it is read from the Hugging Face hub" in result.err
