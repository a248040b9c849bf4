"""Every shell block of the pages that is not marked otherwise, run in order, page by page, offline (slow)."""

import gzip
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from doc_blocks import PAGES, ROOT, blocks

BUNDLED = Path(str(files("langlift"))) / "bundled"
STAND_INS = {
    "FacebookAI/xlm-roberta-base": "tiny_xlm_roberta",
    "xlm-roberta-base": "tiny_xlm_roberta",
    "google-bert/bert-base-multilingual-cased": "tiny_bert",
}
"""Models of the hub that pages name, and the tiny one that stands in the hub's cache in their place."""
CODES = ("cy", "mt", "sw", "yo")
RUN = [page for page in PAGES if any(b.shell and b.reason is None and not b.setup for b in blocks(page))]


@pytest.fixture(scope="module")
def examples(
    tmp_path_factory: pytest.TempPathFactory,
    maltese_lines: list[str],
    tiny_bert: Path,
    tiny_xlm_roberta: Path,
    treebank: Path,
) -> Path:
    """What the pages' setup blocks copy: text, labelled data, triples and tiny models."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "text.txt").write_text("\n".join(maltese_lines[:240]) + "\n", encoding="utf-8")
    shutil.copytree(BUNDLED / "mlt_Latn_topic", folder / "topic")
    shutil.copytree(tiny_bert, folder / "tiny-bert")
    shutil.copytree(tiny_xlm_roberta, folder / "tiny-xlm-roberta")
    shutil.copytree(treebank, folder / "treebank")
    _write_graphs(folder)
    (folder / "sentiment").mkdir()
    (folder / "ner").mkdir()
    for split, count in (("train", 24), ("dev", 8), ("test", 8)):
        rows = [f"{('good', 'bad')[i % 2]}\t{line}" for i, line in enumerate(maltese_lines[:count])]
        (folder / "sentiment" / f"{split}.tsv").write_text("\n".join(["label\ttext", *rows]) + "\n")
        words = [f"Malta B-LOC\n{line.split()[0]} O\nMaria B-PER\n" for line in maltese_lines[:count]]
        (folder / "ner" / f"{split}.conll").write_text("\n".join(words), encoding="utf-8")
    return folder


def _write_graphs(folder: Path) -> None:
    """The bundled part of ConceptNet, once for each of the pages' languages; and its Maltese as a table."""
    dump = (BUNDLED / "mlt_Latn_graph.tsv").read_text(encoding="utf-8")
    with gzip.open(folder / "conceptnet.csv.gz", "wt", encoding="utf-8") as file:
        file.writelines(dump.replace("/c/mt/", f"/c/{code}/") for code in CODES)
    edges = (line.split("\t")[1:4] for line in dump.splitlines())
    rows = [
        f"{head.split('/')[3]}\t{relation.removeprefix('/r/')}\t{tail.split('/')[3]}"
        for relation, head, tail in edges
    ]
    (folder / "triples.tsv").write_text("\n".join(["head\trelation\ttail", *rows]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, examples: Path, tiny_bert: Path, tiny_xlm_roberta: Path
) -> dict[str, str]:
    """No network, ``langlift`` with a small budget, tiny models under the names of the hub's."""
    home = tmp_path_factory.mktemp("home")
    for name, kind in STAND_INS.items():
        cached = home / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(
            {"tiny_bert": tiny_bert, "tiny_xlm_roberta": tiny_xlm_roberta}[kind], cached / "snapshots" / "0"
        )
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text("0")
    program = home / "bin" / "langlift"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT / "tests" / "docs_langlift.py"}" "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": str(ROOT / "src"),
        "EXAMPLES": str(examples),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",  # where nobody listens
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_page_runs(page: Path, environment: dict[str, str], tmp_path: Path) -> None:
    script = ["set -euo pipefail"]
    for block in blocks(page):
        if block.shell and block.reason is None:
            script += [f"echo '=== {block}' >&2", block.text]
    run = subprocess.run(
        ["bash"],
        input="\n".join(script) + "\n",
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-4000:]}"
