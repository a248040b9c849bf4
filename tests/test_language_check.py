"""Warnings about text in another language than the named one: by letters, with and without heliport."""

import subprocess
import sys
from contextlib import redirect_stdout
from importlib.machinery import ModuleSpec
from io import StringIO
from pathlib import Path
from subprocess import CompletedProcess
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

from langlift.corpus.language_check import warn_of_other_language
from langlift.corpus.text_data import load_text_data
from langlift.languages import find_language

HELIPORT = """
class Identifier:
    words = {"swa": {"habari", "jambo"}, "zul": {"sawubona"}, "mlt": {"bongu", "jambo"}}

    def get_confidence_all(self):
        return {code: 0.1 for code in self.words}

    def identify_topk_with_score(self, text, k):
        scores = {code: 7.0 - 3 * sum(w in known for w in text.split()) for code, known in self.words.items()}
        return list(scores.items())[:k] if text.islower() else [("zxx", 7.0)]

    def identify(self, text):
        code, score = min(self.identify_topk_with_score(text, 3), key=lambda pair: pair[1])
        return code if score < 7 else "und"
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package heliport that knows four words, here and in other processes."""
    (tmp_path / "heliport.py").write_text(HELIPORT, encoding="utf-8")
    monkeypatch.delitem(sys.modules, "heliport")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")


@pytest.mark.parametrize(
    ("language", "lines", "warning"),
    [
        ("swh", ["habari", "sawubona"] * 4, None),
        ("swh", ["jambo"] * 9, None),  # as likely Maltese
        ("swh", ["bongu jambo", "12"] * 9, "only 0 of 9 lines look like Swahili, and most like Maltese (mlt"),
        ("zul", ["habari"] * 9 + ["sawubona"], "only 1 of 10 lines look like Zulu, and most like Swahili (swh"),
        ("zul", ["azul fellawen"] * 9, "only 0 of 9 lines look like Zulu, and most like no language"),
        ("zul", ["habari", "bongu"] * 9, "only 0 of 18 lines look like Zulu, and most like no language"),
        ("wol", ["habari"] * 9, None),  # not known
        ("zul_Arab", ["habari"] * 9, None),  # not known in this script
        ("zul", ["12"], None),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("stand_in")
def test_hardly_any_line_in_the_language_is_a_warning(language, lines, warning, capsys) -> None:
    warn_of_other_language(find_language(language), lines)
    said = capsys.readouterr().err
    assert said == "" if warning is None else warning in said and said.count("\n") == 1


def test_a_check_that_fails_is_said(stand_in: None, tmp_path: Path, capsys) -> None:
    (tmp_path / "heliport.py").write_text("raise SystemExit(9)", encoding="utf-8")
    warn_of_other_language(find_language("swh"), ["habari"])
    assert capsys.readouterr().err == "warning: the language of the text was not checked: heliport ended with 9\n"


def test_without_the_package_nothing_is_said(capsys) -> None:
    warn_of_other_language(find_language("swh"), ["bongu"] * 9)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("language", "line", "warning"),
    [
        ("wol", "ɣur-s aḍar n wezger", "13.3% of the letters are not in the alphabet of Wolof (ɣ ḍ); check"),
        ("kab", "ɣur-s aḍar n wezger", None),
        ("kab", "γur-s aḍar n wezger", "(γ); "),  # the Greek letter
        ("wol", "Ñu jàpp ne ŋ", None),
        ("wol", "abcdefghijklmnopqrstuvwxyz" * 3 + "ɣ", None),
        ("yor", "ọ̀nà ọba", None),  # ọ̀ is not a single character
        ("mlt_Arab", "ɣɣ", None),  # its alphabet is not known
        ("mlt", "12", None),
    ],
)
def test_letters_that_the_language_does_not_use_are_a_warning(language, line, warning, capsys) -> None:
    warn_of_other_language(find_language(language), [line])
    said = capsys.readouterr().err
    assert said == "" if warning is None else warning in said and said.count("\n") == 1


@pytest.fixture(scope="module")
def identifier() -> Any:
    with mock.patch.dict(sys.modules):
        sys.modules.pop("heliport")
        return pytest.importorskip("heliport").Identifier()


@pytest.fixture
def heliport(identifier: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check in this process, so that heliport's models are loaded once."""

    def run(command: list[str], input: str, **_: Any) -> CompletedProcess:  # noqa: A002
        monkeypatch.setattr(sys, "stdin", StringIO(input))
        with redirect_stdout(StringIO()) as out:
            exec(command[-1], {})
        return CompletedProcess(command, 0, out.getvalue())

    package = ModuleType("heliport")
    package.Identifier, package.__spec__ = lambda: identifier, ModuleSpec("heliport", None)
    monkeypatch.setitem(sys.modules, "heliport", package)
    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.data
@pytest.mark.usefixtures("heliport")
def test_no_real_text_is_suspected_under_its_own_name(data_folder: Path, capsys) -> None:
    paths = sorted((data_folder / "corpus").glob("*.txt"))
    assert len(paths) >= 39
    for path in paths:
        warn_of_other_language(find_language(path.stem), load_text_data(path).train)
        assert capsys.readouterr().err == "", path.stem


@pytest.mark.data
@pytest.mark.usefixtures("heliport")
@pytest.mark.parametrize(
    ("name", "text", "seen"),
    [
        ("tso_Latn", "kab_Latn", "alphabet of Tsonga"),
        ("wol_Latn", "kab_Latn", "8.7% of the letters are not in the alphabet of Wolof (ɣ ṛ ț ɛ ḥ)"),
        ("ita_Latn", "mlt_Latn", "alphabet of Italian (ħ"),
        ("zul_Latn", "swh_Latn", "most like Swahili (swh_Latn)"),
        ("est_Latn", "fin_Latn", "most like Finnish (fin_Latn)"),
        ("tir_Ethi", "amh_Ethi", "most like Amharic (amh_Ethi)"),
        ("nno_Latn", "nob_Latn", None),
        ("zsm_Latn", "ind_Latn", None),
        ("uzn_Latn", "tur_Latn", "alphabet of Uzbek (ı"),
    ],
)
def test_a_wrong_name_is_a_warning_unless_closely_related(data_folder: Path, capsys, name, text, seen) -> None:
    warn_of_other_language(find_language(name), load_text_data(data_folder / "corpus" / f"{text}.txt").train)
    said = capsys.readouterr().err
    assert said == "" if seen is None else seen in said
