"""FOCUS and the other ways to begin: against the published package, naive computation, and by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from langlift.config.loading import resolve
from langlift.errors import InputError, LangliftError
from langlift.vocab.initialisation import (
    MINIMUM_GROUP,
    RowPlan,
    focus_weights,
    grouped_by_script,
    plan_rows,
    script_of,
    sparsemax,
)  # fmt: skip
from langlift.vocab.overlap import CanonicalToken as Form
from langlift.vocab.overlap import canonical_tokens, overlap, special_pairs, speller
from langlift.vocab.recipe import VocabRecipe
from langlift.vocab.vectors import read_vectors, train_vectors

GOLDEN = Path(__file__).parent / "golden" / "focus"
SOURCES = ["unigram", "wordpiece", "byte_level"]
quick = settings(derandomize=True, deadline=None, max_examples=60)


def golden_tokenizer(name):
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_file(str(GOLDEN / f"{name}.json")),
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
    )


@pytest.fixture(scope="module")
def target():
    return golden_tokenizer("target")


@pytest.fixture(scope="module")
def vectors():
    return read_vectors(GOLDEN / "vectors.vec")


@pytest.mark.parametrize("kind", SOURCES)
def test_equals_the_published_package(kind, target, vectors):
    """deepfocus 1.0.1, by tests/golden/make_focus_golden.py: copied, combined and drawn rows, float32."""
    tensors = load_file(GOLDEN / "embeddings.safetensors")
    embeddings, expected = tensors[f"source.{kind}"], tensors[f"expected.{kind}"]
    plan = plan_rows(target, golden_tokenizer(kind), len(embeddings), VocabRecipe(), vectors)
    got = plan.rows(embeddings, torch.Generator().manual_seed(42))
    counts = plan.counts()
    assert min(counts.values()) > 30
    assert sum(counts.values()) == len(target)
    compared = np.ones(len(target), dtype=bool)
    if kind == "wordpiece":
        # There the package takes <s> for the beginning of a word and so draws its row; we copy it by role.
        compared[:5] = False
        compared[list(plan.drawn)] = False
    assert torch.allclose(got[compared], expected[compared], rtol=1e-5, atol=1e-5)
    assert torch.equal(got[2], embeddings[2])  # </s>


def test_against_a_naive_computation(target, vectors):
    """One new token at a time, sparsemax by bisection."""
    source = golden_tokenizer("unigram")
    shared, names = overlap(target, source), {n: p for p, n in target.get_vocab().items()}
    new = {n: names[n] for n in names if n not in shared and n > 4}
    combined = focus_weights(new, {n: (names[n], theirs) for n, theirs in shared.items()}, vectors)
    usable = [n for n in shared if names[n] in vectors and np.abs(vectors[names[n]]).sum() > 0]
    assert set(combined) == {n for n in new if names[n] in vectors and np.abs(vectors[names[n]]).sum() > 0}
    for number in list(combined)[::40]:
        mine = vectors[names[number]].astype(np.float64)
        cosines = np.array(
            [
                mine @ (v := vectors[names[n]].astype(np.float64)) / np.linalg.norm(mine) / np.linalg.norm(v)
                for n in usable
            ]
        )
        low, high = cosines.min() - 1, cosines.max()
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(cosines - middle, 0).sum() > 1 else (low, middle)
        expected = dict(zip((shared[n] for n in usable), np.maximum(cosines - low, 0), strict=True))
        got = dict(zip(*combined[number], strict=True))
        assert all(got.get(s, 0) == pytest.approx(w, abs=1e-5) for s, w in expected.items())


def test_sparsemax_by_hand():
    got = sparsemax(np.array([[1, 0, 0], [0.2, 0.2, 0.2], [0.5, 0.3, -2]], dtype=np.float32))
    assert got == pytest.approx(np.array([[1, 0, 0], [1 / 3] * 3, [0.6, 0.4, 0]]), abs=1e-6)


@quick
@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 12)), elements=st.floats(-1, 1, width=32)))
def test_sparsemax_is_the_nearest_point_of_the_simplex(scores):
    """By its optimality condition: chosen entries are above one threshold by their weights, others below it."""
    weights = sparsemax(scores)
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert (weights >= 0).all()
    for row, weight in zip(scores, weights, strict=True):
        threshold = (row - weight)[weight > 0]
        assert np.ptp(threshold) < 1e-5
        assert (row[weight == 0] <= threshold.max() + 1e-5).all()


def test_forms_agree_across_notations():
    unigram, wordpiece, byte_level = (
        {form: tokenizer.convert_ids_to_tokens(n) for n, form in canonical_tokens(tokenizer).items()}
        for tokenizer in map(golden_tokenizer, SOURCES)
    )
    assert (unigram[Form(True, "ta")], wordpiece[Form(True, "ta")], byte_level[Form(True, "ta")]) == (
        "▁ta", "ta", "Ġta",
    )  # fmt: skip
    assert (unigram[Form(False, "ħ")], wordpiece[Form(False, "ħ")], byte_level[Form(False, "ħ")]) == (
        "ħ", "##ħ", "Ä§",
    )  # fmt: skip
    assert byte_level[Form(False, "", 0xC4)] == "Ä"


@pytest.mark.parametrize("kind", SOURCES)
def test_no_two_pieces_have_one_form(kind):
    tokenizer = golden_tokenizer(kind)
    forms = canonical_tokens(tokenizer)
    assert len(set(forms.values())) == len(forms) == len(tokenizer) - 5


@pytest.mark.parametrize("kind", SOURCES)
def test_a_tokenizer_spells_its_own_pieces(kind):
    """Each piece is spelled by pieces that make up the same letters in the same place."""
    tokenizer = golden_tokenizer(kind)
    forms = canonical_tokens(tokenizer)
    spell = speller(tokenizer)
    for form in list(forms.values())[::7]:
        if form.byte is None and form.surface.isalpha():
            parts = [forms[number] for number in spell(form)]
            if all(part.byte is None for part in parts):
                assert "".join(part.surface for part in parts) == form.surface
                assert parts[0].initial == form.initial
                assert not any(part.initial for part in parts[1:])


def test_special_tokens_pair_by_role(tiny_bert, tiny_xlm_roberta):
    from langlift.backbones.loading import load_tokenizer

    bert, roberta = load_tokenizer(str(tiny_bert)), load_tokenizer(str(tiny_xlm_roberta))
    pairs = special_pairs(roberta, bert)
    assert {roberta.convert_ids_to_tokens(a): bert.convert_ids_to_tokens(b) for a, b in pairs.items()} == {
        "<s>": "[CLS]", "</s>": "[SEP]", "<pad>": "[PAD]", "<unk>": "[UNK]", "<mask>": "[MASK]",
    }  # fmt: skip


def test_drawn_rows_have_the_groups_mean_and_deviation():
    torch.manual_seed(0)
    source = torch.randn(300, 3) * torch.tensor([0.1, 1, 5]) + torch.tensor([0, 10, -3])
    group = np.arange(100, 200)
    plan = RowPlan((4001, 300), {0: 7}, {}, dict.fromkeys(range(1, 4001), 0), {0: group})
    rows = plan.rows(source, torch.Generator().manual_seed(1))
    assert torch.equal(rows[0], source[7])
    deviation, mean = torch.std_mean(source[100:200], dim=0)
    assert ((rows[1:].mean(0) - mean).abs() < 4 * deviation / 4000**0.5).all()
    assert torch.allclose(rows[1:].std(0), deviation, rtol=0.05)
    assert torch.equal(rows, plan.rows(source, torch.Generator().manual_seed(1)))
    bias = plan.rows(source[:, 1], torch.Generator().manual_seed(1))
    assert bias[0] == source[7, 1]
    assert torch.allclose(bias[1:], mean[1])


def test_scripts_and_places():
    assert [script_of(text) for text in ("għ", "кыв", "ቋንቋ", "12,", "аb")] == [
        "LATIN", "CYRILLIC", "ETHIOPIC", "none", "CYRILLIC",
    ]  # fmt: skip
    source = {n: Form(n % 2 == 0, "abcdefghij"[n % 10]) for n in range(4 * MINIMUM_GROUP)}
    source |= {100 + n: Form(True, "д") for n in range(MINIMUM_GROUP)} | {200: Form(False, "д")}
    new = {1: Form(True, "x"), 2: Form(False, "x"), 3: Form(True, "ж"), 4: Form(False, "ж"), 5: Form(True, "ቋ")}
    group_of, groups = grouped_by_script(new, source, position=True)
    assert {n: set(groups[group_of[n]]) for n in new} == {
        1: {n for n in source if n < 100 and n % 2 == 0},
        2: {n for n in source if n < 100 and n % 2 == 1},
        3: set(range(100, 110)),
        4: {*range(100, 110), 200},  # too few inside words: the script's
        5: set(source),  # never seen: all pieces
    }
    group_of, groups = grouped_by_script(new, source, position=False)
    assert set(groups[group_of[1]]) == {n for n in source if n < 100}


def test_mean_is_that_of_the_bases_pieces(target):
    source = golden_tokenizer("wordpiece")
    plan = plan_rows(target, source, 700, VocabRecipe(init="mean"), {})
    number = next(n for n, f in canonical_tokens(target).items() if f == Form(True, "kompjuter"))
    spelled = speller(source)(Form(True, "kompjuter"))
    assert len(spelled) > 1
    assert source.tokenize("kompjuter") == source.convert_ids_to_tokens(spelled)
    expected = np.zeros(700)
    for piece in spelled:
        expected[piece] += 1 / len(spelled)
    assert plan.mixing[[number]].toarray()[0] == pytest.approx(expected)


def test_without_the_overlap_only_special_tokens_keep_their_rows(target):
    recipe = VocabRecipe(init="random", copy_overlap=False)
    assert plan_rows(target, golden_tokenizer("unigram"), 700, recipe, {}).counts() == {
        "copied": 5, "combined": 0, "drawn": 695,
    }  # fmt: skip
    with pytest.raises(InputError, match="copy_overlap must be true"):
        resolve(VocabRecipe, "vocab", assignments=["copy_overlap=false"])


def test_trained_vectors_are_repeatable_and_know_neighbours(maltese_lines, target):
    pytest.importorskip("gensim")
    recipe = VocabRecipe(vector_size=20, vector_epochs=3, vector_least_count=5, seed=1)
    first = train_vectors(target, maltese_lines, recipe)
    again = train_vectors(target, maltese_lines, recipe)
    counts = dict.fromkeys(target.get_vocab(), 0)
    for line in maltese_lines:
        for piece in target.convert_ids_to_tokens(target(line)["input_ids"]):
            counts[piece] += 1
    assert set(first) == {piece for piece, count in counts.items() if count >= 5}
    assert all((first[piece] == again[piece]).all() for piece in first)
    with pytest.raises(LangliftError, match="occurs 1000000 times"):
        train_vectors(target, maltese_lines, replace(recipe, vector_least_count=10**6))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "1: no line"),
        ("a b\n", "1: no line"),
        ("1 3\nta 1 2\n", "2: not a token and 3 finite numbers"),
        ("1 2\nta 1 x\n", "2: not a token and 2 finite numbers"),
        ("1 2\nta 1 nan\n", "2: not a token and 2 finite numbers"),
        ("3 2\nta 1 2\nxi 1 2\n", "1: says 3 vectors, but there are 2"),
    ],
)
def test_damaged_vectors(tmp_path, text, said):
    file = tmp_path / "v.vec"
    file.write_text(text)
    with pytest.raises(InputError, match=said):
        read_vectors(file)


def test_the_golden_tokenizers_are_of_three_kinds():
    kinds = [json.loads((GOLDEN / f"{kind}.json").read_text())["model"]["type"] for kind in SOURCES]
    assert kinds == ["Unigram", "WordPiece", "BPE"]
