"""Filters on lines, and the arrays and hashes below them, against plain Python."""

import re
from collections import Counter

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.corpus.characters import LIMIT, characters_per_word, kinds
from langlift.corpus.filters import line_filters
from langlift.corpus.fingerprints import as_arrays, fingerprint, windows
from langlift.errors import InputError

fuzzing = settings(derandomize=True, deadline=None, max_examples=80)
WORDS = (
    "qattus", "Ħobż", "l-għażla", "IL", "il", "кіт", "ئۇيغۇر", "ไทย", "မြန်မာ", "123", "!", "--", "🐈", "ß",
    "İ", "\ufffd",
)  # fmt: skip
characters = st.characters(exclude_categories=["Cs", "Cc"], max_codepoint=LIMIT - 1)
word = st.sampled_from(WORDS) | st.text("ab. ", min_size=1, max_size=9)
line = st.lists(word, max_size=14).map(" ".join) | st.text(characters, max_size=20)
lines = st.lists(line, max_size=8)


def units_of(line: str, script: str) -> list[str]:
    """The words of a line (or characters, where words are not spaced) as the hashes see them."""
    folded = [f if len(f := c.casefold()) == 1 else (f if len(f := c.lower()) == 1 else c) for c in line]
    kept = "".join(c if regex.match(r"[\p{L}\p{N}\p{M} ፡]", c) else "" for c in folded)
    if characters_per_word(script):
        return list(re.sub("[ ፡]", "", kept))
    return re.split("[ ፡]+", kept.strip(" ፡")) if kept.strip(" ፡") else []


@fuzzing
@given(texts=lines, script=st.sampled_from(["Latn", "Thai"]))
def test_hashes_are_equal_exactly_where_words_and_runs_of_words_are(texts: list[str], script: str) -> None:
    prints = fingerprint(as_arrays(texts), script)
    expected = [(unit, line) for line, text in enumerate(texts) for unit in units_of(text, script)]
    assert prints.unit_lines.tolist() == [line for _, line in expected]
    assert same_partition(prints.units.tolist(), [unit for unit, _ in expected])
    whole = ["".join(units_of(text, script)) for text in texts]
    assert same_partition(prints.lines.tolist(), whole)
    assert [value == 0 for value in prints.lines.tolist()] == [not text for text in whole]
    for size in (1, 2, 5):
        hashes, starts = windows(prints.units, prints.unit_lines, size)
        runs = [
            (line, tuple(units[i : i + size]))
            for line, units in enumerate(units_of(text, script) for text in texts)
            for i in range(len(units) - size + 1)
        ]
        assert prints.unit_lines[starts].tolist() == [line for line, _ in runs]
        assert same_partition(hashes.tolist(), [run for _, run in runs])


def same_partition(left: list, right: list) -> bool:
    return len(left) == len(right) and len(set(left)) == len(set(right)) == len(set(zip(left, right, strict=True)))


def test_hashes_do_not_depend_on_neighbours() -> None:
    alone = fingerprint(as_arrays(["Il-qattus raqad"]), "Latn")
    among = fingerprint(as_arrays(["ħobż", "", "Il-Qattus  raqad!", "x"]), "Latn")
    assert alone.lines[0] == among.lines[2]
    assert alone.units.tolist() == among.units[among.unit_lines == 2].tolist()


@fuzzing
@given(texts=lines.filter(bool))
def test_sizes_are_bytes_with_the_line_end(texts: list[str]) -> None:
    assert as_arrays(texts).sizes.tolist() == [len(f"{text}\n".encode()) for text in texts]


def dropped(texts: list[str], script: str) -> list[set[str]]:
    arrays = as_arrays(texts)
    hits: list[set[str]] = [set() for _ in texts]
    for name, _, drops in line_filters(arrays, fingerprint(arrays, script), script):
        for i in np.flatnonzero(drops):
            hits[i].add(name)
    return hits


def expected(line: str, script: str) -> set[str]:
    """The rules once more, in plain Python."""
    units = units_of(line, script)
    per_word = characters_per_word(script) or 1
    words = len(units) / per_word
    letters, marks = regex.findall(r"\p{L}", line), regex.findall(r"\p{M}", line)
    filled = [c for c in line if c not in " ፡"]
    own = regex.findall(rf"(?V1)[\p{{L}}&&\p{{Script={script}}}]", line)
    common = regex.findall(r"(?V1)[\p{L}&&[\p{Script=Zyyy}\p{Script=Zinh}]]", line)
    runs = sum(len(run.group()) for run in re.finditer(r"(.)\1{4,}", line, re.DOTALL))
    size = 5 * per_word
    ngrams = [tuple(units[i : i + size]) for i in range(len(units) - size + 1)]
    rules = {
        "too_short": words < 2,
        "too_long": words > 1000,
        "damaged": "\ufffd" in line,
        "few_letters": len(letters) + len(marks) < 0.5 * len(filled),
        "other_script": len(own) < 0.5 * (len(letters) - len(common)),
        "repeated_characters": runs > 0.3 * len(filled),
        "repeated_word": words >= 10 and max(Counter(units).values()) > 0.4 * len(units),
        "repeated_phrases": words >= 10 and len(ngrams) - len(set(ngrams)) > 0.3 * max(1, len(ngrams)),
    }
    return {name for name, hit in rules.items() if hit}


@fuzzing
@given(texts=lines.filter(bool), script=st.sampled_from(["Latn", "Thai", "Cyrl"]))
def test_rules_are_what_they_say(texts: list[str], script: str) -> None:
    assert dropped(texts, script) == [expected(text, script) for text in texts]


@pytest.mark.parametrize(
    ("text", "script", "rules"),
    [
        ("Il-qattus raqad fix-xemx.", "Latn", set()),
        ("Kien informat.", "Latn", set()),
        ("Menu", "Latn", {"too_short"}),
        ("kelma " * 1001, "Latn", {"too_long", "repeated_word", "repeated_phrases"}),
        ("Il-q\ufffdattus raqad", "Latn", {"damaged"}),
        ("12:30 45 % | 2024-01-01 tel 21 22", "Latn", {"few_letters"}),
        ("Кіт спить на даху.", "Latn", {"other_script"}),
        ("Кіт спить на даху.", "Cyrl", set()),
        ("Ara hawn !!!!!!!!!!!!!!!!!!!!", "Latn", {"repeated_characters", "few_letters"}),
        ("ixtri " * 12, "Latn", {"repeated_word", "repeated_phrases"}),
        ("ixtri issa u irbaħ premju " * 4, "Latn", {"repeated_phrases"}),
        ("བོད་ཀྱི་སྐད་ཡིག་ནི་བོད་མི་རིགས་ཀྱི་སྐད་ཡིག་རེད།", "Tibt", set()),
        ("မြန်မာစာသည် မြန်မာနိုင်ငံ၏ ရုံးသုံးဘာသာစကား ဖြစ်သည်။", "Mymr", set()),
        ("ภาษาไทยเป็นภาษาราชการของประเทศไทย", "Thai", set()),
        ("ไทย", "Thai", {"too_short"}),
        ("ኢትዮጵያ፡በአፍሪካ፡ቀንድ፡የምትገኝ፡አገር፡ናት።", "Ethi", set()),
        ("日本語は日本で使われている言語です。", "Jpan", set()),
        ("中文是世界上使用人数最多的语言。", "Hans", set()),
        ("한국어는 한국의 공용어이다.", "Kore", set()),
        ("اردو پاکستان کی قومی زبان ہے۔", "Aran", set()),
    ],
)
def test_examples(text: str, script: str, rules: set[str]) -> None:
    assert dropped([text.strip()], script) == [rules]


def test_an_unknown_script_is_one_error() -> None:
    with pytest.raises(InputError, match="unknown script 'Abcd'"):
        kinds("Abcd")
