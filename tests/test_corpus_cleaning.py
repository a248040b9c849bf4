"""Cleaning text: what goes, what stays, and that cleaning twice is cleaning once."""

import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.corpus.cleaning import clean_document

fuzzing = settings(derandomize=True, deadline=None, max_examples=200)
PIECES = (
    "Il-qattus", "ħobż", "ئۇيغۇر", "ไทย", "ትግርኛ", "e\u0301", "\u0958", " ", "\n", "\t", "\u200b", "\u200d", "\x00",
    "<", ">", "<b>", "</b>", "<p class='x'>", "<!--", "-->", "<script>", "</script>", "<ref>", "</ref>",
    "&amp;", "&lt;", "&#10;", "&#x110000;", "&", ";", "lt", "amp", "[[", "]]", "[", "]", "|", "{{", "}}",
    "{|", "|}", "''", "'", "=", "==", "http://a.mt/b", "https://", "www.", "x@y.mt", "@", "(", ")", "[1]",
    "File:x.jpg", "thumb|", "__TOC__", "_", "!", ".", "\ud800",
)  # fmt: skip
markup = st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60)


@fuzzing
@given(text=markup)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    lines, _ = clean_document(text)
    assert clean_document("\n".join(lines)) == (lines, [])


@fuzzing
@given(text=markup)
def test_what_is_left_is_normal_text(text: str) -> None:
    for line in clean_document(text)[0]:
        assert line
        assert line == " ".join(line.split())
        assert unicodedata.is_normalized("NFC", line)
        assert not {c for c in line if unicodedata.category(c) in ("Cc", "Cs")}
        line.encode("utf-8")


@fuzzing
@given(
    words=st.lists(
        st.sampled_from(["Il-qattus", "raqad,", "fix-xemx.", "ئۇيغۇر", "ไทย", "«ħobż»", "5", "R&D", "a/b"])
    )
)
def test_plain_text_stays_as_it_is(words: list[str]) -> None:
    line = " ".join(words)
    assert clean_document(line) == ([line] if line else [], [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Cafe\u0301 tajjeb", "Café tajjeb"),
        ("  Il-\u200bqattus\u00ad \u2028 raqad\x07 ", "Il-qattus raqad"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("<p>Il-<b>ħelu</b> &amp; il-morr</p>", "Il-ħelu & il-morr"),
        ("&amp;lt;br&amp;gt; tajjeb", "tajjeb"),
        ("a < b u c > d", "a < b u c > d"),
        ("Ara <Kanye> illum", "Ara <Kanye> illum"),
        ("Ara https://x.mt/a?b=1, u www.y.mt.", "Ara , u ."),
        ("[https://x.mt Is-sit] tagħna", "Is-sit tagħna"),
        ("[Is-sit](https://x.mt) tagħna", "Is-sit tagħna"),
        ("ดูที่ https://x.com/aไทย ดี", "ดูที่ ไทย ดี"),
        ("Ikteb lil <isem@post.mt> illum", "Ikteb lil illum"),
        ("[[Malta|Maltin]] u [[Għawdex]]", "Maltin u Għawdex"),
        ("[[File:x.jpg|thumb|Stampa]] Il-belt [1] sabiħa", "Il-belt sabiħa"),
        ("{{infobox|{{x}}}}Il-belt", "Il-belt"),
        ("== Storja ==", "Storja"),
        ("2 + 2 = 4", "2 + 2 = 4"),
        ("'''Malta''' hija ''gżira''", 'Malta hija "gżira"'),
        ("| kolonna || oħra", ""),
        ("|Gôas ge ||Gau-aob", "|Gôas ge ||Gau-aob"),
        ("ខ្ញុំ\u200bស្រលាញ់", "ខ្ញុំ\u200bស្រលាញ់"),
        ("ᠠᠨ\u180eᠠ", "ᠠᠨ\u180eᠠ"),
        ("Qal __hekk__ u __TOC__ mar", "Qal __hekk__ u mar"),
        ("Il-gżejjer Hawai''i u O''ahu", "Il-gżejjer Hawai''i u O''ahu"),
        ("il-gżira (www.malta.mt) hawn", "il-gżira hawn"),
    ],
)
def test_examples(before: str, after: str) -> None:
    assert " ".join(clean_document(before)[0]) == after


def test_markup_over_several_lines_goes_and_the_changed_lines_are_known() -> None:
    lines, changed = clean_document(
        "Qabel\n<!-- nota\ntwila --> wara\n{| tabella\n| x\n|}\n<style>\np {}\n</style>Tmiem"
    )
    assert lines == ["Qabel", "wara", "Tmiem"]
    assert ("twila --> wara", "wara") in changed
    assert ("Qabel", "Qabel") not in changed


@pytest.mark.parametrize(
    "piece", ["[[", "{{", "<a ", "<!--", "&amp;", "''", "a@", "www.", "[a|", "= ", "<script>", "{|"]
)
def test_floods_of_markup_take_no_long(piece: str) -> None:
    started = time.process_time()
    clean_document(piece * 20_000)
    assert time.process_time() - started < 5
