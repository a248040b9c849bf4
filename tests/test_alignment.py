"""Alignment of sentence vectors: against direct formulas and scipy, what must not change it, and real models."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes
from scipy.stats import ortho_group

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.checkpoints.adapter_folder import save_adapter
from langlift.errors import InputError
from langlift.evaluation.alignment import (
    compare_vectors,
    linear_cka,
    nearest_is_counterpart,
    neuron_overlap,
    parallel_sentences,
    rotated,
    sentence_vectors,
)


def drawn(seed, rows=40, width=6):
    return np.random.default_rng(seed).normal(size=(rows, width))


def rotation(seed, width=6):
    return ortho_group.rvs(width, random_state=seed)


def kernel_cka(x, y):
    """CKA by its definition with kernels: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), HSIC(K, L) = tr(KHLH)."""
    centre = np.eye(len(x)) - 1 / len(x)
    k, m = x @ x.T, y @ y.T
    hsic = lambda a, b: np.trace(a @ centre @ b @ centre)  # noqa: E731
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


seeds = st.integers(0, 2**31)


@settings(max_examples=25, deadline=None)
@given(seeds, st.integers(2, 9), st.integers(2, 9))
def test_cka_is_that_of_the_kernels(seed, width, other):
    x = drawn(seed, width=width)
    y = drawn(seed + 1, width=other) + 3.0
    y[:, :2] += x[:, :2]
    assert linear_cka(x, y) == pytest.approx(kernel_cka(x, y), rel=1e-9)
    assert linear_cka(y, x) == pytest.approx(linear_cka(x, y))


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.01, 100), st.floats(-50, 50))
def test_cka_does_not_see_rotation_scale_or_shift(seed, scale, shift):
    x, y = drawn(seed), drawn(seed + 1)
    moved = scale * x @ rotation(seed) + shift
    assert linear_cka(x, moved) == pytest.approx(1.0)
    assert linear_cka(moved, y) == pytest.approx(linear_cka(x, y))
    stretched = x * np.array([5.0, 1, 1, 1, 1, 1])
    assert linear_cka(x, stretched) < 0.99, "another scale for each direction is seen"


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.1, 10))
def test_a_known_rotation_is_found(seed, scale):
    x, turn = drawn(seed), rotation(seed)
    y = scale * x @ turn + 2.0
    mapped, target = rotated(x, y, 20)
    np.testing.assert_allclose(mapped, target, atol=1e-8)
    np.testing.assert_allclose(target, y - y[:20].mean(axis=0))
    measured = compare_vectors(x, y)
    assert measured.residual == pytest.approx(0, abs=1e-12) and measured.retrieval == 1.0
    assert measured.cka == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_the_residual_on_its_own_sentences_is_scipys(seed):
    x, y = drawn(seed), drawn(seed + 1) + drawn(seed)
    mapped, target = rotated(x, y, len(x))
    residual = ((mapped - target) ** 2).sum() / (target**2).sum()
    assert residual == pytest.approx(procrustes(y, x)[2], rel=1e-9)


def test_the_map_is_tested_on_sentences_it_was_not_made_from():
    # As many directions as sentences to learn from: noise can be turned onto noise there, and nowhere else.
    x, y = drawn(1, 40, 20), drawn(2, 40, 20)
    mapped, target = (vectors[:20] for vectors in rotated(x, y, 20))
    measured = compare_vectors(x, y)
    assert ((mapped - target) ** 2).sum() / (target**2).sum() < 0.5 < measured.residual
    assert measured.retrieval < 0.3
    assert measured.cka == pytest.approx(measured.cka_shuffled, abs=0.15), "unrelated anyway"
    related = compare_vectors(x, x @ rotation(3, 20) + 0.3 * y)
    assert related.cka > related.cka_shuffled + 0.3 and related.retrieval > 0.8


def test_widths_may_differ():
    x = drawn(1, 60, 5)
    wide = np.hstack([x, np.zeros((60, 3))]) @ rotation(2, 8)
    for first, second in ((x, wide), (wide, x)):
        measured = compare_vectors(first, second)
        assert (measured.cka, measured.retrieval) == (pytest.approx(1.0), 1.0)
        assert measured.residual == pytest.approx(0, abs=1e-12)


def test_retrieval_counts_the_nearest_by_cosine():
    names = np.eye(4)
    assert nearest_is_counterpart(names, 7 * names) == 1.0
    assert nearest_is_counterpart(names, names[[1, 0, 2, 3]]) == 0.5


def test_what_cannot_be_compared_is_said():
    with pytest.raises(InputError, match="3 sentences to compare"):
        compare_vectors(drawn(1, 3), drawn(2, 3))
    with pytest.raises(InputError, match="all sentences have the same vector"):
        compare_vectors(np.ones((8, 3)), drawn(1, 8, 3))


def test_vectors_are_means_of_the_tokens_alone(base, maltese_lines):
    sentences = [*maltese_lines[:5], maltese_lines[5][:12]]
    every = sentence_vectors(str(base), sentences, layers="every").vectors
    (last,) = sentence_vectors(str(base), sentences).vectors
    np.testing.assert_allclose(every[-1], last, rtol=1e-4, atol=1e-6)
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    for number, text in enumerate(sentences):
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=60)
        if inputs["input_ids"].shape[1] == 60:
            continue
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            states = model.base_model(**inputs, output_hidden_states=True)
        np.testing.assert_allclose(
            last[number], states.last_hidden_state[0, 1:-1].mean(0).numpy(), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            every[0, number], states.hidden_states[1][0, 1:-1].mean(0).numpy(), rtol=1e-4, atol=1e-5
        )


def test_every_layer_is_taken_with_its_adapter(base, tmp_path, maltese_lines):
    model = load_masked_model(str(base))
    attach(model, "mlt_Latn", SeqBnConfig(reduction_factor=2))
    save_adapter(model, "mlt_Latn", SeqBnConfig(reduction_factor=2), tmp_path, str(base))
    plain = sentence_vectors(str(base), maltese_lines[:4], layers="every").vectors
    adapted = sentence_vectors(str(base), maltese_lines[:4], tmp_path, layers="every").vectors
    assert plain.shape == adapted.shape == (2, 4, 32)
    assert all(abs(a - b).max() > 1e-4 for a, b in zip(plain, adapted, strict=True))
    last = sentence_vectors(str(base), maltese_lines[:4], tmp_path).vectors
    np.testing.assert_allclose(adapted[-1:], last, rtol=1e-4, atol=1e-6)


def test_neurons_are_active_at_the_tokens_whose_activation_is_positive(base, maltese_lines):
    model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
    sentences = [line for line in maltese_lines if len(tokenizer(line)["input_ids"]) < 60][:3]
    active = sentence_vectors(str(base), sentences).active
    names = dict(model.base_model.named_modules())
    paths = ("encoder.layer.{}.output.dense", "transformer.layer.{}.ffn.lin2", "layers.{}.mlp.Wo")
    (path,) = (path for path in paths if path.format(0) in names)
    expected = []
    for layer in range(model.config.num_hidden_layers):
        seen = []
        module = names[path.format(layer)]
        handle = module.register_forward_pre_hook(lambda m, x, seen=seen: seen.append(x[0][0, 1:-1] > 0))
        for text in sentences:
            inputs = tokenizer(text, return_tensors="pt")
            inputs.pop("token_type_ids", None)
            with torch.no_grad():
                model.base_model(**inputs)
        handle.remove()
        expected.append(torch.cat(seen).double().mean(0).numpy())
    np.testing.assert_allclose(active, expected, atol=1e-6)
    assert neuron_overlap(active, active) == 1.0


def test_overlap_is_a_share_of_the_most_active():
    first, second = np.zeros((2, 40)), np.zeros((2, 40))
    first[:, [3, 7]] = 0.9  # two of 40 are 5 %
    second[0, [7, 11]], second[1, [1, 2]] = 0.4, 0.1
    assert neuron_overlap(first, second) == pytest.approx((0.5 + 0) / 2)
    random = np.random.default_rng(0)
    assert neuron_overlap(random.random((20, 2000)), random.random((20, 2000))) == pytest.approx(0.05, abs=0.02)


def test_parallel_files_have_as_many_lines(tmp_path):
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text("a\n\nc\nd\n\n")
    second.write_text("A\nB\nC\n\n")
    with pytest.raises(InputError, match=r"a\.txt has 5 lines and .*b\.txt 4: not parallel"):
        parallel_sentences(first, second)
    second.write_text("A\nB\nC\nD\nE")
    assert parallel_sentences(first, second) == [("a", "A"), ("c", "C"), ("d", "D")]
    first.write_text("\n\n")
    second.write_text("\n\n")
    with pytest.raises(InputError, match="no sentence"):
        parallel_sentences(first, second)


@pytest.mark.data
def test_parallel_text_of_languages_is_told_from_text_that_is_not(data_folder):
    texts = data_folder / "eval/flores_text"
    pairs = parallel_sentences(texts / "ind_Latn.txt", texts / "eng_Latn.txt")[:300]
    (ours,), (theirs,) = (sentence_vectors("langlift-nano", side).vectors for side in zip(*pairs, strict=True))
    measured = compare_vectors(ours, theirs)
    assert measured.cka > 1.2 * measured.cka_shuffled and measured.retrieval > 5 / 150
    with pytest.raises(InputError, match="1003"):
        parallel_sentences(texts / "sun_Latn.txt", texts / "eng_Latn.txt")
