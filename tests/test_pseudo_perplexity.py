"""Scores equal a loop that masks one token at a time, written out here from the definition."""

from math import exp
from pathlib import Path

import pytest
import torch

from langlift.backbones.loading import load_masked_model, load_tokenizer, longest_input
from langlift.errors import InputError, LangliftError
from langlift.evaluation import pseudo_perplexity
from langlift.evaluation.gap_filling import SentenceGap, fill_gap, frequent_words, gaps_in
from langlift.evaluation.pseudo_perplexity import score_sentences


def naive(model, tokenizer, sentences: list[str], specials_too: bool) -> list[tuple[float, int]]:
    """(summed log-probability, tokens) of each sentence, one mask and one plain forward pass at a time."""
    results = []
    for sentence in sentences:
        ids = tokenizer(sentence, return_tensors="pt")["input_ids"]
        total, count = 0.0, 0
        for position in range(ids.shape[1]):
            special = ids[0, position] in (tokenizer.cls_token_id, tokenizer.sep_token_id)
            if special and not specials_too:
                continue
            masked = ids.clone()
            masked[0, position] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(input_ids=masked).logits
            total += logits[0, position].log_softmax(-1)[ids[0, position]].item()
            count += 1
        results.append((total, count))
    return results


@pytest.fixture(params=["bert", "xlm-roberta"])
def loaded(request: pytest.FixtureRequest):
    folder: Path = request.getfixturevalue("tiny_bert" if request.param == "bert" else "tiny_xlm_roberta")
    return load_masked_model(str(folder)), load_tokenizer(str(folder))


SENTENCES = [
    "Il-baħar kien kalm.",
    "Iva.",
    "Xtrajna ħobż frisk u żejt mingħand tal-ħanut.",
    "Iva.",
    "Żgħir 👋 ዓለም!",
]


def test_default_equals_the_naive_loop(loaded) -> None:
    model, tokenizer = loaded
    score = score_sentences(model, tokenizer, SENTENCES)
    expected = naive(model, tokenizer, SENTENCES, specials_too=False)
    total, tokens = sum(s for s, _ in expected), sum(n for _, n in expected)
    assert score.tokens == tokens
    assert score.sentences == len(SENTENCES)
    assert score.pseudo_perplexity == pytest.approx(exp(-total / tokens), rel=1e-5)
    assert score.per_character == pytest.approx(exp(-total / sum(map(len, SENTENCES))), rel=1e-5)
    assert score.per_byte == pytest.approx(exp(-total / sum(len(s.encode()) for s in SENTENCES)), rel=1e-5)
    for sentence, (value, count) in zip(score.per_sentence, expected, strict=True):
        assert sentence.log_probability == pytest.approx(value, abs=1e-4)
        assert sentence.pseudo_perplexity == pytest.approx(exp(-value / count), rel=1e-5)


def test_published_equals_the_naive_loop(loaded) -> None:
    model, tokenizer = loaded
    score = score_sentences(model, tokenizer, SENTENCES, variant="published")
    expected = naive(model, tokenizer, SENTENCES, specials_too=True)
    values = [exp(-value / count) for value, count in expected]
    assert score.pseudo_perplexity == pytest.approx(sum(values) / len(values), rel=1e-5)
    assert score.tokens == sum(count for _, count in expected)


def test_within_words_each_piece_is_predicted_without_those_to_its_right(loaded) -> None:
    model, tokenizer = loaded
    sentences = ["Il-baħar kien kalm.", "Iva.", "Żgħir 👋 ዓለም!"]
    score = score_sentences(model, tokenizer, sentences, variant="within_word_l2r")
    total, tokens, hidden_too = 0.0, 0, 0
    for sentence in sentences:
        encoding = tokenizer(sentence, return_offsets_mapping=True)
        ids, offsets = torch.tensor([encoding["input_ids"]]), encoding["offset_mapping"]
        special = (tokenizer.cls_token_id, tokenizer.sep_token_id)
        places = [p for p in range(ids.shape[1]) if ids[0, p] not in special]
        # The word of a token: how many white spaces stand before its end.
        word = {p: sentence[: offsets[p][1]].rstrip().count(" ") if sentence[slice(*offsets[p])].strip() else None
                for p in places}  # fmt: skip
        for p in places:
            word[p] = word[p + 1] if word[p] is None else word[p]  # a mark of a word's beginning alone
        for p in places:
            masked = ids.clone()
            hidden = [q for q in places if q >= p and word[q] == word[p]]
            masked[0, hidden] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(input_ids=masked).logits
            total += logits[0, p].log_softmax(-1)[ids[0, p]].item()
            tokens += 1
            hidden_too += len(hidden) - 1
    assert hidden_too > 10
    assert score.tokens == tokens
    assert score.per_character == pytest.approx(exp(-total / sum(map(len, sentences))), rel=1e-5)
    naively = score_sentences(model, tokenizer, sentences, variant="within_word_l2r", path="naive")
    assert naively.per_character == pytest.approx(score.per_character, rel=1e-5)


def test_the_score_does_not_depend_on_the_batching(loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = loaded
    whole = score_sentences(model, tokenizer, SENTENCES)
    monkeypatch.setattr(pseudo_perplexity, "TOKENS_AT_ONCE", 7)
    assert score_sentences(model, tokenizer, SENTENCES).pseudo_perplexity == pytest.approx(
        whole.pseudo_perplexity, rel=1e-6
    )


def test_unknown_and_byte_shares_are_counted(tiny_bert: Path, tiny_xlm_roberta: Path) -> None:
    foreign = ["ዓለም"]
    bert = score_sentences(load_masked_model(str(tiny_bert)), load_tokenizer(str(tiny_bert)), foreign)
    assert (bert.unknown_share, bert.byte_share) == (1.0, 0.0)
    tokenizer = load_tokenizer(str(tiny_xlm_roberta))
    roberta = score_sentences(load_masked_model(str(tiny_xlm_roberta)), tokenizer, foreign)
    pieces = tokenizer.tokenize("ዓለም")
    assert roberta.unknown_share == 0.0
    assert roberta.byte_share == pytest.approx(sum(p.startswith("<0x") for p in pieces) / len(pieces))
    assert roberta.byte_share > 0.5


def test_a_long_sentence_is_cut_and_said_so(loaded) -> None:
    model, tokenizer = loaded
    long = "Kuljum immorru nixtru l-ħobż. " * 30
    score = score_sentences(model, tokenizer, [long, "Iva."])
    assert score.truncated == 1
    limit = longest_input(model, tokenizer)
    assert limit == 64
    covered = tokenizer(long, truncation=True, max_length=limit, return_offsets_mapping=True)["offset_mapping"]
    characters = max(end for _, end in covered) + len("Iva.")
    total = sum(s.log_probability for s in score.per_sentence)
    assert score.per_character == pytest.approx(exp(-total / characters))


def test_nothing_to_score_is_an_error(loaded) -> None:
    model, tokenizer = loaded
    with pytest.raises(InputError, match="no sentence contains a token"):
        score_sentences(model, tokenizer, ["", " "])
    with pytest.raises(InputError, match="unknown variant 'best'"):
        score_sentences(model, tokenizer, SENTENCES, variant="best")


def test_a_gap_is_filled_as_if_each_word_were_tried_by_itself(loaded) -> None:
    model, tokenizer = loaded
    gap = SentenceGap("Illum xtrajna ", "il-ħobż", " frisk.")
    words = ["ta'", "fuq", "kien", "il-baħar", "li"]
    tried = [*words, gap.answer]
    scores, lengths = {}, set()
    for word in tried:
        encoding = tokenizer(gap.before + word + gap.after, return_offsets_mapping=True)
        start, end = len(gap.before), len(gap.before) + len(word)
        pieces = [p for p, (a, b) in enumerate(encoding["offset_mapping"]) if b > a and a < end and b > start]
        ids, score = torch.tensor([encoding["input_ids"]]), 0.0
        for i, position in enumerate(pieces):
            masked = ids.clone()
            masked[0, pieces[i:]] = tokenizer.mask_token_id
            with torch.no_grad():
                logits = model(input_ids=masked).logits
            score += logits[0, position].log_softmax(-1)[ids[0, position]].item()
        scores[word] = score
        lengths.add(len(pieces))
    assert len(lengths) > 1, "the rows must differ in length"
    best = sorted(tried, key=lambda word: -scores[word])
    shares = torch.tensor([scores[word] for word in best]).softmax(0).tolist()
    found = fill_gap(model, tokenizer, gap, words)
    assert [candidate.word for candidate in found] == best
    assert [candidate.probability for candidate in found] == pytest.approx(shares, rel=1e-3)
    assert fill_gap(model, tokenizer, gap, tried) == found, "a word is tried once"


def test_the_rule_of_gaps_asks_for_length_and_a_word_that_stands_once() -> None:
    sentences = [
        "Kien li.",
        "Marru fuq il-bejt u raw il-baħar.",
        "Iltqajna fuq il-pont u morna d-dar.",
        "Ħarġu u daħlu u raqdu u qamu.",
        "Din is-sentenza twila wisq biex tintgħażel għalhekk titħalla barra għal kollox.",
    ]
    found = gaps_in(sentences, ["u", "fuq", "biex", "li."], 6, 8)
    assert found == [
        SentenceGap("Marru ", "fuq", " il-bejt u raw il-baħar."),
        SentenceGap("Iltqajna ", "fuq", " il-pont u morna d-dar."),
    ]
    assert gaps_in(["u u biex a b c"], ["u", "biex"], 6, 6) == [SentenceGap("u u ", "biex", " a b c")]


def test_frequent_words_are_words() -> None:
    texts = ["Il-baħar kien kalm, ta' veru kien kalm.", "kien 12 ta' Mejju"]
    assert frequent_words(texts, 2) == ["kien", "ta'"]


def test_weights_that_are_not_numbers_have_no_score(tiny_model: Path) -> None:
    model, tokenizer = load_masked_model(str(tiny_model)), load_tokenizer(str(tiny_model))
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    with pytest.raises(LangliftError, match="the log-probability of the text is nan"):
        score_sentences(model, tokenizer, ["Il-qattus qed jorqod."])
