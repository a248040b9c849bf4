"""What is published: the citation, what a wheel must hold, and (slow) the whole of `make release`."""

import importlib.util
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def module(name: str):
    """A program of tools/, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_the_citation_agrees_with_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= cited.keys(), "what the format requires"
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    assert {work["identifiers"][0]["value"] for work in cited["references"]} == {
        f"arXiv:{number}" for number in ("2502.10140", "2407.01406", "2405.12413", "2312.02923")
    }
    for work in cited["references"]:
        assert {"type", "title", "authors", "year"} <= work.keys()
        assert all({"family-names", "given-names"} <= author.keys() for author in work["authors"])


def test_the_licence_is_the_one_named() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:200]


def test_a_wheel_that_is_too_large_or_incomplete_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = module("release")
    wheel = tmp_path / "langlift-0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        for name in release.NEEDED:
            file.writestr(name, "x")
    release.check_wheel(wheel)
    monkeypatch.setattr(release, "LARGEST_WHEEL", 100)
    with pytest.raises(SystemExit, match="100 or more"):
        release.check_wheel(wheel)
    monkeypatch.undo()
    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr("tests/test_x.py", "x")
    with pytest.raises(SystemExit, match="none of the package's"):
        release.check_wheel(wheel)
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("langlift/py.typed", "")
    with pytest.raises(SystemExit, match="lacks langlift/bundled"):
        release.check_wheel(wheel)


def test_files_are_checked_before_a_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = module("check_files")
    good, conflict, endless, large = (tmp_path / name for name in ("good", "conflict", "endless", "large"))
    good.write_text("text\n")
    conflict.write_text("a\n" + "<" * 7 + " HEAD\nb\n")
    endless.write_text("text")
    large.write_bytes(b"\0" * 600_000)
    assert check.main([str(good)]) == 0
    assert check.main([str(conflict), str(endless), str(large)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1][:12] for line in said] == ["holds the ma", "its last lin", "600,000 byte"]


def test_workflow_and_hooks_are_what_they_say() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    assert [step["run"] for step in workflow["jobs"]["test"]["steps"] if "run" in step] == ["make test"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    programs = [hook["entry"].split()[0] for hook in hooks]
    assert set(programs) <= {f".venv/bin/{name}" for name in ("ruff", "mypy", "lint-imports", "python")}


@pytest.mark.slow
def test_the_release_builds_and_runs(tmp_path: Path) -> None:
    for extra in ("build", "twine"):
        pytest.importorskip(extra, reason="the extra 'release' is not installed; make test-all installs it")
    run = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "release.py"), str(tmp_path / "dist")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, f"{run.stdout[-2000:]}\n{run.stderr[-2000:]}"
    assert "checked, installed and run" in run.stdout and "twine upload" in run.stdout
    name = f"langlift-{version('langlift')}"
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {f"{name}-py3-none-any.whl", f"{name}.tar.gz"}


def test_users_do_not_install_the_developers_tools() -> None:
    def commands(*goals: str) -> str:
        make = ["make", "--dry-run", "--always-make", "TORCH_INDEX=https://torch.example", *goals]
        return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    for goal in ("install", "demo"):
        printed = commands(goal)
        assert "'.[language-id,playground,vocab]'" in printed and ".[dev]" not in printed, printed
        assert "2 GB" in printed and "--index-url https://torch.example" in printed
    for goal in ("install-dev", "lint", "test", "docs", "release"):
        printed = commands(goal)
        assert printed.index("'.[language-id,playground,vocab]'") < printed.index("'.[dev]'"), goal
    assert "--quiet" not in commands("test-all")
    assert "--index-url" not in commands("install", "TORCH_INDEX=")
    editable = [line for line in commands("test-all").splitlines() if "--editable" in line]
    assert len(editable) == 5 and all("--constraint constraints.txt" in line for line in editable)
