"""What is made of a model's answers, whatever it writes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.evaluation.metrics import entity_spans, macro_f1
from langlift.prompting.formats import read_entities, read_label, tags_of, without_thinking
from langlift.studies.analysis.bootstrap import labels_counted

TOPICS = ["entertainment", "geography", "health", "politics", "science/technology", "sports", "travel"]
TYPES = ["DATE", "LOC", "ORG", "PER"]
PIECES = ["PER", "LOC", "sports", "travel", "label", "<think>", "</think>", "type", "text", "ħ", "\ud800"]
ANYTHING = st.text() | st.lists(st.sampled_from([*'{}[]",:.`* \n', *PIECES])).map("".join)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ('{"label": "sports"}', "sports"),
        ('```json\n{"label": "Sports"}\n```', "sports"),
        ('Sure! {"label":"science/technology"} Anything else?', "science/technology"),
        ('{"label": ["health"]}', "health"),
        ('{"topic": "health"}', "health"),
        ('"travel"', "travel"),
        ("Travel.", "travel"),
        ("**Science / Technology**", "science/technology"),
        ("The topic of this sentence is politics, since it names a minister.", "politics"),
        ("sports or travel", None),
        ("transports", None),
        ('{"label": "cooking"}', None),
        ('{"label": 3}', None),
        ("", None),
        ("[" * 5000, None),
    ],
)
def test_labels_are_read(answer: str, label: str | None) -> None:
    assert read_label(answer, TOPICS) == label


def test_labels_that_hold_others_or_differ_only_in_signs() -> None:
    assert read_label("I would say very good", ["good", "very good"]) == "very good"
    assert read_label("+", ["+", "-"]) == "+"
    assert read_label('{"label": "-"}', ["+", "-"]) == "-"
    assert read_label("neither + nor -", ["+", "-"]) is None


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>sports? no</think>\n\ntravel", "travel"),
        ("sports? no</think>travel", "travel"),
        ("<think>it never ends, sports", ""),
        ("<THINKING>a</THINKING><think>b</think> travel", "travel"),
        ("travel", "travel"),
    ],
)
def test_thinking_is_set_aside(text: str, rest: str) -> None:
    assert without_thinking(text) == rest


@pytest.mark.parametrize(
    "answer",
    [
        '{"entities": [{"type": "PER", "text": "Juma Ali"}, {"type": "LOC", "text": "Dodoma"}]}',
        'Here: [{"type": "person", "text": "Juma Ali"}, {"type": "Location", "text": "Dodoma"}].',
        '[["PER", "Juma Ali"], ["LOC", "Dodoma"]]',
        '{"PER": ["Juma Ali"], "LOC": ["Dodoma"], "ORG": []}',
        '{"entities": {"PER": ["Juma Ali"], "LOC": ["Dodoma"]}}',
        '{"entities": [{"type": "PER", "text": "Juma Ali"}, {"type": "FOOD", "text": "ugali"}, '
        '{"type": "LOC", "text": "Dodoma"}]}',
    ],
)
def test_entities_are_read(answer: str) -> None:
    assert read_entities(answer, TYPES) == [("PER", "Juma Ali"), ("LOC", "Dodoma")]


@pytest.mark.parametrize("answer", ['{"entities": []}', "[]", "{}", "None.", "No entities"])
def test_no_entity(answer: str) -> None:
    assert read_entities(answer, TYPES) == []


@pytest.mark.parametrize(
    "answer", ["", "PER: Juma", '{"entities": [{"type": "PER", "te', '{"a": 1}', "[1, 2]", "{" * 3000]
)
def test_entities_that_cannot_be_read(answer: str) -> None:
    assert read_entities(answer, TYPES) is None


def test_entities_find_their_words() -> None:
    words = ["Juma", "Ali", "aliishi", "Dodoma", "(", "Dodoma", ")", "na", "U.S."]
    found = [
        ("LOC", "dodoma"),
        ("PER", "JumaAli"),
        ("LOC", "Dodoma,"),
        ("LOC", "Dodoma"),
        ("LOC", "U.S"),
        ("PER", "Al"),
    ]
    tags, missed = tags_of(words, found)
    assert tags == ["B-PER", "I-PER", "O", "B-LOC", "O", "B-LOC", "O", "O", "O"]
    assert missed == 3  # a third Dodoma, and ends that are not ends of words


@settings(deadline=None)
@given(ANYTHING)
def test_no_answer_breaks_the_readers(text: str) -> None:
    rest = without_thinking(text)
    assert read_label(rest, TOPICS) in [*TOPICS, None]
    found = read_entities(rest, TYPES)
    assert found is None or all(kind in TYPES and isinstance(name, str) for kind, name in found)
    tags, missed = tags_of(text.split(), found or [])
    assert len(tags) == len(text.split())
    assert missed <= len(found or [])


SPANS = st.lists(st.tuples(st.sampled_from(["O", *TYPES]), st.integers(1, 3)), min_size=1, max_size=8)
WORDS = st.lists(
    st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=5),
    min_size=24,
    max_size=24,
    unique=True,
)


@settings(deadline=None)
@given(
    SPANS,
    WORDS,
    st.sampled_from(["{}", "```json\n{}\n```", "The entities are: {} as asked.", "<think>[1</think>{}"]),
)
def test_entities_come_back_as_they_were(spans: list[tuple[str, int]], words: list[str], frame: str) -> None:
    tags: list[str] = []
    for kind, length in spans:
        tags += ["O"] * length if kind == "O" else [f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
    words = [f"{number}_{word}" for number, word in enumerate(words[: len(tags)])]
    entities = [{"type": kind, "text": " ".join(words[a:b])} for kind, a, b in entity_spans(tags)]
    answer = frame.replace("{}", json.dumps({"entities": entities}, ensure_ascii=False))
    found = read_entities(without_thinking(answer), TYPES)
    assert found is not None
    assert tags_of(words, found) == (tags, 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["a", "b", "c", None])), min_size=1))
def test_no_answer_is_wrong_and_no_class_of_its_own(pairs: list[tuple[str, str | None]]) -> None:
    gold, predicted = [g for g, _ in pairs], [p for _, p in pairs]
    value = macro_f1(gold, predicted)
    counted = labels_counted([{"gold": g, "predicted": p} for g, p in pairs])
    assert abs(value - counted.total()) < 1e-9


def test_macro_f1_with_half_of_the_answers_missing() -> None:
    # a: precision 1, recall 1/2; b: the same.
    assert macro_f1(["a", "a", "b", "b"], ["a", None, "b", None]) == pytest.approx(100 * 2 / 3)
