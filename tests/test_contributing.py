"""The worked examples of CONTRIBUTING.md: real changes, which still apply, are short, and pass their own tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PATCHES = ROOT / "tests" / "contributing"
LONGEST = 80
TESTS = {
    "backbone": ("tests/test_backbones.py", "-k", "mistral"),
    "method": ("tests/test_loha.py", "tests/test_method.py"),
    "task": ("tests/test_intent.py",),
    "graph-source": ("tests/test_wordnet.py",),
}


def test_the_table_names_every_package() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("| package |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    package = ROOT / "src" / "langlift"
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert named == {room for room in rooms if not room.startswith("__")} - {"py.typed"}


def test_every_example_has_its_tests() -> None:
    assert {path.stem for path in PATCHES.glob("*.patch")} == set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_an_example_is_short_and_applies(name: str) -> None:
    patch = PATCHES / f"{name}.patch"
    changed = [
        line
        for line in patch.read_text(encoding="utf-8").splitlines()
        if line[:1] in "+-" and not line.startswith(("+++", "---"))
    ]
    assert len(changed) < LONGEST
    _apply(patch, ROOT, "--check")


@pytest.mark.slow
@pytest.mark.parametrize("name", TESTS)
def test_an_example_passes_its_own_tests(name: str, tmp_path: Path) -> None:
    skipped = shutil.ignore_patterns(
        "__pycache__", ".venv*", ".git", "site", "dist", "build", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, tmp_path / "tree", ignore=skipped)
    _apply(PATCHES / f"{name}.patch", tmp_path / "tree")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "tree" / "src")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *TESTS[name]],
        cwd=tmp_path / "tree", env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-4000:]
    assert " passed" in run.stdout


def _apply(patch: Path, tree: Path, *options: str) -> None:
    # Told that there is no repository around it, git applies to the folder as it is.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    command = ["git", "apply", *options, str(patch)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{patch.name} no longer applies; make it anew:\n{done.stderr}"
