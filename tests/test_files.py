"""Folders written whole or not at all."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from langlift.errors import InputError, LangliftError
from langlift.files import atomic_file, atomic_files, check_new_folder, new_folder, sha256_of, write_text


def test_a_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "in" / "data"
    with new_folder(target) as folder:
        (folder / "x").touch()
        assert not target.exists()
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["data"]
    plain = tmp_path / "plain"
    plain.mkdir()
    assert target.stat().st_mode == plain.stat().st_mode


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "data") as folder:
        (folder / "x").touch()
        raise ZeroDivisionError
    with pytest.raises(LangliftError, match="cannot be written"), new_folder(tmp_path / "data") as folder:
        (folder / "absent" / "x").touch()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    killed = tmp_path / ".data.x1y2.writing"
    (killed / "folder").mkdir(parents=True)
    with new_folder(tmp_path / "data") as running, suppress(LangliftError):
        with new_folder(tmp_path / "data") as other:
            assert running.exists() and other.exists()
        assert not killed.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_finished_files_are_readable_by_others_and_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with atomic_files(tmp_path / "run") as staging:
        save_file({"weight": torch.zeros(2)}, staging / "adapter.safetensors")
    with atomic_file(tmp_path / "best.safetensors") as staged:
        save_file({"weight": torch.zeros(2)}, staged)
    write_text(tmp_path / "README.md", "text")
    assert len(synced) == 3
    usual = tmp_path / "usual"
    usual.touch()
    for path in (tmp_path / "run" / "adapter.safetensors", tmp_path / "best.safetensors", tmp_path / "README.md"):
        assert path.stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path: Path, there: bool) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    if there:
        real.mkdir()
    link.symlink_to("real")
    with new_folder(link) as folder:
        (folder / "x").touch()
    assert link.is_symlink()
    assert (real / "x").exists()


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    """Whatever a killed process with our number has left behind."""
    (tmp_path / f".data.{os.getpid()}.writing").mkdir()
    with new_folder(tmp_path / "data") as one:
        with new_folder(tmp_path / "other") as other:
            assert one != other
        with pytest.raises(InputError, match="not empty"), new_folder(tmp_path / "data") as second:
            assert second != one
            (tmp_path / "data").mkdir()
            (tmp_path / "data" / "x").touch()
        (tmp_path / "data" / "x").unlink()
    assert (tmp_path / "data").is_dir()


def test_what_cannot_be_replaced_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="is the current folder"):
        check_new_folder(Path())
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda self: self.name == "disk")
    with pytest.raises(InputError, match="disk: is a mount point") as refusal:
        check_new_folder(Path("disk"))
    assert "disk/data" in refusal.value.hint


def test_a_line_that_moves_from_one_file_to_the_next_changes_their_hash(tmp_path: Path) -> None:
    train, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    (train.write_bytes(b"a\nb\n"), dev.write_bytes(b"c\n"))
    assert sha256_of([train]) == hashlib.sha256(b"a\nb\n").hexdigest(), "as sha256sum says"
    before = sha256_of([train, dev])
    (train.write_bytes(b"a\n"), dev.write_bytes(b"b\nc\n"))
    assert sha256_of([train, dev]) != before
