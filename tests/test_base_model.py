"""Base models by name: aliases, misspelt names, and whether code that comes with them runs."""

import ast
import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from langlift.adapted import Adapted
from langlift.backbones.base_name import ALIASES, BaseName
from langlift.backbones.loading import BaseModel, load_tokenizer
from langlift.cli.main import main
from langlift.errors import InputError
from langlift.studies.planning import plan_study
from langlift.studies.running import run_study
from langlift.studies.study_file import read_study
from langlift.training.family_file import read_family

SOURCES = Path(str(files("langlift")))
XLM_R = "FacebookAI/xlm-roberta-base"


def test_trust_travels_with_the_name_and_not_beside_it():
    taking = [
        f"{path.relative_to(SOURCES)}:{node.lineno}"
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        and "trust_remote_code" in [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
    ]
    assert len(taking) <= 8, taking


def test_an_alias_is_the_hub_id_unless_a_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert [BaseName(name).name for name in ("xlm-r", "XLM-R", XLM_R, "./xlm-r")] == [XLM_R] * 3 + ["./xlm-r"]
    trusted = BaseName("xlm-r", trust_remote_code=True)
    assert BaseName.of(trusted) is trusted and BaseName.of("xlm-r") == BaseName(XLM_R)
    recorded = BaseName(trust_remote_code=True)
    assert not recorded and recorded.or_else("mbert") == BaseName(ALIASES["mbert"], trust_remote_code=True)
    (tmp_path / "xlm-r").mkdir()
    assert BaseName("xlm-r").name == "xlm-r"


def test_the_page_lists_the_aliases():
    page = (Path(__file__).parent.parent / "docs" / "backbones.md").read_text(encoding="utf-8")
    assert [name for pair in ALIASES.items() for name in pair if f"`{name}`" not in page] == []


def test_files_that_name_a_base_may_use_an_alias(tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("Il-qattus raqad.\n" * 30, encoding="utf-8")
    family = tmp_path / "family.yaml"
    family.write_text(f"base: xlm-r\nlanguages: {{mlt: {text}}}\n")
    assert read_family(family)[0].base == BaseName(XLM_R)
    assert read_family(family, base=BaseName(trust_remote_code=True))[0].base == BaseName(XLM_R, True)
    study = tmp_path / "study.yaml"
    study.write_text(
        f"base: [mmbert, xlm-r]\nlanguages: mlt\ndata: {{text: {text}}}\nadapt: {{steps: 4}}\n"
        f"alignment: {{text: {text}, with: [xlm-r]}}\n"
    )
    found = read_study(study)
    assert found.bases == (ALIASES["mmbert"], XLM_R)
    assert found.alignment is not None and found.alignment.compared_with == (XLM_R,)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("xlmr", "xlm-r"), ("langlift-mimi", "langlift-mini"), ("FacebookAI/xlm-roberta-bse", XLM_R)],
)
def test_a_misspelt_name_is_told_with_what_is_meant(langlift: Any, tmp_path: Path, name: str, meant: str):
    text = tmp_path / "text.txt"
    text.write_text("Il-qattus raqad.\n", encoding="utf-8")
    result = langlift("score", "--base", name, "--text", text, "--json")
    assert result.code == 2
    assert result.error["error"].startswith(f"{name}: no such folder")
    assert result.error["hint"] == f"did you mean {meant}?"


def test_of_a_right_name_that_the_hub_does_not_give_nothing_else_is_meant():
    for name in ("xlm-r", "somebody/something-else"):
        with pytest.raises(InputError) as refusal:
            load_tokenizer(name)
        assert refusal.value.hint.startswith("check the network"), "not: did you mean"


def test_runs_record_what_an_alias_stands_for(
    langlift: Any, tiny_bert: Path, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(ALIASES, "tiny", str(tiny_bert))
    text = tmp_path / "text.txt"
    text.write_text("Il-qattus raqad fuq is-sodda.\n\n" * 30, encoding="utf-8")
    few = ["--base", "tiny", "--json", "--out"]
    results = [
        langlift("adapt", "mlt", *few, tmp_path / "adapter", "--data", text, "--steps", 2),
        langlift("task", "topic", *few, tmp_path / "topic", "--data", topic_folder, "--epochs", 1, "--seeds", 1),
        langlift("vocab", "trim", *few, tmp_path / "trimmed", "--corpus", text),
        langlift("pretrain", "--from", "tiny", *few[2:], tmp_path / "on", "--corpus", text, "--steps", 2,
                 "--set", "row_tokens=16", "--set", "validation_rows=1"),
        langlift("diagnose", "mlt", *few[:3], "--text", text, "--no-timing", "--sentences", 2),
    ]  # fmt: skip
    assert [result.code for result in results] == [0] * 5, [result.err for result in results]
    for run in ("adapter", "topic", "on"):
        assert yaml.safe_load((tmp_path / run / "recipe.yaml").read_text())["inputs"]["base"] == str(tiny_bert)
    assert f"base_model: {tiny_bert}" in (tmp_path / "adapter" / "README.md").read_text().replace('"', "")
    assert results[2].json["base"] == results[3].json["base"] == str(tiny_bert)
    assert list(results[4].json["ranking"]) == [str(tiny_bert)]


@pytest.fixture
def own_code(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A model folder that brings code of its own, and the file that appears when the code runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder, ran = tmp_path / "own-code", tmp_path / "ran"
    shutil.copytree(tiny_bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForMaskedLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        "from pathlib import Path\n"
        "from transformers import BertConfig, BertForMaskedLM\n"
        "class OwnConfig(BertConfig):\n"
        "    def __init__(self, **settings):\n"
        "        super().__init__(**settings)\n"
        f"        Path({str(ran)!r}).touch()\n"
        "class OwnModel(BertForMaskedLM):\n"
        "    config_class = OwnConfig\n"
    )
    return folder, ran


def test_code_of_a_model_runs_only_where_that_was_said(
    langlift: Any, own_code: tuple[Path, Path], topic_folder: Path, tmp_path: Path
):
    base, ran = own_code
    text, family = tmp_path / "text.txt", tmp_path / "family.yaml"
    text.write_text("Il-qattus raqad fuq is-sodda.\n\n" * 30, encoding="utf-8")
    family.write_text(f"base: {base}\nlanguages: {{mlt: {text}}}\nsteps: 2\n")

    def runs_it(*arguments: object) -> bool:
        result = langlift(*arguments)
        assert result.code == 0, result.err
        found = ran.exists()
        ran.unlink(missing_ok=True)
        return found

    topic = tmp_path / "topic"
    adapt = ("adapt", "mlt", "--base", base, "--data", text)
    task = ("task", "topic", "--base", base, "--data", topic_folder, "--epochs", 1, "--seeds", 1)
    commands = {
        "score": ("score", "--base", base, "--text", text, "--sentences", 1),
        "adapt": (*adapt, "--steps", 2, "--method", "lora", "--out", tmp_path / "adapter"),
        "adapt-family": ("adapt-family", family, "--out", tmp_path / "family"),
        "diagnose": ("diagnose", family, "--no-timing", "--sentences", 2),
        "task": (*task, "--out", topic),
        "predict": ("predict", topic, "--text", text, "--out", tmp_path / "labels.tsv"),
        "export": ("export", tmp_path / "adapter", "--to", "transformers", "--out", tmp_path / "plain"),
    }
    for name, command in commands.items():
        assert runs_it(*command, "--trust-remote-code"), name
    assert not runs_it(*commands["score"]) and not runs_it(*task, "--out", tmp_path / "not trusted")
    assert BaseModel.load(BaseName(str(base), trust_remote_code=True)).source.trust_remote_code and ran.exists()
    ran.unlink()
    for base_name, expected in ((None, False), (BaseName(trust_remote_code=True), True)):
        Adapted.load(tmp_path / "adapter", base=base_name).surprise("Il-qattus raqad.")
        assert ran.exists() == expected


def with_pattern(model: Path, folder: Path, pattern: str) -> Path:
    """A copy of a model whose tokenizer splits text at a regular expression."""
    shutil.copytree(model, folder)
    state = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, state["pre_tokenizer"]]}
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def test_a_tokenizer_with_an_unusable_pattern_is_refused_in_one_line(
    tiny_xlm_roberta: Path, tmp_path: Path, capfd
):
    base, text = with_pattern(tiny_xlm_roberta, tmp_path / "base", "("), tmp_path / "text.txt"
    text.write_text("".join(f"Il-kelb numru {i} jiġri fil-ġnien.\n" for i in range(200)), encoding="utf-8")
    capfd.readouterr()
    for command in (
        ["score", "--base", base, "--text", text],
        ["adapt", "mlt", "--base", base, "--data", text, "--steps", 1, "--out", tmp_path / "out"],
        ["diagnose", "mlt", "--base", base, "--text", text],
        [
            "vocab",
            "apply",
            "--vocabulary",
            base,
            "--base",
            tiny_xlm_roberta,
            "--init",
            "mean",
            "--out",
            tmp_path / "out",
        ],
    ):
        with pytest.raises(SystemExit) as exit_:
            main([*map(str, command), "--json"])
        *before, line = capfd.readouterr().err.strip().splitlines()
        said = [f"Loading {base} ...", f"measuring {base}"]
        assert before == said[: len(before)], "not the library's own report"
        error = json.loads(line)["error"]
        assert exit_.value.code == 2 and "unmatched parenthesis" in error and str(base) in error, command
        assert not (tmp_path / "out").exists()


def test_a_panic_on_later_text_is_one_line_and_stops_no_study(tiny_xlm_roberta: Path, tmp_path: Path, langlift):
    base, text = with_pattern(tiny_xlm_roberta, tmp_path / "base", "(ż+)+$"), tmp_path / "text.txt"
    text.write_text("Il-kelb " + "ż" * 60 + "!\n", encoding="utf-8")
    result = langlift("score", "--base", base, "--text", text, "--json")
    assert result.code == 1 and result.error["error"].startswith("PanicException: ")
    content = {"base": str(base), "languages": "mlt", "score": {"text": str(text)}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(content))
    ended = run_study(plan_study(read_study(tmp_path / "study.yaml")), tmp_path / "study")
    assert [one.error for one in ended.failures] == [result.error["error"]]
