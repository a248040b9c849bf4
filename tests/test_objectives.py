"""What each objective masks, for tokenizers of every family."""

import json
import re
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from conftest import MALTESE
from graph_rows import sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from langlift.corpus.text_data import Triple, load_text_data
from langlift.errors import InputError
from langlift.graph.sentence_templates import load_predicates
from langlift.graph.source_files import Edge
from langlift.masking import (
    IGNORED,
    PUBLISHED_RELATIONS,
    SPECIAL,
    MaskedLanguageModel,
    published_positions,
    word_numbers,
)
from langlift.training.encoding import encode, encode_triples, encode_triples_as_published
from langlift.training.examples import objective_examples
from langlift.vocab.tokenizer_training import train_unigram_tokenizer

FAMILIES = ("wordpiece", "unigram", "byte-level BPE", "BPE without pre-tokenizer")
PREDICATES = load_predicates()
LONGEST = 512
quick = settings(derandomize=True, deadline=None, max_examples=50)


@cache
def tokenizer_of(family: str) -> PreTrainedTokenizerFast:
    lines = [line for line in MALTESE.read_text(encoding="utf-8").splitlines() if line]
    if family == "unigram":
        return train_unigram_tokenizer(lines, vocabulary_size=600, model_max_length=LONGEST)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    options = {"vocab_size": 700, "special_tokens": special, "show_progress": False}
    if family == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(**options)
    elif family == "byte-level BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **options)
    else:  # as Gemma's: to the tokenizer the whole text is one word
        tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=True)
        trainer = trainers.BpeTrainer(**options)
    tokenizer.train_from_iterator(lines, trainer)
    if family == "BPE without pre-tokenizer":
        tokenizer.pre_tokenizer = None
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=LONGEST, **{f"{k}_token": v for k, v in names.items()}
    )


def masking_of(tokenizer, share=0.15):
    return MaskedLanguageModel(
        tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids), len(tokenizer), share
    )


def triple_of(row):
    spans = ((row[part]["start"], row[part]["end"]) for part in ("head", "tail"))
    return Triple(row["relation"]["name"], *spans)


def labelled_characters(tokenizer, text, labels):
    """The letters of the text that stand behind the labelled tokens."""
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    return {
        place
        for label, (start, end) in zip(labels, offsets, strict=True)
        if label != IGNORED
        for place in range(start, end)
        if text[place].isalnum()
    }


WORDS = (
    "qattus",
    "ħolma",
    "is-sena l-oħra",
    "l'għalliem",
    "kelb",
    "type",
    "of",
    "a",
    "xi ħaġa",
    "ta' fuq",
    "b.c.",
)
words = st.sampled_from(WORDS) | st.text("abefgħxiltz'-", min_size=1, max_size=9).map(str.strip)
terms = st.lists(words, min_size=1, max_size=3).map(" ".join).filter(lambda t: any(c.isalnum() for c in t))


@pytest.mark.parametrize("family", FAMILIES)
@quick
@given(head=terms, tail=terms, relation=st.sampled_from(sorted(PREDICATES)), seed=st.integers(0, 2**32 - 1))
def test_targeted_masks_exactly_one_argument_and_never_a_relation_word(family, head, tail, relation, seed):
    tokenizer = tokenizer_of(family)
    row = sentence(Edge(1, head, "mt", relation, tail, "mt", 1.0), PREDICATES[relation])
    text = row["text"]
    (encoded,) = encode_triples(tokenizer, [text], [triple_of(row)], LONGEST, "graph").rows
    example = objective_examples([encoded], masking_of(tokenizer), seed)
    letters = {
        part: {p for p in range(row[part]["start"], row[part]["end"]) if text[p].isalnum()}
        for part in ("head", "relation", "tail")
    }
    seen_arguments = set()
    for epoch in range(12):
        seen, labels = example(0, epoch).values()
        predicted = labels != IGNORED
        assert (labels[predicted] == encoded.ids[predicted]).all()
        assert (seen[predicted] == tokenizer.mask_token_id).all(), "no 80/10/10"
        assert (seen[~predicted] == encoded.ids[~predicted]).all()
        found = labelled_characters(tokenizer, text, labels)
        assert found in (letters["head"], letters["tail"])
        assert not found & letters["relation"]
        seen_arguments.add(found == letters["head"])
        again = objective_examples([encoded], masking_of(tokenizer), seed)(0, epoch)
        assert (again["labels"] == labels).all(), "seed, epoch and number decide"
    assert len(seen_arguments) == 2, "the choice is made afresh each epoch (12 alike: 1 in 2,000)"


def test_head_and_tail_are_chosen_equally_often():
    tokenizer = tokenizer_of("unigram")
    row = sentence(Edge(1, "qattus", "mt", "IsA", "annimal", "mt", 1.0), "is a type of")
    (encoded,) = encode_triples(tokenizer, [row["text"]], [triple_of(row)], LONGEST, "graph").rows
    example = objective_examples([encoded], masking_of(tokenizer), seed=0)
    heads = sum(example(0, epoch)["labels"][1] != IGNORED for epoch in range(2000))
    # One standard deviation is 22.
    assert abs(heads - 1000) < 90


def test_another_place_where_the_argument_stands_is_left_as_it_is():
    tokenizer = tokenizer_of("wordpiece")
    row = sentence(Edge(1, "kelb", "mt", "Synonym", "kelb abjad", "mt", 1.0), "is a synonym of")
    texts, triples = [row["text"]], [triple_of(row)]
    (encoded,) = encode_triples(tokenizer, texts, triples, LONGEST, "graph").rows
    assert not set(encoded.arguments[0]) & set(encoded.arguments[1])
    published = [
        encode_triples_as_published(tokenizer, texts, triples, LONGEST, "graph", seed).rows[0].arguments
        for seed in range(20)
    ]
    chosen = {tuple(positions) for (positions,) in published}
    everywhere = set(encoded.arguments[0]) | set(encoded.arguments[1])
    kelb = set(encoded.arguments[0]) | set(encoded.arguments[1][: len(encoded.arguments[0])])
    assert {frozenset(positions) for positions in chosen} == {frozenset(kelb), frozenset(everywhere)}


def test_as_published_keeps_its_relations_and_chooses_once():
    tokenizer = tokenizer_of("wordpiece")
    rows = [
        sentence(Edge(1, "qattus", "mt", relation, f"ħaġa {i}", "mt", 1.0), PREDICATES[relation])
        for i, relation in enumerate(sorted(PREDICATES))
    ]
    texts, triples = [row["text"] for row in rows], [triple_of(row) for row in rows]
    found = encode_triples_as_published(tokenizer, texts, triples, LONGEST, "graph", seed=3)
    assert len(found.rows) == len(PUBLISHED_RELATIONS) == 12
    assert found.left_out == len(rows) - 12
    example = objective_examples(found.rows, masking_of(tokenizer), seed=3)
    masks = [[tuple(example(i, epoch)["labels"]) for i in range(12)] for epoch in range(5)]
    assert masks[0] == masks[1] == masks[4]
    heads = [labels[1] != IGNORED for labels in masks[0]]
    assert True in heads and False in heads
    texts_of_others = [t for t, triple in zip(texts, triples, strict=True) if triple.relation == "UsedFor"]
    with pytest.raises(InputError, match="no sentence has an argument that can be predicted") as refusal:
        others = [triple for triple in triples if triple.relation == "UsedFor"]
        encode_triples_as_published(tokenizer, texts_of_others, others, LONGEST, "graph", seed=3)
    assert "targeted_as_published" in refusal.value.hint


def test_published_positions_are_those_of_the_pieces_wherever_they_stand():
    assert published_positions(np.array([2, 7, 8, 5, 7, 8, 9, 3]), [[7, 8]]).tolist() == [1, 2, 4, 5]
    assert published_positions(np.array([2, 7, 8, 5, 3]), [[7, 9], [5]]).tolist() == [3]
    assert published_positions(np.array([2, 7, 7, 7, 3]), [[7, 7]]).tolist() == [1, 2]
    assert published_positions(np.array([2, 7]), [[7, 8], []]).tolist() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_arguments_that_are_cut_off_are_not_chosen_and_counted(family):
    tokenizer = tokenizer_of(family)
    long = " ".join(["qattus"] * 12)
    edges = [("kelb", long), (long, "kelb"), (long, long), ("kelb", "qattus")]
    rows = [sentence(Edge(1, head, "mt", "IsA", tail, "mt", 1.0), "is a type of") for head, tail in edges]
    texts, triples = [row["text"] for row in rows], [triple_of(row) for row in rows]
    found = encode_triples(tokenizer, texts, triples, 24, "graph")
    assert (found.left_out, found.one_argument, len(found.rows)) == (1, 2, 3)
    assert [len(row.arguments) for row in found.rows] == [1, 1, 2]
    for row in found.rows[:2]:
        (positions,) = row.arguments
        pieces = "".join(tokenizer.convert_ids_to_tokens(row.ids[positions]))
        assert re.sub("##|[▁Ġ]", "", pieces) == "kelb"
    with pytest.raises(InputError, match="no sentence has an argument"):
        encode_triples(tokenizer, texts[2:3], triples[2:3], 24, "graph")


def test_unknown_pieces_are_masked_but_not_predicted():
    tokenizer = tokenizer_of("wordpiece")
    rows = [
        sentence(Edge(1, head, "mt", "IsA", tail, "mt", 1.0), "is a type of")
        for head, tail in (("ሰላም", "kelb"), ("ሰላም kelb", "ሰላም"), ("ሰላም", "ሰላም"))
    ]
    found = encode_triples(tokenizer, [r["text"] for r in rows], [triple_of(r) for r in rows], LONGEST, "graph")
    assert (found.left_out, found.one_argument) == (1, 2)
    seen, labels = objective_examples(found.rows, masking_of(tokenizer), 0)(1, 0).values()
    assert seen[1] == tokenizer.mask_token_id and labels[1] == IGNORED
    assert (labels != IGNORED).any()


def test_text_beside_triples_is_masked_as_ever():
    tokenizer = tokenizer_of("unigram")
    (text,) = encode(tokenizer, ["Il-baħar kien kalm u x-xemx bdiet tinżel."], LONGEST, "text")
    masking = masking_of(tokenizer)
    mixed = objective_examples([text], masking, seed=5)(0, 2)
    seen, labels = masking(text.ids, seed=5, epoch=2, example=0)
    assert (mixed["input_ids"] == seen).all() and (mixed["labels"] == labels).all()


FOREIGN = ("Il-qattus", "raqad", "fix-xemx,", "ħolom.", "Кіт", "спить!", "ሰላም", "1984", "🐈", "l'omm")
scripts = st.sampled_from(FOREIGN)
texts = st.lists(scripts | words.filter(bool), min_size=1, max_size=14).map(" ".join)


@pytest.mark.parametrize("family", FAMILIES)
@quick
@given(text=texts, seed=st.integers(0, 2**32 - 1), epoch=st.integers(0, 9))
def test_full_word_never_masks_a_part_of_a_word(family, text, seed, epoch):
    tokenizer = tokenizer_of(family)
    try:
        (row,) = encode(tokenizer, [text], LONGEST, "text", with_words=True)
    except InputError:
        return
    labels = objective_examples([row], masking_of(tokenizer), seed)(0, epoch)["labels"]
    assert (labels != IGNORED).any()
    assert (labels[labels != IGNORED] == row.ids[labels != IGNORED]).all()
    encoding = tokenizer(text, return_offsets_mapping=True)
    pieces = [
        (chosen, start, end)
        for chosen, (start, end), token in zip(labels != IGNORED, encoding["offset_mapping"], row.ids, strict=True)
        if token not in tokenizer.all_special_ids
    ]
    for (chosen, _, end), (next_chosen, start, _) in pairwise(pieces):
        inside_a_word = start < end or (start == end and text[end - 1].isalnum() and text[start].isalnum())
        assert not inside_a_word or chosen == next_chosen, (text, text[:start], text[start:])


@pytest.mark.parametrize("family", FAMILIES)
def test_full_word_predicts_about_the_share_asked_for(family, maltese_lines):
    tokenizer = tokenizer_of(family)
    rows = encode(tokenizer, maltese_lines[:60], LONGEST, "text", with_words=True)
    masking = masking_of(tokenizer)
    example = objective_examples(rows, masking, seed=1)
    ordinary = sum(len(masking.candidates(row.ids)) for row in rows) * 8
    chosen = sum(
        int((example(i, epoch)["labels"] != IGNORED).sum()) for i in range(len(rows)) for epoch in range(8)
    )
    assert chosen / ordinary == pytest.approx(0.15, abs=0.01)
    shares = np.zeros(3, dtype=int)
    for i, row in enumerate(rows):
        for epoch in range(8):
            seen, labels = example(i, epoch).values()
            at = labels != IGNORED
            masked, kept = seen[at] == tokenizer.mask_token_id, seen[at] == row.ids[at]
            shares += masked.sum(), (~masked & ~kept).sum(), kept.sum()
    assert shares.sum() / ordinary == pytest.approx(0.15, abs=0.01)
    np.testing.assert_allclose(shares / shares.sum(), [0.8, 0.1, 0.1], atol=0.03)


def test_words_end_at_spaces_where_the_tokenizer_sees_but_one():
    tokenizer = tokenizer_of("BPE without pre-tokenizer")
    text = "Il-qattus raqad fix-xemx."
    (encoding,) = tokenizer(text).encodings
    assert {word for word in encoding.word_ids if word is not None} == {0}
    numbers = word_numbers(text, encoding.offsets, encoding.word_ids)
    assert set(numbers) == {SPECIAL, 0, 1, 2}
    assert list(numbers[1:-1]) == sorted(numbers[1:-1])


def test_a_script_without_spaces_is_masked_piece_by_piece_and_whole_characters():
    text, offsets = "ab 我喜欢", [(0, 0), (0, 2), (2, 4), (4, 6), (4, 6), (0, 0)]
    assert word_numbers(text, offsets, [None, 0, 1, 1, 1, None]).tolist() == [SPECIAL, 0, 1, 2, 2, SPECIAL]


GRAPH_ROW = sentence(Edge(1, "qattus", "mt", "IsA", "annimal", "mt", 1.0), "is a type of")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tail": None}, "no field 'tail' with 'start' and 'end'"),
        ({"head": {"start": 0, "end": 999}}, "the head has the span 0 to 999, but the text has 28 characters"),
        ({"head": {"start": 3, "end": 3}}, "the head has the span 3 to 3"),
        ({"head": {"start": True, "end": 3}}, "the head has the span True to 3"),
        ({"head": {"start": 1, "end": 7, "text": "qattus"}}, "the text at the span of the head is not the head"),
        ({"head": {"start": 0, "end": 22}}, "head and tail overlap"),
        ({"relation": "IsA"}, "no field 'relation' with a 'name'"),
    ],
)
def test_damaged_spans_are_named_by_file_and_line(tmp_path, change, said):
    for split in ("train", "dev", "test"):
        rows = [GRAPH_ROW, GRAPH_ROW | change if split == "dev" else GRAPH_ROW]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert load_text_data(tmp_path).triples is None, "only targeted masking needs them"
    with pytest.raises(InputError, match=r"dev\.jsonl:2: ") as refusal:
        load_text_data(tmp_path, with_triples=True)
    assert said in refusal.value.message


def test_spans_are_moved_with_the_text_that_is_stripped(tmp_path):
    row = {
        "text": f"  {GRAPH_ROW['text']} ",
        **{part: GRAPH_ROW[part] | {"start": GRAPH_ROW[part]["start"] + 2, "end": GRAPH_ROW[part]["end"] + 2}
           for part in ("head", "relation", "tail")},
    }  # fmt: skip
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n\n")
    data = load_text_data(tmp_path, with_triples=True)
    assert list(data.train) == [GRAPH_ROW["text"]]
    assert data.triples is not None
    assert data.triples["test"] == [triple_of(GRAPH_ROW)]
