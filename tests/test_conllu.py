"""CoNLL-U is read strictly, or refused by file, line and sentence, and comes back as it was."""

import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.evaluation.metrics import attachment_scores
from langlift.heads.spanning_tree import cycle_in, greedy_tree, maximum_spanning_tree
from langlift.tasks.conllu import DEPREL, HEAD, UPOS, Sentence, parse_conllu, sentence_of

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GOOD = """\
# sent_id = a
# text = Rajtu.
1-2	Rajtu	_	_	_	_	_	_	_	SpaceAfter=No
1	Rajt	ra	VERB	V	Tense=Past	0	root	0:root	_
1.1	jien	_	PRON	_	_	_	_	1:nsubj	_
2	u	hu	PRON	P	_	1	obj	1:obj	_
3	.	.	PUNCT	_	_	1	punct	1:punct	_

# sent_id = b
1	Iva	iva	INTJ	_	_	0	root	_	_
"""


def parse(text, trees=True):
    return list(parse_conllu(text.split("\n"), "x.conllu", trees))


def row(identity, head="0", relation="root", form="a"):
    return "\t".join([str(identity), form, "_", "X", "_", "_", str(head), relation, "_", "_"])


def test_a_sentence_is_its_syntactic_words_and_all_its_lines():
    first, second = parse(GOOD)
    assert first.words == ["Rajt", "u", "."]
    assert first.tags == ["VERB", "PRON", "PUNCT"]
    assert first.heads == [0, 1, 1]
    assert first.relations == ["root", "obj", "punct"]
    assert second.words == ["Iva"]
    same = [line for s in (first, second) for line in [*s.filled({}), ""]]
    assert "\n".join(same) == GOOD
    changed = first.filled({UPOS: ["A", "B", "C"], HEAD: [2, 0, 2], DEPREL: ["x", "root", "y"]})
    assert changed[:3] == first.lines[:3] and changed[4] == first.lines[4]
    assert changed[3] == "1\tRajt\tra\tA\tV\tTense=Past\t2\tx\t0:root\t_"
    assert changed[5] == "2\tu\thu\tB\tP\t_\t0\troot\t1:obj\t_"


@pytest.mark.parametrize(
    ("lines", "line", "what"),
    [
        ([row(1)[:-2]], 1, "9 columns instead of 10"),
        ([row(1) + "\t_"], 1, "11 columns instead of 10"),
        ([row(1), " "], 2, "1 column instead of 10"),
        ([row(1, form="")], 1, "FORM is empty"),
        ([row(2)], 1, "the ID '2' is not valid here"),
        ([row(1), row(1, 1)], 2, "the ID '1' is not valid here"),
        ([row(1), row("x", 1)], 2, "the ID 'x' is not valid here"),
        ([row(1), row("1.2", "_", "_")], 2, "the ID '1.2' is not valid here"),
        ([row("2-3"), row(1)], 1, "the ID '2-3' is not valid here"),
        ([row("1-2"), row(1), row("2-3"), row(2, 1), row(3, 1)], 3, "the ID '2-3' is not valid here"),
        ([row("2-1"), row(1)], 1, "the ID '2-1' is not valid here"),
        ([row("1-3"), row(1), row(2, 1)], 1, "the multiword token ends at word 3, the sentence at 2"),
        ([row(1), "# late"], 2, "a comment inside the sentence"),
        (["# only this"], 1, "no words"),
        ([row(1), row(2, 3)], 2, "HEAD 3, but there are 2 words"),
        ([row(1), row(2, "-1")], 2, "HEAD '-1' is not a number"),
        ([row(1), row(2, "_")], 2, "HEAD '_' is not a number"),
        ([row(1), row(2, "9" * 5000)], 2, f"HEAD '{'9' * 5000}' is not a number"),
        ([row(1), row(2, 2)], 2, "word 2 is its own HEAD"),
        ([row(1), row(2, 0)], 2, "a second root (the first is word 1)"),
        ([row(1), row(2, 1, "_")], 2, "a HEAD without a DEPREL"),
        ([row(1), row(2, 3), row(3, 4), row(4, 2)], 2, "the HEADs form a cycle (2 -> 3 -> 4 -> 2)"),
        ([row(1, 2), row(2, 1)], 1, "the HEADs form a cycle (1 -> 2 -> 1)"),
    ],
)
def test_damage_is_told_by_file_line_and_sentence(lines, line, what):
    with pytest.raises(InputError) as refusal:
        parse(f"{row(1)}\n\n# sent_id = this one\n" + "\n".join(lines) + "\n")
    if lines == ["# only this"]:
        line = 0  # the sentence begins with its sent_id
    assert refusal.value.message == f"x.conllu:{3 + line}: sentence 2 (this one): {what}"
    assert refusal.value.hint


def test_heads_are_not_looked_at_where_no_tree_is_needed():
    (sentence,) = parse(f"{row(1, 1)}\n{row(2, 7)}\n", trees=False)
    assert sentence.heads == []
    (without,) = parse(f"{row(1, '_', '_')}\n{row(2, '_', '_')}\n")
    assert without.heads == []


@fuzzing
@given(st.data())
def test_a_mutilated_file_is_read_or_refused_by_line(tmp_path: Path, data):
    parts = re.split(r"(\t|\n|-|\.)", GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(parts) - 1))
        others = ["", "\t", "\n", "0", "1", "2", "3", "_", "-", ".", "#", "\r", "\x00", " ", "é"]
        parts[place] = data.draw(st.sampled_from(others))
    file = tmp_path / "train.conllu"
    file.write_text("".join(parts), encoding="utf-8")
    try:
        sentences = list(parse_conllu(read_raw_lines(file), str(file)))
    except InputError as refusal:
        assert re.match(rf"{re.escape(str(file))}:\d+: ", refusal.message)
        return
    for sentence in sentences:
        assert len(sentence.words) == len(sentence.tags) == len(sentence.rows) > 0
        if sentence.heads:
            assert sentence.heads.count(0) == 1 and not cycle_in([0, *sentence.heads])
            assert max(sentence.heads) <= len(sentence.words) == len(sentence.heads)
    kept = [line for sentence in sentences for line in sentence.filled({})]
    assert kept == [line for line in read_raw_lines(file) if line]


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=6)


@fuzzing
@given(st.lists(st.tuples(words, st.sampled_from(["", " ", "\u00a0", "  "])), min_size=1, max_size=8))
def test_plain_words_become_conllu_with_the_spaces_they_had(parts):
    text = "".join(word + gap for word, gap in parts).strip()
    made = sentence_of([word for word, _ in parts], text, 7)
    (read,) = parse("\n".join(made.lines), trees=False)
    assert read.words == made.words == [word for word, _ in parts]
    assert made.lines[0] == "# sent_id = 7"
    rebuilt = "".join(
        word + ("" if made.lines[at].endswith("SpaceAfter=No") else " ")
        for word, at in zip(read.words, made.rows, strict=True)
    )
    assert made.lines[1] == f"# text = {rebuilt.strip()}" == f"# text = {' '.join(text.split())}"


GOLD_FILE = """\
1-2	Rajtu	_	_	_	_	_	_	_	_
1	Rajt	_	VERB	_	_	0	root	_	_
2	u	_	PRON	_	_	1	obj:pers	_	_
2.1	e	_	X	_	_	_	_	_	_
3	d-dar	_	NOUN	_	_	1	obl	_	_
4	,	_	PUNCT	_	_	3	punct	_	_

1	Iva	_	INTJ	_	_	0	root	_	_
2	.	_	PUNCT	_	_	1	punct	_	_
"""


@pytest.mark.parametrize(
    ("changes", "uas", "las"),
    [
        ({}, 6, 6),
        # A subtype is not compared: obj for obj:pers, obl:loc for obl.
        ({(0, 2): (1, "obj"), (0, 3): (1, "obl:loc")}, 6, 6),
        # The universal part is.
        ({(0, 2): (1, "iobj:pers")}, 6, 5),
        # The right relation to the wrong head counts for neither.
        ({(0, 3): (2, "obl")}, 5, 5),
        # Punctuation counts as any word.
        ({(0, 4): (1, "punct")}, 5, 5),
        # A wrong root moves two words.
        ({(1, 1): (2, "root"), (1, 2): (0, "root")}, 4, 4),
        ({(0, 2): (1, "nsubj"), (0, 3): (2, "obl"), (1, 2): (1, "dep")}, 5, 3),
    ],
)
def test_attachment_scores_are_those_of_the_shared_task(changes, uas, las):
    """Six syntactic words: the multiword token and the empty node are none. Counted by hand, in words."""
    gold = [list(zip(s.heads, s.relations, strict=True)) for s in parse(GOLD_FILE)]
    system = [list(tree) for tree in gold]
    for (sentence, word), arc in changes.items():
        system[sentence][word - 1] = arc
    assert attachment_scores(gold, system) == pytest.approx((100 * uas / 6, 100 * las / 6))


def test_attachment_scores_equal_the_official_scorers():
    """Golden numbers of conll18_ud_eval.py on 30 sentences; see tests/golden/README.md."""
    folder = Path(__file__).parent / "golden" / "conll18"
    gold, system = (
        [
            list(zip(sentence.heads, sentence.relations, strict=True))
            for sentence in parse_conllu(read_raw_lines(folder / f"{name}.conllu"), name)
        ]
        for name in ("gold", "system")
    )
    expected = json.loads((folder / "expected.json").read_text())
    uas, las = attachment_scores(gold, system)
    assert (uas, las) == pytest.approx((expected["UAS"], expected["LAS"]), abs=1e-9)
    assert las < uas < 100


def trees(count):
    """All trees with a single root over so many words."""
    for heads in product(range(count + 1), repeat=count):
        if heads.count(0) == 1 and not cycle_in([0, *heads]) and all(h != w for w, h in enumerate(heads, 1)):
            yield list(heads)


def total(scores, heads):
    return sum(scores[word, head] for word, head in enumerate(heads))


def test_there_are_as_many_trees_as_cayley_says():
    assert [sum(1 for _ in trees(n)) for n in (1, 2, 3, 4)] == [n**n // n for n in (1, 2, 3, 4)]


scores_of = st.integers(1, 4).flatmap(
    lambda n: st.lists(
        st.lists(st.one_of(st.integers(-3, 3), st.floats(-100, 0)), min_size=n + 1, max_size=n + 1),
        min_size=n,
        max_size=n,
    ).map(lambda rows: np.asarray(rows, dtype=np.float64))
)


@fuzzing
@given(scores_of)
def test_the_spanning_tree_is_the_best_of_all(scores):
    best = max(total(scores, heads) for heads in trees(len(scores)))
    for heads in (maximum_spanning_tree(scores), greedy_tree(scores)):
        assert heads.count(0) == 1 and not cycle_in([0, *heads])
    assert total(scores, maximum_spanning_tree(scores)) == pytest.approx(best, abs=1e-6)


@settings(fuzzing, max_examples=25)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_large_trees_are_trees_that_no_single_change_makes_better(size, seed):
    scores = np.random.default_rng(seed).normal(size=(size, size + 1))
    best, greedy = maximum_spanning_tree(scores), greedy_tree(scores)
    for heads in (best, greedy):
        assert heads.count(0) == 1 and not cycle_in([0, *heads])
    assert total(scores, greedy) <= total(scores, best) + 1e-9
    # Where this were not the best, changing one head might make a better one.
    for word, head in product(range(size), range(size + 1)):
        other = [*best[:word], head, *best[word + 1 :]]
        if head != word + 1 and other.count(0) == 1 and not cycle_in([0, *other]):
            assert total(scores, other) <= total(scores, best) + 1e-9


def test_greedy_takes_the_best_heads_where_they_are_a_tree_and_mends_them_where_not():
    chain = np.asarray([[5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 5.0, 0]])
    assert greedy_tree(chain) == [0, 1, 2]
    # Words 1 and 2 want each other, 1 more so; 3 is the likeliest root.
    circle = np.asarray([[0, 0, 9.0, 1.0], [0, 8.0, 0, 2.0], [3.0, 0, 0, 0]])
    assert greedy_tree(circle) == [2, 3, 0]


def test_an_unannotated_sentence_can_be_filled():
    sentence = sentence_of(["Iva", "!"], "Iva!", 1)
    assert isinstance(sentence, Sentence)
    assert sentence.filled({UPOS: ["INTJ", "PUNCT"]})[-1].split("\t")[:4] == ["2", "!", "_", "PUNCT"]
