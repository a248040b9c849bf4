"""The front matter of model cards is YAML whatever the names in it, and keeps them."""

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path

import pytest

from langlift.model_cards import render_card, split_front_matter
from langlift.sharing.reference import Parity

NASTY = 'a: b #c "d"'
TEMPLATES = sorted(Path(str(files("langlift")), "templates").glob("*.md"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_all_front_matter_is_written_by_the_yaml_library(template: Path):
    found = re.search(r"^---\n(.*?)^---\n", template.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    if found is None:
        assert '{% extends "exported.md" %}' in template.read_text(encoding="utf-8")
    elif template.name == "published.md":
        assert found[1] == "{{ front }}\n", "written by huggingface_hub's ModelCardData"
    else:
        assert re.fullmatch(r"\{\{ [^{}]*(\{[^{}]*\})?[^{}]*\|front \}\}\n", found[1])


@pytest.mark.parametrize(
    "name", [NASTY, "no", "- x", "a\n---\nb", "'", "{x}", "@y", "1.0", "null", "naïve: ġ" * 30]
)
def test_any_name_is_read_back(name: str):
    card = render_card("exported.md", front={"base_model": name, "tags": ["langlift", name], "license": None},
                       origin={"name": "x"}, parity=Parity(1, 0.1, 1.0), limit=0.1,
                       loss=None, text="")  # fmt: skip
    assert split_front_matter(card)[0] == {"base_model": name, "tags": ["langlift", name]}


def test_a_base_with_such_a_name_from_adapting_to_import(
    tiny_xlm_roberta: Path, topic_folder: Path, maltese_lines, tmp_path: Path, langlift
):
    base, data = tmp_path / NASTY, tmp_path / "text: #1.txt"
    shutil.copytree(tiny_xlm_roberta, base)
    data.write_text("\n".join(maltese_lines[:60]), encoding="utf-8")
    small = ["--set", "reduction_factor=4", "--precision", "float32"]
    commands = [
        ["adapt", "mlt", "--base", base, "--data", data, "--steps", 1, "--out", tmp_path / "a", *small],
        ["export", tmp_path / "a", "--to", "adapterhub", "--out", tmp_path / "e"],
        ["import", tmp_path / "e", "--base", base, "--out", tmp_path / "i"],
        ["task", "topic", "--base", base, "--data", topic_folder, "--epochs", 1, "--seeds", 1, "--out",
         tmp_path / "t", *small],
        ["pretrain", "--from", base, "--corpus", data, "--steps", 1, "--set", "row_tokens=64",
         "--out", tmp_path / "p"],
    ]  # fmt: skip
    for command in commands:
        result = langlift(*command, "--json")
        assert result.code == 0, result.err
    for folder in ("a", "e", "i", "t/seed-1", "p/model"):
        front, _ = split_front_matter((tmp_path / folder / "README.md").read_text(encoding="utf-8"))
        assert Path(front["base_model"]).name == NASTY, folder
        assert "langlift" in front["tags"]
    assert json.loads((tmp_path / "e/adapter_config.json").read_text())["model_name"] == str(base)


@pytest.mark.parametrize(
    "card", ["---\nlicense: cc0\n---", "\ufeff---\nlicense: cc0\n---\n", "---\r\nlicense: cc0\r\n---\r\n"]
)
def test_facts_without_text_below_or_with_a_byte_order_mark_are_read(card: str):
    """The licence was lost, and the front matter became text of the new card."""
    assert split_front_matter(card) == ({"license": "cc0"}, "")
