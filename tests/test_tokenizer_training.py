"""A trained tokenizer: its layout, that it loses no text, and how it refuses."""

import io
import re
import unicodedata

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import AutoTokenizer

from langlift.errors import LangliftError
from langlift.vocab.tokenizer_training import LONGEST_LINE, SPECIAL, _short_lines, train_unigram_tokenizer

LINES = [
    "Il-qattus qabeż fuq il-bejt u raqad fix-xemx.",
    "Għaliex ma tiġix magħna għada filgħodu?",
    "Кіт спить на даху весь день і мріє.",
    "القط ينام على السطح طوال النهار",
    "ድመቷ በጣሪያው ላይ ተኛች እና አለመች",
] * 10
SIZE = 340


@pytest.fixture(scope="module")
def tokenizer():
    return train_unigram_tokenizer(LINES, SIZE, 64)


def decoded(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def test_the_vocabulary_has_the_size_asked_for_specials_first_and_all_bytes(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert len(tokenizer) == len(vocabulary) == SIZE
    assert tokenizer.convert_ids_to_tokens(range(5)) == list(SPECIAL)
    assert set(tokenizer.all_special_ids) == set(range(5))
    assert {f"<0x{byte:02X}>" for byte in range(256)} <= set(vocabulary)
    assert tokenizer.model_max_length == 64


def test_special_tokens_stand_as_in_xlm_r(tokenizer):
    one, other = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("qattus", "кіт"))
    encoded = tokenizer("qattus")
    assert encoded["input_ids"] == [0, *one, 2]
    assert tokenizer("qattus", "кіт")["input_ids"] == [0, *one, 2, 2, *other, 2]
    assert set(encoded) == {"input_ids", "attention_mask"}
    assert tokenizer("il-<mask> raqad")["input_ids"].count(tokenizer.mask_token_id) == 1


def test_frequent_words_are_cut_more_coarsely_than_into_bytes(tokenizer):
    for line in LINES[:5]:
        pieces = tokenizer.tokenize(line)
        assert len(pieces) < len(line.encode())
        assert not any(piece.startswith("<0x") for piece in pieces)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581<"), max_size=40))
def test_no_text_is_lost_but_what_normalisation_takes(tokenizer, text):
    normal = " ".join(unicodedata.normalize("NFKC", text).split())
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert " ".join(decoded(tokenizer, text).split()) == normal


def test_forms_of_the_same_text_are_one(tokenizer):
    plain = tokenizer("fin għada")["input_ids"]
    assert tokenizer("  ﬁn \t għada\n")["input_ids"] == plain
    assert tokenizer(unicodedata.normalize("NFD", "fin għada"))["input_ids"] == plain
    assert tokenizer("fin Għada")["input_ids"] != plain


def test_an_unseen_emoji_is_spelt_in_bytes(tokenizer):
    spelt = [f"<0x{byte:02X}>" for byte in "🐈".encode()]
    assert [p for p in tokenizer.tokenize("qattus 🐈") if p.startswith("<0x")] == spelt
    assert decoded(tokenizer, "qattus 🐈") == "qattus 🐈"


def test_without_bytes_a_character_beyond_the_pieces_is_unknown():
    tokenizer = train_unigram_tokenizer(LINES, 90, 64, byte_fallback=False)
    assert len(tokenizer) == 90
    assert not any(piece.startswith("<0x") for piece in tokenizer.get_vocab())
    assert tokenizer.unk_token_id not in tokenizer(LINES[0])["input_ids"]
    assert tokenizer.tokenize("qattus 🐈")[-1] == "🐈"
    assert tokenizer("qattus 🐈", add_special_tokens=False)["input_ids"][-1] == tokenizer.unk_token_id


def test_the_same_text_trains_the_same_tokenizer(tokenizer):
    again = train_unigram_tokenizer(iter(LINES), SIZE, 64)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_a_saved_tokenizer_loads_as_it_was(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for line in [*LINES[:5], "🐈 ﬁn"]:
        assert loaded(line)["input_ids"] == tokenizer(line)["input_ids"]
    assert loaded.mask_token_id == 4
    assert loaded.model_max_length == 64


@pytest.mark.parametrize(
    ("lines", "size", "said", "hint"),
    [
        (LINES, 9000, r"gives only \d+ tokens .*, not 8995", "smaller by"),
        (LINES, 100, "95 tokens cannot cover", "larger by"),
        ([], 300, "no text", "more text"),
        (["", "  "], 300, "no text", "more text"),
    ],
)
def test_too_little_text_for_the_vocabulary_is_refused_in_one_line(lines, size, said, hint):
    with pytest.raises(LangliftError, match=said) as refusal:
        train_unigram_tokenizer(lines, size, 64)
    assert "\n" not in refusal.value.message
    assert hint in refusal.value.hint


def test_the_sizes_that_a_refusal_names_are_right():
    for size, sign in ((9000, -1), (100, 1)):
        with pytest.raises(LangliftError) as refusal:
            train_unigram_tokenizer(LINES, size, 64)
        change = int(re.search(r"by (\d+)", refusal.value.hint)[1])
        assert len(train_unigram_tokenizer(LINES, size + sign * change, 64)) == size + sign * change
        with pytest.raises(LangliftError):
            train_unigram_tokenizer(LINES, size + sign * (change - 1), 64)


@pytest.mark.parametrize("between", [" ", "\u1785"])
def test_a_long_line_counts_as_much_as_many_short_ones(capfd: pytest.CaptureFixture[str], between: str) -> None:
    words = [word for line in LINES for word in line.split()]
    long = between.join(words * 40)
    assert len(long.encode()) > 4 * LONGEST_LINE
    parts = list(_short_lines(long))
    assert max(map(len, parts)) <= LONGEST_LINE
    assert "".join(parts).replace(" ", "") == long.replace(" ", ""), "no letter is lost"
    pieces = "".join(train_unigram_tokenizer([long], SIZE, 64).get_vocab())
    assert {letter for word in words for letter in word} - set(pieces) == set(), "the line was read"
    assert capfd.readouterr().err == ""


def test_marks_are_kept_which_tokenizers_form_of_sentencepieces_rules_drops(tokenizer):
    """Why text is normalised by NFKC, not nmt_nfkc: if this fails because marks are kept, that can change."""
    proto = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    spoken, model = "ĳ\u0308 ﬁ\u0301", io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["kelb qattus tifel"] * 20),
        model_writer=model,
        vocab_size=20,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    rules = proto.ModelProto.FromString(model.getvalue()).normalizer_spec.precompiled_charsmap
    reference = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc")
    exact = reference.normalize(spoken).replace("\u2581", " ").strip()
    ours = tokenizer.backend_tokenizer.normalizer.normalize_str(spoken)
    assert exact == "ij\u0308 fi\u0301" and ours == unicodedata.normalize("NFKC", exact), "nothing is lost"
    assert normalizers.Precompiled(rules).normalize_str(spoken) == "ij fi"
