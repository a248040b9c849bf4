"""A run's folder: nothing half-written is ever left, and a run is not mistaken for another."""

import errno
import json
import os
import shutil
import sys

import pytest
import yaml

from langlift.errors import InputError, LangliftError
from langlift.files import atomic_file, atomic_files, atomic_folder, write_json, write_text
from langlift.training.run import open_run
from langlift.training.run_folder import METRICS, RECIPE, is_finished, read_metrics

RUN = {"command": "adapt", "inputs": {"base": "nano", "data": "ħ.txt"}, "adapt": {"steps": 10, "seed": 1}}


def tree(folder):
    """Every file below a folder with its content, and every empty folder."""
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8") if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.is_file() or not any(path.iterdir())
    }


def opened(*arguments, **options):
    """Open a run, and leave it as a process does that was stopped then."""
    with open_run(*arguments, **options) as run:
        return run


class Killed(BaseException):
    """Stands for what no `except Exception` sees, as an interrupt from the keyboard."""


@pytest.mark.parametrize("error", [Killed, ValueError])
def test_a_failed_write_leaves_the_old_content_and_nothing_else(tmp_path, error):
    write_text(tmp_path / "file", "old")
    with atomic_folder(tmp_path / "folder") as staging:
        write_text(staging / "inner", "old")
    before = tree(tmp_path)
    assert before == {"file": "old", "folder/inner": "old"}
    with pytest.raises(error), atomic_file(tmp_path / "file") as staging:
        staging.write_text("new")
        raise error
    with pytest.raises(error), atomic_folder(tmp_path / "folder") as staging:
        (staging / "inner").write_text("new")
        raise error
    with pytest.raises(error), atomic_files(tmp_path / "folder") as staging:
        (staging / "inner").write_text("new")
        (staging / "other").write_text("new")
        raise error
    with pytest.raises(error), atomic_file(tmp_path / "fresh") as staging:
        raise error
    assert tree(tmp_path) == before


def test_a_successful_write_replaces_what_was_there(tmp_path):
    write_text(tmp_path / "deep" / "er" / "file", "ħobż")
    write_text(tmp_path / "deep" / "er" / "file", "ዳቦ")
    for content in ("one", "two"):
        with atomic_folder(tmp_path / "folder") as staging:
            (staging / content).write_text(content)
    for content in ("three", "four"):
        with atomic_files(tmp_path / "run") as staging:
            assert list(staging.iterdir()) == []
            (staging / "kept").write_text(content)
            (staging / content).write_text(content)
    assert tree(tmp_path) == {
        "deep/er/file": "ዳቦ",
        "folder/two": "two",
        "run/kept": "four",
        "run/three": "three",
        "run/four": "four",
    }


def test_the_target_is_not_touched_before_the_end(tmp_path):
    write_text(tmp_path / "file", "old")
    with atomic_file(tmp_path / "file") as staging:
        staging.write_text("new")
        assert (tmp_path / "file").read_text() == "old"
    assert (tmp_path / "file").read_text() == "new"


def test_what_a_killed_process_left_does_not_get_into_the_next_write(tmp_path):
    for write, target in ((atomic_folder, tmp_path / "folder"), (atomic_files, tmp_path / "run")):
        abandoned = write(target)
        (abandoned.__enter__() / "half").write_text("half")
        with write(target) as staging:
            (staging / "whole").write_text("whole")
        del abandoned
    assert tree(tmp_path) == {"folder/whole": "whole", "run/whole": "whole"}


def test_refusals_of_the_operating_system_are_told_with_the_target(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    said = r"file: cannot be written \(No space left"
    with pytest.raises(LangliftError, match=said) as disk_full, atomic_file(tmp_path / "file"):
        raise full
    assert disk_full.value.exit_code == 1
    assert disk_full.value.hint == "check free space and permissions", "not every command has --resume"
    assert tree(tmp_path) == {}
    with (
        pytest.raises(LangliftError, match=said) as in_a_run,
        open_run(tmp_path / "run", RUN, resume=False),
        atomic_file(tmp_path / "run" / "file"),
    ):
        raise full
    assert "--resume" in in_a_run.value.hint
    shutil.rmtree(tmp_path / "run")
    write_text(tmp_path / "plain", "x")
    for write in (atomic_file, atomic_folder, atomic_files):
        with pytest.raises(LangliftError, match="cannot be written"), write(tmp_path / "plain" / "below"):
            pass
    assert tree(tmp_path) == {"plain": "x"}


def test_a_new_run_records_recipe_and_versions(tmp_path):
    opened(tmp_path / "run", RUN, resume=False)
    text = (tmp_path / "run" / RECIPE).read_text(encoding="utf-8")
    assert yaml.safe_load(text) == RUN
    assert "ħ.txt" in text
    versions = json.loads((tmp_path / "run" / "versions.json").read_text())
    assert {"python", "langlift", "torch", "transformers"} <= set(versions)
    assert set(tree(tmp_path / "run")) == {RECIPE, "versions.json"}


def test_a_folder_that_holds_a_run_is_refused_without_resume(tmp_path):
    opened(tmp_path, RUN, resume=False)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="already contains a run") as refusal:
        opened(tmp_path, RUN, resume=False)
    assert "--resume" in refusal.value.hint
    opened(tmp_path, RUN, resume=True)
    assert tree(tmp_path) == before


def test_a_run_refused_before_it_started_leaves_its_folder_free(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "new"):
        with pytest.raises(InputError), open_run(folder, RUN, resume=False):
            raise InputError("the model has no layer 99")
        opened(folder, RUN | {"adapt": {"steps": 20}}, resume=False)
    before = tree(folder)
    fewer = open_run(folder, RUN | {"adapt": {"steps": 10}}, resume=True, may_change=frozenset({"steps"}))
    with pytest.raises(InputError), fewer:
        raise InputError("the run is already at step 15")
    assert tree(folder) == before, "what was there before stays"
    with pytest.raises(InputError), open_run(tmp_path / "begun", RUN, resume=False):
        write_text(tmp_path / "begun" / "tokenizer.json", "")
        raise InputError("too little text")
    assert (tmp_path / "begun" / RECIPE).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"adapt": {"steps": 20, "seed": 1}}, "steps = 10, not 20"),
        ({"adapt": {"steps": 10}}, "seed = 1, not None"),
        ({"adapt": {**RUN["adapt"], "rank": 4}}, "rank = None, not 4"),
        ({"inputs": {"base": "nano", "data": "other.txt"}}, "data = 'ħ.txt', not 'other.txt'"),
        ({"command": "task"}, "command = 'adapt', not 'task'"),
    ],
)
def test_a_run_is_not_resumed_with_another_recipe(tmp_path, change, said):
    opened(tmp_path, RUN, resume=False)
    before = tree(tmp_path)
    with pytest.raises(InputError, match="the run was started with") as refusal:
        opened(tmp_path, RUN | change, resume=True, may_change=frozenset({"other"}))
    assert refusal.value.message == f"{tmp_path / RECIPE}: the run was started with {said}"
    assert tree(tmp_path) == before


def test_a_setting_that_may_change_is_recorded_anew(tmp_path):
    opened(tmp_path, RUN, resume=False)
    longer = RUN | {"adapt": {"steps": 99, "seed": 1}}
    opened(tmp_path, longer, resume=True, may_change=frozenset({"steps"}))
    assert yaml.safe_load((tmp_path / RECIPE).read_text(encoding="utf-8")) == longer
    both = RUN | {"adapt": {"steps": 100, "seed": 2}}
    with pytest.raises(InputError, match="seed = 1, not 2"):
        opened(tmp_path, both, resume=True, may_change=frozenset({"steps"}))
    assert yaml.safe_load((tmp_path / RECIPE).read_text(encoding="utf-8")) == longer


def test_in_a_finished_run_nothing_may_change(tmp_path):
    opened(tmp_path, RUN, resume=False)
    write_json(tmp_path / METRICS, {})
    before = tree(tmp_path)
    opened(tmp_path, RUN, resume=True, may_change=frozenset({"steps"}))
    assert tree(tmp_path) == before, "a finished run keeps its own record"
    with pytest.raises(InputError, match="the run was started with steps"):
        opened(
            tmp_path, RUN | {"adapt": {**RUN["adapt"], "steps": 9}}, resume=True, may_change=frozenset({"steps"})
        )


def test_resuming_where_nothing_is_starts_a_run_and_a_file_is_refused(tmp_path):
    opened(tmp_path / "run", RUN, resume=True)
    assert (tmp_path / "run" / RECIPE).is_file()
    write_text(tmp_path / "file", "mine")
    with pytest.raises(InputError, match="is a file"):
        opened(tmp_path / "file", RUN, resume=False)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("damage", ["", "[1]", "adapt: [", "\x01"])
def test_a_damaged_recorded_recipe_is_refused_by_path(tmp_path, damage):
    opened(tmp_path, RUN, resume=False)
    (tmp_path / RECIPE).write_text(damage)
    with pytest.raises(InputError, match="recipe"):
        opened(tmp_path, RUN, resume=True)


def test_a_run_is_finished_once_its_metrics_are_written(tmp_path):
    run = opened(tmp_path, RUN, resume=False)
    (tmp_path / "checkpoints").mkdir()
    assert not is_finished(tmp_path)
    metrics = {"perplexity": 12.5, "language": "Malti ħ", "seeds": [1, 2]}
    run.finish(metrics, card="card")
    assert is_finished(tmp_path) and run.finished
    assert read_metrics(tmp_path) == run.metrics == metrics
    assert {path.name for path in tmp_path.iterdir()} == {RECIPE, METRICS, "README.md", "versions.json"}
    assert "Malti ħ" in (tmp_path / METRICS).read_text(encoding="utf-8")
    (tmp_path / "checkpoints").mkdir()  # as if killed between the last two steps
    opened(tmp_path, RUN, resume=True)
    assert not (tmp_path / "checkpoints").exists()


def test_a_run_is_opened_by_one_process_at_a_time_and_read_by_all(tmp_path):
    with open_run(tmp_path, RUN, resume=False) as run:
        with pytest.raises(LangliftError, match="another process is working on this run") as refusal:
            opened(tmp_path, RUN, resume=True)
        assert sys.platform != "linux" or f"(process {os.getpid()})" in refusal.value.hint
        run.finish({})
        assert opened(tmp_path, RUN, resume=True).finished
    opened(tmp_path, RUN, resume=True)


def test_metrics_of_something_else_are_no_run(tmp_path):
    write_json(tmp_path / METRICS, {})
    with pytest.raises(InputError, match="contains other files"):
        opened(tmp_path, RUN, resume=True)
