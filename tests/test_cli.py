"""The commands as a person or a program runs them: results, errors, exit codes, JSON, documentation."""

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import MALTESE
from test_release import module

from langlift.adapters.method import METHODS

ROOT = Path(__file__).parents[1]


def test_from_text_file_to_topic_score(
    langlift, tiny_xlm_roberta: Path, topic_folder: Path, tmp_path: Path
) -> None:
    """The whole path of a user's data, on a tiny model."""
    out, base = tmp_path / "mlt", str(tiny_xlm_roberta)
    adapted = langlift(
        "adapt", "Maltese", "--base", base, "--data", MALTESE, "--out", out, "--method", "seq_bn_inv",
        "--steps", 30, "--lr", 1e-2, "--batch-size", 8, "--set", "reduction_factor=4", "--json",
    )  # fmt: skip
    assert adapted.code == 0, adapted.err
    assert {
        "adapter", "steps", "validation_loss", "tokens_per_second", "peak_memory_bytes", "trainable_parameters"
    } <= adapted.json.keys()  # fmt: skip
    assert adapted.json["adapter"] == str(out)
    assert adapted.json["peak_memory_bytes"] > 50e6

    keys = {
        "pseudo_perplexity", "per_character", "per_byte", "unknown_share", "byte_share", "sentences", "tokens",
        "seconds",
    }  # fmt: skip
    scores = []
    for extra in ([], ["--adapter", out]):
        scored = langlift(
            "score", "--base", base, "--text", MALTESE, "--split", "test", "--sentences", 12,
            *extra, "--json",
        )  # fmt: skip
        assert scored.code == 0, scored.err
        assert keys <= scored.json.keys()
        assert "per_sentence" not in scored.json
        scores.append(scored.json["per_character"])
    assert scores[1] < scores[0], "the adapter must help on text it was not trained on"

    run = tmp_path / "topic"
    arguments = [
        "task", "topic", "--base", base, "--language-adapter", out, "--data", topic_folder, "--out", run,
        "--epochs", 20, "--lr", 1e-2, "--batch-size", 8, "--seeds", "1,2",
        "--set", "pooling=mean", "--set", "reduction_factor=2",
    ]  # fmt: skip
    topic = langlift(*arguments, "--json")
    assert topic.code == 0, topic.err
    assert {"metric", "mean", "std", "seeds", "baseline"} <= topic.json.keys()
    assert topic.json["metric"] == "macro_f1"
    assert len(topic.json["seeds"]) == 2
    assert topic.json["mean"] > 55, "two classes with words of their own: chance is 33 for a constant answer"
    assert topic.json["baseline"]["majority"] == pytest.approx(100 / 3)
    names = {p.name for p in (run / "seed-1").iterdir()}
    assert names == {
        "adapter_config.json", "adapter.safetensors", "head.json", "head.safetensors", "metrics.json",
        "progress.jsonl", "test_predictions.jsonl", "recipe.yaml", "versions.json", "README.md",
    }  # fmt: skip
    predictions = (run / "seed-1" / "test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(predictions) == topic.json["test_examples"]

    (run / "metrics.json").unlink()
    stamp = (run / "seed-2" / "metrics.json").stat().st_mtime_ns
    again = langlift(*arguments, "--resume", "--json")
    assert again.json == topic.json
    assert (run / "seed-2" / "metrics.json").stat().st_mtime_ns == stamp, "finished seeds are not trained again"


def test_full_fine_tuning_and_transfer(langlift, tiny_bert: Path, topic_folder: Path, tmp_path: Path) -> None:
    full = tmp_path / "two words"
    arguments = ["--steps", 6, "--batch-size", 4, "--lr", 1e-3, "--method", "full"]
    adapted = langlift("adapt", "mt", "--base", tiny_bert, "--data", MALTESE, "--out", full, *arguments)
    assert adapted.code == 0, adapted.err
    command = adapted.err.partition("Next: langlift ")[2].splitlines()[0]
    scored = langlift(*shlex.split(command), "--json")
    assert scored.code == 0 and 0 < scored.json["sentences"] <= 200, f"{command}: {scored.err}"
    result = langlift(
        "task", "topic", "--base", full, "--data", topic_folder, "--train-data", topic_folder, "--out",
        tmp_path / "topic", "--method", "full", "--epochs", 2, "--seeds", "7", "--train-examples", 10, "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.json["train_examples"] == 10
    assert result.json["std"] is None
    assert (tmp_path / "topic" / "seed-7" / "model.safetensors").exists()


def test_tables_for_people(langlift, tiny_bert: Path, tmp_path: Path) -> None:
    text = tmp_path / "two.txt"
    text.write_text("Il-baħar kalm.\nXita u riħ illum.\n", encoding="utf-8")
    result = langlift("score", "--base", tiny_bert, "--text", text, "--per-sentence")
    assert result.code == 0
    assert "per character" in result.out
    assert len(re.findall(r"^\d[\d.]*\t", result.out, re.M)) == 2


def built_folder(folder: Path, **splits: str) -> Path:
    folder.mkdir()
    for split, content in splits.items():
        (folder / f"{split}.jsonl").write_text(content, encoding="utf-8")
    return folder


ROW = '{"text": "Il-baħar kien kalm u sabiħ."}\n'


def bad_data(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    """What a user may give by mistake -> what the error must say."""
    files = {
        "empty.txt": b"",
        "three.txt": b"three words here\n",
        "utf8.txt": b"tajjeb\n" * 20 + b"\xff\xfe bad\n",
        "nul.txt": b"one\ntwo\x00\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return {
        "missing": (tmp_path / "none.txt", "no such file"),
        "empty": (tmp_path / "empty.txt", "the file is empty"),
        "three words": (tmp_path / "three.txt", "too little text"),
        "invalid UTF-8": (tmp_path / "utf8.txt", "utf8.txt:21: not valid UTF-8"),
        "NUL bytes": (tmp_path / "nul.txt", "nul.txt:2: a NUL byte"),
        "missing split": (built_folder(tmp_path / "a", train=ROW, test=ROW), "dev split is missing"),
        "no text column": (
            built_folder(tmp_path / "b", train=ROW + '{"sentence": "x"}\n', dev=ROW, test=ROW),
            "train.jsonl:2: no field 'text' (found: sentence)",
        ),
        "broken JSON": (
            built_folder(tmp_path / "c", train="{\n", dev=ROW, test=ROW),
            "train.jsonl:1: not valid JSON",
        ),
        "empty split": (built_folder(tmp_path / "d", train=ROW, dev="\n", test=ROW), "the split is empty"),
    }


CASES = [
    "missing", "empty", "three words", "invalid UTF-8", "NUL bytes", "missing split", "no text column",
    "broken JSON", "empty split",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_text_is_one_line_with_the_place_and_a_hint(
    langlift, tiny_bert: Path, tmp_path: Path, case: str
) -> None:
    data, expected = bad_data(tmp_path)[case]
    result = langlift("adapt", "mlt", "--base", tiny_bert, "--data", data, "--out", tmp_path / "run", "--json")
    assert result.code == 2
    assert expected in result.error["error"]
    assert str(data) in result.error["error"]
    assert result.error["hint"]
    assert not (tmp_path / "run").exists(), "bad input starts nothing"


def test_bad_names_and_values(langlift, tiny_bert: Path, tiny_xlm_roberta: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    made = langlift(
        "adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", adapter, "--steps", 2, "--batch-size", 2
    )
    assert made.code == 0, made.err
    adapt = ["adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", tmp_path / "run"]
    score = ["score", "--base", tiny_xlm_roberta, "--text", MALTESE]
    mamba = tmp_path / "mamba"
    mamba.mkdir()
    (mamba / "config.json").write_text('{"model_type": "mamba"}', encoding="utf-8")
    cases = [
        (["adapt", "Klingonese", *adapt[2:]], "unknown language 'Klingonese'"),
        (["adapt", "Sami", *adapt[2:]], "sme_Latn (Northern Sami)"),
        ([*adapt, "--method", "prefix"], f"method must be one of {', '.join(METHODS)}, not"),
        ([*adapt, "--objective", "clm"], "objective must be one of mlm"),
        ([*adapt, "--steps", "0", "--lr", "-1"], "--learning-rate must be above 0"),
        ([*adapt, "--set", "stpes=3"], "did you mean steps?"),
        ([*adapt, "--preset", "huge"], "no such preset"),
        ([*adapt, "--config", tmp_path / "none.yaml"], "cannot be read"),
        ([*adapt, "--out", MALTESE], "is a file"),
        ([*adapt, "--base", tmp_path], "not a model folder (no config.json)"),
        ([*adapt, "--base", "./nowhere"], "no such model folder"),
        ([*adapt, "--base", "nobody/no-such-model"], "not found on the Hugging Face hub"),
        ([*adapt, "--base", mamba], "architecture 'mamba' is not supported"),
        ([*score, "--adapter", adapter], "model_type bert, the base has xlm-roberta"),
        ([*score, "--adapter", mamba], "contains a whole model, not an adapter"),
        ([*score, "--variant", "best"], "unknown variant"),
        ([*score, "--split", "eval"], "unknown split"),
        (
            ["task", "topic", "--base", tiny_bert, "--data", tmp_path, "--out", tmp_path / "r"],
            "train split is missing",
        ),
        (["adapt", "mlt"], "Missing option"),
        (["lift"], "No such command 'lift'"),
    ]
    for arguments, expected in cases:
        result = langlift(*arguments, "--json")
        assert result.code == 2, (arguments, result.err)
        assert expected in result.error["error"], (arguments, result.error)
        assert result.error["hint"], arguments
        assert "\n" not in result.error["error"]
    assert not (tmp_path / "run").exists()


def test_errors_for_people_are_two_lines_and_a_traceback_only_on_request(langlift, tmp_path: Path) -> None:
    arguments = ["score", "--base", "langlift-nano", "--text", tmp_path / "none.txt"]
    plain = langlift(*arguments)
    assert plain.code == 2
    assert plain.out == ""
    assert plain.err.splitlines() == [
        f"Error: {tmp_path / 'none.txt'}: no such file",
        "Hint: check the path given",
    ]
    assert "Traceback" in langlift(*arguments, "--debug").err


def test_a_target_that_cannot_be_written_is_exit_code_1(langlift, tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    arguments = ["adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--steps", 2, "--json"]
    result = langlift(*arguments, "--out", tmp_path / "file" / "run")
    assert result.code == 1
    assert "cannot be written" in result.error["error"]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the super-user may write anywhere")
def test_a_read_only_target_is_exit_code_1(langlift, tiny_bert: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    arguments = ["adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--steps", 2, "--json"]
    result = langlift(*arguments, "--out", locked / "run")
    assert result.code == 1
    assert "cannot be written" in result.error["error"]


def test_options_come_from_the_recipe(langlift) -> None:
    """Help shows the recipe's description, choices and default, and the default of the task at hand."""
    page = " ".join(langlift("task", "ner", "--help").out.split())
    for shown in (
        "Peak learning rate. [default: 0.0001]", "training examples. [default: 100]", "[default: 1,2,3]",
        "Adaptation method; full trains the whole model. One of seq_bn, mosa, full. [default: seq_bn]",
    ):  # fmt: skip
        assert shown in page
    assert "[default: 1e-05]" in langlift("adapt-family", "--help").out


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--batchsize", " (did you mean --batch-size?)"),
        ("--epoch", " (did you mean --epochs?)"),
        ("--learning-rat", " (did you mean --learning-rate?)"),
        ("--weight-decay", " (did you mean --set weight_decay=VALUE?)"),
        ("--text", " (did you mean --data?)"),
        ("--model_name_or_path", " (did you mean --base?)"),
        ("--xyzzy", ""),
    ],
)
def test_an_unknown_option_is_one_line_with_the_nearest(langlift, tmp_path: Path, option: str, hint: str) -> None:
    command = ["task", "topic", "--base", "langlift-nano", "--data", tmp_path, "--out", tmp_path / "run"]
    result = langlift(*command, option, 3, "--json")
    assert result.code == 2
    assert result.error["error"] == f"No such option: {option}{hint}"
    assert "task topic --help" in result.error["hint"]


def test_version(langlift) -> None:
    assert langlift("--version").out == f"langlift {version('langlift')}\n"


def test_an_option_has_its_settings_full_name_too(langlift, tmp_path: Path) -> None:
    command = ["task", "topic", "--base", "langlift-nano", "--data", tmp_path, "--out", tmp_path / "run", "--json"]
    for option in ("--lr", "--learning-rate"):
        refusal = langlift(*command, option, 2)
        assert (refusal.code, refusal.error["error"]) == (2, "--learning-rate must be at most 1, not 2.0")


def test_the_command_line_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == module("cli_reference").reference(), "run make docs"


def test_importing_and_asking_for_help_loads_no_heavy_library() -> None:
    program = (
        "import sys, langlift, langlift.cli.main\n"
        "heavy = {'torch', 'transformers', 'sklearn', 'peft', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_python_interface_names_what_it_promises() -> None:
    import langlift

    for name in langlift.__all__:
        assert callable(getattr(langlift, name))
    with pytest.raises(AttributeError):
        langlift.no_such_thing  # noqa: B018


def test_zero_shot_needs_only_the_test_split(
    langlift, tiny_bert: Path, topic_folder: Path, tmp_path: Path
) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    rows = "category\ttext\nsports\tIt-tim rebaħ il-logħba.\ntravel\tIl-vapur telaq kmieni.\n"
    (foreign / "test.tsv").write_text(rows, encoding="utf-8")
    arguments = [
        "task",
        "topic",
        "--base",
        tiny_bert,
        "--data",
        foreign,
        "--train-data",
        topic_folder,
        "--epochs",
        1,
    ]
    result = langlift(*arguments, "--seeds", "1", "--out", tmp_path / "run", "--json")
    assert result.code == 0, result.err
    assert result.json["test_examples"] == 2
    (foreign / "test.tsv").write_text(rows + "nature\tIs-siġra kbira.\n", encoding="utf-8")
    result = langlift(*arguments, "--out", tmp_path / "other", "--json")
    assert result.code == 2
    assert "test.tsv:4: the label 'nature' never occurs" in result.error["error"]
    (foreign / "test.tsv").write_text(rows.replace("kmieni", "tard"), encoding="utf-8")
    changed = langlift(*arguments, "--seeds", "1", "--out", tmp_path / "run", "--resume", "--json")
    assert changed.code == 2, "another test set is another run"
    assert "data_sha256" in changed.error["error"]
    full = langlift(
        *arguments, "--method", "full", "--language-adapter", tmp_path, "--out", tmp_path / "x", "--json"
    )
    assert "cannot be stacked" in full.error["error"]


def test_an_interrupted_command_says_how_to_go_on(
    langlift, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from langlift import demonstration
    from langlift.training import adaptation

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(demonstration, "demo", interrupt)
    result = langlift("demo", "--out", tmp_path / "demo")
    assert result.code == 130
    assert "run the same command again" in result.err
    assert "--resume" not in result.err, "it has no such option"
    monkeypatch.setattr(adaptation, "adapt", interrupt)
    result = langlift("adapt", "mlt", "--base", "x", "--data", tmp_path, "--out", tmp_path / "run")
    assert result.code == 130
    assert "--resume" in result.err


def test_escapes_in_names_do_not_reach_the_terminal(langlift, tmp_path: Path) -> None:
    result = langlift("score", "--base", "langlift-nano", "--text", tmp_path / "\x1b[2J\u202ekm \u200bx.txt")
    assert result.code == 2
    assert "\x1b" not in result.err and "\u202e" not in result.err
    assert "\ufffd[2J\ufffdkm \u200bx.txt" in result.err, "Khmer needs its zero-width spaces"


def test_alone_it_says_what_to_do_first(langlift) -> None:
    alone, full = langlift(), langlift("--help")
    assert alone.code == full.code == 0
    assert len(alone.out.splitlines()) < 16
    commands = re.findall(r"^  langlift (\S+)(.*)$", alone.out, re.MULTILINE)
    assert [name for name, _ in commands] == ["demo", "languages", "adapt", "score", "playground"]
    for name, rest in commands:
        usage = langlift(name, "--help").out
        assert [option for option in re.findall(r"--\w+", rest) if option not in usage] == [], name
    assert "langlift --help" in alone.out and "Usage:" in full.out
    assert langlift("-h").out == full.out


def test_the_shell_completes_commands_and_options() -> None:
    def completed(words: str) -> list[str]:
        environment = os.environ | {
            "_LANGLIFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))
        }  # fmt: skip
        program = "import sys; sys.argv = ['langlift']; from langlift.cli.main import main; main()"
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.split()

    assert completed("langlift ada") == ["adapt", "adapt-family"]
    assert completed("langlift score --te") == ["--text"]
