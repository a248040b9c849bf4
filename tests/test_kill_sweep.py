"""Every command that writes, killed (-9) at its writes and run again, ends in the same files."""

import hashlib
import json
import os
import re
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from langlift.cli.main import main

WRITES = ("replace", "rename", "fsync", "mkdir", "rmdir", "unlink")
COMMANDS = ("adapt", "task", "pretrain", "adapt-family", "corpus", "graph", "vocab", "export", "import", "study")
RESUMED = ("adapt", "task", "pretrain", "adapt-family")
CHEAP = ("adapt", "corpus", "graph")
VOLATILE = (
    "metrics.json",
    "manifest.json",
    "run.json",
    "progress.jsonl",
    "README.md",
    "versions.json",
    "recipe.yaml",
)
"""Files with times or places; of them only the presence is compared. Weights, text and predictions are."""


@pytest.fixture(scope="module")
def prepared(
    tmp_path_factory, tiny_xlm_roberta, topic_folder, maltese_lines, adapted_runs
) -> dict[str, list[object]]:
    """The command line of each command, without ``--out``."""
    folder = tmp_path_factory.mktemp("sweep")
    text, base = folder / "text.txt", ["--base", tiny_xlm_roberta]
    text.write_text("\n\n".join("\n".join(maltese_lines[i : i + 5]) for i in range(0, 100, 5)), encoding="utf-8")
    exact = ["--precision", "float32", "--set", "save_steps=2", "--batch-size", 4]
    (folder / "other.txt").write_text("\n\n".join(maltese_lines[:60]), encoding="utf-8")
    languages = {"mlt": str(text), "ita": str(folder / "other.txt")}
    family = {"name": "small", "base": str(tiny_xlm_roberta), "languages": languages}
    (folder / "family.yaml").write_text(yaml.safe_dump(family), encoding="utf-8")
    study = {
        "base": str(tiny_xlm_roberta), "languages": "mlt", "data": {"text": str(text)},
        "axes": {"method": "seq_bn"}, "score": {"text": str(text), "sentences": 2},
        "adapt": {"steps": 4, "batch_size": 4, "save_steps": 2, "precision": "float32"},
    }  # fmt: skip
    (folder / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    exported = folder / "exported"
    assert run(["export", adapted_runs / "seq_bn_inv", "--to", "adapterhub", "--out", exported])[0] == 0
    small = ["--set", "layers=1", "--set", "hidden_size=16", "--set", "attention_heads=2", "--set",
             "feed_forward_size=32", "--set", "vocabulary_size=400", "--set", "row_tokens=64", "--set",
             "max_tokens=64"]  # fmt: skip
    return {
        "adapt": ["adapt", "mlt", *base, "--data", text, "--steps", 4, *exact],
        "task": ["task", "topic", *base, "--data", topic_folder, "--epochs", 1, "--seeds", "1,2", *exact[:2]],
        "pretrain": ["pretrain", "--corpus", text, "--steps", 4, *small, "--precision", "float32"],
        "adapt-family": ["adapt-family", folder / "family.yaml", "--steps", 4, *exact],
        "corpus": ["corpus", "build", "mlt", "--source", f"file:{text}"],
        "graph": ["graph", "build", "mlt", "--source", f"conceptnet:{GRAPH}"],
        "vocab": ["vocab", "build", "small", *base, "--corpus", text, "--size", 400],
        "export": ["export", adapted_runs / "seq_bn_inv", "--to", "adapterhub"],
        "import": ["import", exported, *base],
        "study": ["study", "run", folder / "study.yaml"],
    }


GRAPH = Path(__file__).parent.parent / "src/langlift/bundled/mlt_Latn_graph.tsv"


def run(arguments: list[object], at: int = 0, stop: int = signal.SIGKILL) -> tuple[int, int, int, str]:
    """A command in a child of this process, which gets a signal before its write ``at`` (0: never).

    Returns its status, the number of its writes, its process and what it wrote to stderr.
    """
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def counted(original):
            def write(*given, **named):
                nonlocal count
                count += 1
                if count == at:
                    os.kill(os.getpid(), stop)
                return original(*given, **named)

            return write

        status = 1
        try:
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(tell, 2)
            import sys

            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            for name in WRITES:
                setattr(os, name, counted(getattr(os, name)))
            try:
                main([*map(str, arguments), "--json"])
            except SystemExit as end:
                status = int(end.code or 0)
            sys.stderr.write(f"\nwrites {count}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(tell)
    if stop == signal.SIGSTOP:
        os.waitpid(child, os.WUNTRACED)
        return 0, at, child, ""
    with open(told, encoding="utf-8") as heard:  # noqa: PTH123
        err = heard.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = re.search(r"^writes (\d+)$", err, flags=re.MULTILINE)
    return status, int(found[1]) if found else 0, child, err


def content(out: Path) -> dict[str, str]:
    """The files of a folder, with hashes of those whose content two runs share."""
    return {
        str(path.relative_to(out)): "" if path.name in VOLATILE else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.suffix not in (".svg", ".yaml")
    }


def swept(name: str, arguments: list[object], tmp_path: Path, places: int) -> None:
    """Kill the command at some of its writes, each time in a new folder, and run it again."""
    whole, resume = tmp_path / "whole" / "out", ["--resume"] if name in RESUMED else []
    status, writes, _, err = run([*arguments, "--out", whole])
    assert status == 0, err
    assert writes > 2
    for at in sorted({1 + round(part * (writes - 1) / (places + 1)) for part in range(1, places + 1)}):
        out = tmp_path / f"killed-{at}" / "out"
        assert run([*arguments, "--out", out], at)[0] == -signal.SIGKILL
        status, _, _, err = run([*arguments, "--out", out, *resume])
        if status:  # nothing is overwritten: it was complete
            assert name not in (*RESUMED, "study") and "the folder is not empty" in err, (at, err)
        assert content(out) == content(whole), f"{name} killed at write {at} of {writes}"
        left = [path.name for path in out.parent.iterdir() if path != out]
        assert left == [] or status, f"{name} killed at write {at}: left {left}"
        shutil.rmtree(out.parent)


@pytest.mark.parametrize("name", CHEAP)
def test_killed_at_a_write_and_run_again_it_ends_the_same(prepared, name: str, tmp_path: Path):
    swept(name, prepared[name], tmp_path, places=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_many_writes_and_run_again_it_ends_the_same(prepared, name: str, tmp_path: Path):
    swept(name, prepared[name], tmp_path, places=6)


@pytest.mark.parametrize("name", ["adapt", "study"])
def test_a_second_process_is_refused_by_the_name_of_the_first(prepared, name: str, tmp_path: Path):
    out = tmp_path / "out"
    first = run([*prepared[name], "--out", out], 8, signal.SIGSTOP)[2]
    try:
        again = ["--resume"] if name in RESUMED else []
        status, _, _, err = run([*prepared[name], "--out", out, *again])
        error = json.loads(next(line for line in err.splitlines() if line.startswith("{")))
        assert status == 1 and f"process {first}" in error["hint"] and str(out) in error["error"]
    finally:
        os.kill(first, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(first, 0)
