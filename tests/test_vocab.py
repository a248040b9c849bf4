"""langlift vocab build, apply and trim, on tokenizers of every kind and models of every architecture."""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import MALTESE, SHAPE
from tiny_llama import make_tiny_llama
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
)

from langlift.backbones.loading import load_masked_model, load_model, load_tokenizer
from langlift.backbones.registry import backbone_of
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError, LangliftError
from langlift.languages import find_language
from langlift.training.adaptation import adapt
from langlift.training.recipes import AdaptRecipe
from langlift.vocab.applying import apply_vocabulary
from langlift.vocab.building import build_vocabulary
from langlift.vocab.corpora import MEASURED_LINES, evenly, read_corpora
from langlift.vocab.extension import extended
from langlift.vocab.parts import State, load_vocabulary, special_ids, token_ids
from langlift.vocab.recipe import VocabRecipe
from langlift.vocab.tokenizer_training import train_tokenizer, train_unigram_tokenizer
from langlift.vocab.trimming import kept_ids, most_used_ids, trim_vocabulary, trimmed_state, unknown_words

ENGLISH = [
    "The cat sat by the window and watched the rain fall on the harbour all afternoon.",
    "Nobody in the village remembers who built the old stone bridge over the river.",
    "She reads three newspapers before breakfast and forgets all of them by noon.",
]
UNSEEN = ["ዛሬ ዝናብ ይዘንባል።", "Кывъяс 東京 ħobż 🙂"]
AMHARIC = [f"ዛሬ ዝናብ ይዘንባል። {i % 7} ነገ ፀሐይ ይወጣል።" for i in range(50)]
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
KINDS = ["unigram", "without_bytes", "wordpiece", "byte_level", "gemma"]


def gemma_like(lines):
    """BPE without words and with byte fallback, as Gemma's (mmBERT)."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    first = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        lines, trainers.BpeTrainer(vocab_size=700, special_tokens=first, limit_alphabet=60, show_progress=False)
    )
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][: len(SPECIAL)]
    state["pre_tokenizer"] = {
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False
    }  # fmt: skip
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>",
        mask_token="<mask>", model_max_length=64,
    )  # fmt: skip


def byte_level(lines):
    """GPT-2's BPE, the mask added beyond the model's own pieces as in ModernBERT."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL[:-1], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("<eos>", 1), ("<bos>", 2))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<bos>", cls_token="<bos>", eos_token="<eos>", sep_token="<eos>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>", model_max_length=64,
    )  # fmt: skip
    assert fast.mask_token_id == 600
    return fast


@pytest.fixture(scope="module")
def tokenizers(tiny_xlm_roberta, tiny_bert, maltese_lines):
    half = maltese_lines[: len(maltese_lines) // 2]
    return {
        "unigram": load_tokenizer(str(tiny_xlm_roberta)),
        "without_bytes": train_unigram_tokenizer(half, 600, 64, byte_fallback=False),
        "wordpiece": load_tokenizer(str(tiny_bert)),
        "byte_level": byte_level(half),
        "gemma": gemma_like(half),
    }


@pytest.fixture(scope="module")
def english(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "eng.txt"
    path.write_text("\n".join(ENGLISH * 30), encoding="utf-8")
    return path


def tokens(tokenizer, line):
    return tokenizer.convert_ids_to_tokens(tokenizer(line, add_special_tokens=False)["input_ids"])


def reloaded(tokenizer, folder):
    tokenizer.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


# --- building


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_vocabulary_is_in_the_bases_manner(kind, tokenizers, maltese_lines, tmp_path):
    base = tokenizers[kind]
    made = train_tokenizer(maltese_lines, "auto", 800, base)
    again = train_tokenizer(maltese_lines, "auto", 800, base)
    assert made.get_vocab() == again.get_vocab()
    assert made.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
    made = reloaded(made, tmp_path)
    assert len(made) == 800
    assert State.of(made).kind == State.of(base).kind
    roles = {role: base.convert_ids_to_tokens(number) for role, number in special_ids(base).items()}
    assert {role: made.convert_ids_to_tokens(number) for role, number in special_ids(made).items()} == roles
    assert max(special_ids(made).values()) < len(set(roles.values()))  # they come first
    for texts in (("Il-qattus",), ("Il-qattus", "u l-kelb")):
        ours, theirs = made.backend_tokenizer.encode(*texts), base.backend_tokenizer.encode(*texts)
        assert around(ours) == around(theirs)
    masked = made(f"Il-{base.mask_token} u l-kelb")["input_ids"]
    assert masked.count(made.mask_token_id) == 1
    assert made.model_max_length == base.model_max_length
    for line in [*maltese_lines[:20], *UNSEEN]:
        decoded = made.decode(made(line, add_special_tokens=False)["input_ids"])
        if kind == "wordpiece":
            continue
        assert decoded.replace(" ", "") == line.replace(" ", "")


def around(encoding):
    """The special tokens and token types of an encoding, the texts' own tokens as one each."""
    parts = []
    for token, sequence, kind in zip(encoding.tokens, encoding.sequence_ids, encoding.type_ids, strict=True):
        part = (token if sequence is None else sequence, kind)
        if sequence is None or part not in parts[-1:]:
            parts.append(part)
    return parts


def test_stored_truncation_and_padding_have_no_effect(tiny_bert, maltese_lines, tmp_path):
    plain = load_tokenizer(str(tiny_bert))
    stored = State.of(plain).tokenizer(plain)
    stored.backend_tokenizer.enable_truncation(8)
    stored.backend_tokenizer.enable_padding(pad_id=plain.pad_token_id, pad_token=plain.pad_token, length=8)
    stored.save_pretrained(tmp_path)
    assert '"Fixed": 8' in (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    base = load_tokenizer("stored", str(tmp_path))
    assert extended(base, maltese_lines, 100)[1:] == extended(plain, maltese_lines, 100)[1:]
    made = train_tokenizer(maltese_lines, "auto", 500, base)
    assert made("")["input_ids"] == [made.cls_token_id, made.sep_token_id]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "wordpiece"])
def test_another_kind_than_the_bases(kind, tokenizers, maltese_lines, tmp_path):
    for base in (tokenizers["unigram"], tokenizers["wordpiece"]):
        made = reloaded(train_tokenizer(maltese_lines, kind, 700, base), tmp_path / base.pad_token)
        assert State.of(made).kind == kind
        assert made.pad_token == base.pad_token
        ids = made(maltese_lines[5])["input_ids"]
        assert made.unk_token_id not in ids
        assert (ids[0], ids[-1]) == (made.cls_token_id, made.sep_token_id)


def test_wordpiece_is_what_its_own_trainer_makes(tokenizers, maltese_lines):
    """Up to ties, which that trainer breaks at random: nearly all of the pieces."""
    base = tokenizers["wordpiece"]
    made = train_tokenizer(maltese_lines, "auto", 800, base, character_coverage=1.0)
    reference = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    reference.normalizer = base.backend_tokenizer.normalizer
    reference.pre_tokenizer = base.backend_tokenizer.pre_tokenizer
    trainer = trainers.WordPieceTrainer(vocab_size=800, show_progress=False)
    reference.train_from_iterator(maltese_lines, trainer)
    assert len(made.get_vocab().keys() & reference.get_vocab().keys()) > 0.95 * 800


def test_a_text_that_is_too_small(tokenizers, maltese_lines):
    for kind, said in (("unigram", "gives only"), ("wordpiece", "gives only"), ("byte_level", "gives only")):
        with pytest.raises(LangliftError, match=said):
            train_tokenizer(maltese_lines[:30], "auto", 20_000, tokenizers[kind])
    with pytest.raises(LangliftError, match="cannot contain"):
        train_tokenizer(maltese_lines, "auto", 60, tokenizers["wordpiece"])


def test_corpora_are_drawn_by_alpha(english, tmp_path):
    small = tmp_path / "small.txt"
    small.write_text("\n".join(f"kelma numru {i} fit-test il-qasir tagħna" for i in range(40)), encoding="utf-8")
    level = read_corpora([MALTESE, small], alpha=0.0)
    drawn = list(level.sampled(seed=1))
    mine = sum("kelma numru" in line for line in drawn)
    assert len(drawn) == sum(map(len, level.lines))
    assert abs(mine / len(drawn) - 0.5) < 0.1
    assert {line for line in drawn if "kelma numru" in line} == set(level.lines[1])  # over and over, none left out
    assert drawn == list(level.sampled(seed=1)) != list(level.sampled(seed=2))
    by_size = read_corpora([MALTESE, small], alpha=1.0)
    assert by_size.shares[1] == pytest.approx(len(by_size.lines[1]) / len(drawn))
    with pytest.raises(InputError, match="given twice"):
        read_corpora([small, small], alpha=1.0)


# --- extending


@pytest.mark.parametrize("kind", KINDS)
def test_an_extension_joins_and_leaves_the_rest(kind, tokenizers, maltese_lines, tmp_path):
    base = tokenizers[kind]
    train = maltese_lines[len(maltese_lines) // 2 :]
    extension = extended(base, train, 150)
    longer = reloaded(extension.tokenizer, tmp_path)
    new = {*extension.characters, *extension.joined}
    assert len(new) == 150
    assert longer.get_vocab().keys() - base.get_vocab().keys() == new
    assert all(longer.get_vocab()[piece] == number for piece, number in base.get_vocab().items())
    assert sorted(longer.get_vocab().values()) == list(range(len(base) + 150))
    touched = untouched = 0
    for line in [*maltese_lines, *ENGLISH, *UNSEEN]:
        before, after = tokens(base, line), tokens(longer, line)
        if not new.intersection(after):
            assert after == before
            untouched += 1
            continue
        touched += 1
        assert len(after) <= len(before) or kind == "wordpiece"
        if kind != "wordpiece":
            assert boundaries(longer, line) <= boundaries(base, line)
    assert touched > 100
    assert untouched > 0
    assert cost(longer, train) < 0.95 * cost(base, train)
    assert longer.mask_token_id == base.mask_token_id
    assert extension.joined == extended(base, train, 150).joined


def boundaries(tokenizer, line):
    return {
        end for _, end in tokenizer(line, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    }


def cost(tokenizer, lines):
    return sum(len(ids) for ids in tokenizer(lines, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_come_in_the_order_of_their_use(kind, tokenizers, maltese_lines):
    base = tokenizers[kind]
    few, many = extended(base, maltese_lines, 40), extended(base, maltese_lines, 160)
    joined = len(few.joined)
    assert many.joined[:joined] == few.joined or many.characters != few.characters
    saved = [cost(base, maltese_lines) - cost(e.tokenizer, maltese_lines) for e in (few, many)]
    assert 0 < saved[0] < saved[1] < 4 * saved[0]  # four times as many pieces, each of less use


@pytest.mark.parametrize("kind", ["unigram", "without_bytes", "wordpiece", "gemma"])
def test_an_unseen_script_gets_characters(kind, tokenizers):
    base = tokenizers[kind]
    lines = AMHARIC
    extension = extended(base, lines, 24)
    assert {character.removeprefix("##") for character in extension.characters} <= set("".join(lines))
    before, after = tokens(base, lines[0]), tokens(extension.tokenizer, lines[0])
    assert any(piece.startswith("<0x") or piece == base.unk_token for piece in before)
    assert sum(piece.startswith("<0x") for piece in after) < sum(piece.startswith("<0x") for piece in before) or (
        after.count(base.unk_token) < before.count(base.unk_token)
    )


def test_an_extension_that_the_text_does_not_give(tokenizers, maltese_lines):
    with pytest.raises(LangliftError, match=r"gives only \d+ new tokens"):
        extended(tokenizers["unigram"], maltese_lines[:20], 5000)


# --- trimming


@pytest.mark.parametrize("kind", KINDS)
def test_trimmed_tokenizers_cut_the_corpus_as_before(kind, tokenizers, maltese_lines, tmp_path):
    """Also what is unknown: a trimmed WordPiece must not find another way through a word."""
    base = tokenizers[kind]
    for lines in (maltese_lines[:40], [*ENGLISH, *UNSEEN], ["Il-qattusħħ abjaḍ", *maltese_lines[7:9]]):
        state = State.of(base)
        used = {number for line in lines for number in base(line)["input_ids"]}
        keep = kept_ids(state, used, unknown_words(base, lines))
        trimmed = reloaded(trimmed_state(state, keep).tokenizer(base), tmp_path / str(len(keep)))
        assert len(trimmed) == len(keep) < len(base)
        assert sorted(trimmed.get_vocab().values()) == list(range(len(keep)))
        for line in lines:
            assert [keep[number] for number in trimmed(line, line)["input_ids"]] == base(line, line)["input_ids"]
        assert {role: keep[number] for role, number in special_ids(trimmed).items()} == special_ids(base)


def test_a_trimmed_wordpiece_keeps_unknown_words_unknown():
    """In full: "ab" is the longest match, and then nothing matches "x"; without "ab" there is a + ##bx."""
    vocabulary = ["[UNK]", "[PAD]", "[MASK]", "a", "ab", "##bx", "##c", "cbx", "c"]
    tokenizer = Tokenizer(models.WordPiece({p: n for n, p in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    base = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", mask_token="[MASK]"
    )
    lines = ["abx", "a abc".replace("abc", "ac"), "cbx"]
    assert tokens(base, "abx") == ["[UNK]"]
    state = State.of(base)
    state["model"]["vocab"] = {**state["model"]["vocab"]}
    used = {number for line in [*lines, "abx"] for number in base(line)["input_ids"]} | {vocabulary.index("##bx")}
    without = [number for number in kept_ids(state, used, []) if vocabulary[number] != "ab"]
    assert tokens(trimmed_state(state, without).tokenizer(base), "abx") == ["a", "##bx"]
    keep = kept_ids(state, used, unknown_words(base, ["abx"]))
    assert tokens(trimmed_state(state, keep).tokenizer(base), "abx") == ["[UNK]"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_size_keeps_characters_and_the_pieces_in_most_use(kind, tokenizers, maltese_lines):
    base = tokenizers[kind]
    state = State.of(base)
    use = Counter(number for ids in token_ids(base, maltese_lines) for number in ids)
    always = set(most_used_ids(state, {}, len(base)))
    least = len(always)
    size = (least + len(base)) // 2
    keep = most_used_ids(state, use, size)
    trimmed = trimmed_state(state, keep).tokenizer(base)
    assert size - 3 <= len(keep) <= size and len(trimmed) == len(keep)
    names = {number: piece for piece, number in state.pieces.items()}
    dropped = [number for number in use if number in names and number not in keep]
    assert dropped and always < set(keep)
    if state.kind != "bpe":  # which keeps what its pieces are made with, too
        assert max(use[number] for number in dropped) <= min(use[number] for number in {*keep} - always)
    for line in maltese_lines[:100]:
        ids = trimmed(line, add_special_tokens=False)["input_ids"]
        assert (trimmed.unk_token_id in ids) <= (
            base.unk_token_id in base(line, add_special_tokens=False)["input_ids"]
        )
    with pytest.raises(InputError, match="special tokens, bytes and single characters"):
        most_used_ids(state, use, least - 1)


def test_a_size_does_not_read_all_merges_for_each_token():
    class Merges(list):
        reads = 0

        def __iter__(self):
            self.reads += 1
            return super().__iter__()

    pieces = [*"abcdefgh", *(a + b for a in "abcdefgh" for b in "abcdefgh")]
    merges = Merges([piece[0], piece[1]] for piece in pieces[8:])
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    parts = {"normalizer": None, "pre_tokenizer": None, "added_tokens": []}
    state = State({"model": {"type": "BPE", "vocab": vocabulary, "merges": merges}, **parts})
    keep = most_used_ids(state, dict.fromkeys(range(8, 72), 1.0), 50)
    assert keep == list(range(50)) and merges.reads <= 2


def test_corpora_count_alike_in_a_size(tmp_path, langlift, maltese_lines):
    """A short corpus's words stay beside a long one's."""
    (tmp_path / "long.txt").write_text("\n".join(maltese_lines * 3), encoding="utf-8")
    (tmp_path / "short.txt").write_text("The quick brown fox jumps over the lazy dog\n" * 2, encoding="utf-8")
    done = langlift(
        "vocab", "trim", "--base", "langlift-nano", "--corpus", tmp_path / "long.txt", "--corpus",
        tmp_path / "short.txt", "--size", 1500, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    result = json.loads(done.out.splitlines()[-1])
    assert result["vocabulary_after"] == 1500 and 0 < result["lines_changed"] < 1
    assert result["after"]["tokens_per_word"] > result["before"]["tokens_per_word"]
    before, after = load_tokenizer("langlift-nano"), load_tokenizer(str(tmp_path / "out"))
    assert after.tokenize("The quick brown fox") == before.tokenize("The quick brown fox")


def test_trimming_changes_no_logit(base, tmp_path):
    """Every architecture: the same logits for kept pieces, on lines of the corpus."""
    text = tmp_path / "text.txt"
    lines = [*ENGLISH, *UNSEEN, "Il-qattus raqad fuq is-siġġu."]
    text.write_text("\n".join(lines), encoding="utf-8")
    result = trim_vocabulary(str(base), [text], tmp_path / "out")
    before, after = (
        AutoModelForMaskedLM.from_pretrained(f, dtype=torch.float32).eval() for f in (base, tmp_path / "out")
    )
    old, new = (AutoTokenizer.from_pretrained(folder) for folder in (base, tmp_path / "out"))
    keep = [old.convert_tokens_to_ids(piece) for piece in new.convert_ids_to_tokens(range(len(new)))]
    assert result.vocabulary_after == len(keep) < result.vocabulary_before == 600
    assert result.parameters_after < result.parameters_before
    with torch.no_grad():
        for line in lines:
            theirs, ours = (tokenizer(line, return_tensors="pt") for tokenizer in (old, new))
            theirs["input_ids"][0, 3], ours["input_ids"][0, 3] = old.mask_token_id, new.mask_token_id
            theirs, ours = before(**theirs).logits[..., keep], after(**ours).logits
            assert torch.allclose(ours, theirs, rtol=0, atol=2e-6), (ours - theirs).abs().max()
    assert type(after) is type(before)
    record = json.loads((tmp_path / "out" / "vocabulary.json").read_text())
    assert record["corpora"] == [
        {"corpus": "text.txt", "sha256": hashlib.sha256(text.read_bytes()).hexdigest(), "lines": len(lines)}
    ]
    load_masked_model(str(tmp_path / "out"))


# --- applying


@pytest.fixture(scope="module")
def other_vocabulary(tmp_path_factory, maltese_lines) -> Callable[[Path], Path]:
    """A vocabulary of 500 in the manner of a model, on the second half of the text."""

    def build(base: Path) -> Path:
        made = train_tokenizer(maltese_lines[250:], "auto", 500, load_tokenizer(str(base)))
        folder = tmp_path_factory.mktemp("vocabulary")
        made.save_pretrained(folder)
        return folder

    return build


@pytest.mark.parametrize("init", ["script", "mean", "random"])
def test_applied_to_every_architecture(init, base, other_vocabulary, tmp_path):
    folder = other_vocabulary(base)
    result = apply_vocabulary(str(base), str(folder), tmp_path / "out", VocabRecipe(init=init))
    old, new = load_tokenizer(str(base)), AutoTokenizer.from_pretrained(tmp_path / "out")
    before, after = load_masked_model(str(base)), load_masked_model(str(tmp_path / "out"))
    assert new.get_vocab() == load_vocabulary(str(folder)).get_vocab()
    assert result.copied + result.combined + result.drawn == len(new) == 500
    assert result.copied == result.overlap + len(set(special_ids(new).values()))
    decoder = backbone_of(after).head_decoder
    pairs = [
        (before.get_input_embeddings().weight, after.get_input_embeddings().weight),
        (before.get_submodule(decoder).weight, after.get_submodule(decoder).weight),
        (before.get_submodule(decoder).bias, after.get_submodule(decoder).bias),
    ]
    same = {
        number: old.get_vocab()[piece] for piece, number in new.get_vocab().items() if piece in old.get_vocab()
    }
    assert len(same) > 150
    for theirs, ours in pairs:
        assert torch.equal(ours[list(same)], theirs[list(same.values())])
        assert torch.isfinite(ours).all()
    others = [number for number in new.get_vocab().values() if number not in same]
    assert (pairs[0][1][others].std(dim=0) > 0).all()
    config = after.config
    assert (config.vocab_size, config.pad_token_id) == (500, new.pad_token_id)
    untouched = {n: p for n, p in before.state_dict().items() if p.shape[0] != 600}
    assert all(torch.equal(after.state_dict()[name], tensor) for name, tensor in untouched.items())


def test_focus_end_to_end(langlift, tiny_xlm_roberta, english, tmp_path):
    pytest.importorskip("gensim")
    model, out = tmp_path / "vocabulary", tmp_path / "model"
    built = langlift(
        "vocab", "build", "family", "--base", tiny_xlm_roberta, "--corpus", MALTESE, "--corpus", english,
        "--size", 500, "--alpha", 0.1, "--out", model, "--json",
    )  # fmt: skip
    assert built.code == 0, built.err
    assert (built.json["language"], built.json["kind"], built.json["size"]) == ("family", "unigram", 500)
    assert sum(built.json["shares"].values()) == pytest.approx(1, abs=1e-5)
    applied = langlift(
        "vocab", "apply", "--base", tiny_xlm_roberta, "--vocabulary", model, "--corpus", MALTESE,
        "--corpus", english, "--set", "vector_least_count=3", "--set", "vector_size=16", "--out", out, "--json",
    )  # fmt: skip
    assert applied.code == 0, applied.err
    result = applied.json
    assert result["copied"] + result["combined"] + result["drawn"] == 500
    assert min(result[key] for key in ("copied", "combined", "overlap")) > 10
    assert (result["before"], result["after"]) == (built.json["before"], built.json["after"])
    record = json.loads((out / "vocabulary.json").read_text())
    assert record["result"]["overlap"] == result["overlap"]
    assert record["vocab"]["vector_size"] == 16
    logits = AutoModelForMaskedLM.from_pretrained(out)(
        **AutoTokenizer.from_pretrained(out)("kelb", return_tensors="pt")
    )
    assert logits.logits.shape[-1] == 500
    refused = langlift(
        "vocab", "apply", "--base", tiny_xlm_roberta, "--vocabulary", model, "--out", tmp_path / "x"
    )
    assert refused.code == 2
    assert "needs text" in refused.err


def test_an_extension_applied(langlift, tiny_bert, tmp_path):
    vocabulary, out = tmp_path / "vocabulary", tmp_path / "model"
    text = tmp_path / "eng.txt"
    text.write_text("\n".join(ENGLISH * 30), encoding="utf-8")
    built = langlift(
        "vocab", "build", "eng", "--extend", tiny_bert, "--pieces", 50, "--corpus", text, "--out", vocabulary
    )
    assert built.code == 0, built.err
    assert f"--base {shlex.quote(str(tiny_bert))}" in built.err
    applied = langlift(
        "vocab", "apply", "--base", tiny_bert, "--vocabulary", vocabulary, "--init", "mean", "--corpus", text,
        "--out", out, "--json",
    )  # fmt: skip
    assert applied.code == 0, applied.err
    assert (applied.json["overlap"], applied.json["copied"]) == (595, 600)
    assert applied.json["combined"] + applied.json["drawn"] == 50
    before, after = (AutoModelForMaskedLM.from_pretrained(folder).eval() for folder in (tiny_bert, out))
    sentence = AutoTokenizer.from_pretrained(out)("Il-qattus", return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(after(**sentence).logits[..., :600], before(**sentence).logits, atol=1e-6)


def test_a_base_without_bytes_gets_an_unseen_script(
    langlift, tiny_xlm_roberta, tokenizers, maltese_lines, tmp_path
):
    """What was one unknown token a word becomes pieces; what the base knew before is read as before."""
    base, text = tmp_path / "base", tmp_path / "amh.txt"
    load_masked_model(str(tiny_xlm_roberta)).save_pretrained(base)
    tokenizers["without_bytes"].save_pretrained(base)
    text.write_text("\n".join(AMHARIC), encoding="utf-8")
    for how, vocabulary in (
        (["--extend", base, "--pieces", 40], "longer"),
        (["--base", base, "--size", 288], "own"),
    ):
        built = langlift("vocab", "build", "amh", *how, "--corpus", text, "--out", tmp_path / vocabulary, "--json")
        assert built.code == 0, built.err
        assert built.json["before"]["unknown_share"] > 0.3
        assert built.json["after"]["unknown_share"] == 0
        for init in ("focus", "script", "mean", "random"):
            applied = langlift(
                "vocab", "apply", "--base", base, "--vocabulary", tmp_path / vocabulary, "--init", init,
                "--corpus", text, "--out", tmp_path / f"{vocabulary}-{init}",
            )  # fmt: skip
            assert applied.code == 0, applied.err
            assert "unknown tokens" in applied.out and "-> 0.0%" in applied.out
    line = maltese_lines[0]
    before, after = (load_masked_model(str(folder)) for folder in (base, tmp_path / "longer-mean"))
    ids, ours = (load_tokenizer(str(f))(line, return_tensors="pt") for f in (base, tmp_path / "longer-mean"))
    assert torch.equal(ids["input_ids"], ours["input_ids"])
    with torch.no_grad():
        assert torch.allclose(after(**ours).logits[..., :600], before(**ids).logits, atol=1e-6)
    text.write_text("\n".join([*AMHARIC, line]), encoding="utf-8")
    trimmed = langlift("vocab", "trim", "--base", base, "--corpus", text, "--out", tmp_path / "small", "--json")
    assert trimmed.code == 0, trimmed.err
    small = load_tokenizer(str(tmp_path / "small"))
    assert tokens(small, AMHARIC[0]) == tokens(load_tokenizer(str(base)), AMHARIC[0])
    assert small.unk_token in tokens(small, AMHARIC[0])


def test_untied_output_embeddings_get_their_own_rows(tiny_bert, other_vocabulary, tmp_path):
    model = BertForMaskedLM.from_pretrained(tiny_bert)
    model.config.tie_word_embeddings = False
    torch.manual_seed(3)
    untied = BertForMaskedLM(model.config)
    untied.save_pretrained(tmp_path / "base")
    load_tokenizer(str(tiny_bert)).save_pretrained(tmp_path / "base")
    base = str(tmp_path / "base")
    apply_vocabulary(base, str(other_vocabulary(tiny_bert)), tmp_path / "out", VocabRecipe(init="mean"))
    before, after = load_masked_model(base), load_masked_model(str(tmp_path / "out"))
    assert before.get_input_embeddings().weight.data_ptr() != before.cls.predictions.decoder.weight.data_ptr()
    old, new = load_tokenizer(base).get_vocab(), load_tokenizer(str(tmp_path / "out")).get_vocab()
    ours, theirs = zip(*((new[piece], old[piece]) for piece in new if piece in old), strict=True)
    for get in (lambda m: m.get_input_embeddings().weight, lambda m: m.cls.predictions.decoder.weight):
        assert torch.equal(get(after)[list(ours)], get(before)[list(theirs)])
    assert not torch.equal(after.get_input_embeddings().weight, after.cls.predictions.decoder.weight)


def test_positions_move_with_the_pad_token(tiny_xlm_roberta, maltese_lines, tmp_path):
    """The vocabulary of a BERT in an XLM-R: the pad token's id is another, and positions count from it."""
    source = load_tokenizer(str(tiny_xlm_roberta))
    made = train_tokenizer(maltese_lines, "auto", 600, source)
    state = State.of(made)
    order = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]  # pad first
    state["model"]["vocab"][:5] = [[token, 0.0] for token in order]
    state["added_tokens"] = [entry | {"id": order.index(entry["content"])} for entry in state["added_tokens"]]
    state["added_tokens"].sort(key=lambda entry: entry["id"])
    for token, entry in state["post_processor"]["special_tokens"].items():
        entry["ids"] = [order.index(token)]
    state.tokenizer(made).save_pretrained(tmp_path / "vocabulary")
    apply_vocabulary(
        str(tiny_xlm_roberta), str(tmp_path / "vocabulary"), tmp_path / "out", VocabRecipe(init="mean")
    )
    before, after = load_masked_model(str(tiny_xlm_roberta)), load_masked_model(str(tmp_path / "out"))
    new = load_tokenizer(str(tmp_path / "out"))
    assert (new.pad_token_id, after.config.pad_token_id, after.config.max_position_embeddings) == (0, 0, 65)
    line = maltese_lines[0]
    ids, theirs = new(line, return_tensors="pt"), source(line, return_tensors="pt")
    assert tokens(new, line) == tokens(source, line)
    with torch.no_grad():
        ours, expected = after(**ids).logits, before(**theirs).logits
    order = [source.convert_tokens_to_ids(piece) for piece in new.convert_ids_to_tokens(range(600))]
    assert torch.allclose(ours, expected[..., order], atol=1e-5)


def test_half_precision_stays_half(tokenizers, maltese_lines, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n".join(ENGLISH), encoding="utf-8")
    trim_vocabulary("langlift-nano", [text], tmp_path / "out")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.float16
    nano = load_masked_model("langlift-nano").state_dict()
    small = load_masked_model(str(tmp_path / "out")).state_dict()
    key = "roberta.embeddings.word_embeddings.weight"
    assert torch.equal(small[key][:5], nano[key][:5])


def test_a_model_with_spare_rows(tokenizers, tmp_path, maltese_lines):
    """ModernBERT's table is longer than its tokenizer's."""
    base = tokenizers["byte_level"]
    config = ModernBertConfig(vocab_size=640, pad_token_id=0, bos_token_id=2, eos_token_id=1, cls_token_id=2,
                              sep_token_id=1, max_position_embeddings=64, **SHAPE)  # fmt: skip
    ModernBertForMaskedLM(config).save_pretrained(tmp_path / "base")
    base.save_pretrained(tmp_path / "base")
    text = tmp_path / "text.txt"
    text.write_text("\n".join(maltese_lines), encoding="utf-8")
    built = build_vocabulary(
        "mlt", str(tmp_path / "base"), [text], tmp_path / "v", VocabRecipe(pieces=30), extend=True
    )
    assert (built.kind, built.size) == ("extension", 631)
    apply_vocabulary(str(tmp_path / "base"), str(tmp_path / "v"), tmp_path / "out", VocabRecipe(init="mean"))
    assert load_masked_model(str(tmp_path / "out")).config.vocab_size == 631
    text.write_text("\n".join(maltese_lines[:20]), encoding="utf-8")
    result = trim_vocabulary(str(tmp_path / "out"), [text], tmp_path / "small")
    assert load_masked_model(str(tmp_path / "small")).config.vocab_size == result.vocabulary_after < 631


@pytest.mark.parametrize("tied", [True, False])
def test_decoders_get_vocabularies_too(tied, maltese_lines, tmp_path):
    base = make_tiny_llama(tmp_path / "llama", maltese_lines[:100], tied=tied)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(maltese_lines), encoding="utf-8")
    recipe = VocabRecipe(size=600, pieces=50, init="mean")
    before, tokenizer = load_model(str(base)), load_tokenizer(str(base))
    ids = tokenizer(maltese_lines[3], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = before(input_ids=ids).logits

    build_vocabulary("mlt", str(base), [text], tmp_path / "more", recipe, extend=True)
    apply_vocabulary(str(base), str(tmp_path / "more"), tmp_path / "extended", recipe)
    extended = load_model(str(tmp_path / "extended"))
    with torch.no_grad():
        assert torch.allclose(extended(input_ids=ids).logits[..., :400], expected, atol=1e-5)
    assert extended.config.vocab_size == 450
    assert (extended.get_input_embeddings().weight is extended.get_output_embeddings().weight) == tied
    renewed = load_tokenizer(str(tmp_path / "extended"))
    assert renewed.chat_template == tokenizer.chat_template
    assert len(renewed(maltese_lines[3])["input_ids"]) < ids.shape[1]

    trim_vocabulary(str(tmp_path / "extended"), [text], tmp_path / "trimmed", size=420)
    trimmed, kept = load_model(str(tmp_path / "trimmed")), load_tokenizer(str(tmp_path / "trimmed"))
    assert trimmed.config.vocab_size == len(kept) == 420
    assert (trimmed.get_input_embeddings().weight is trimmed.get_output_embeddings().weight) == tied

    build_vocabulary("mlt", str(base), [text], tmp_path / "own", recipe)
    apply_vocabulary(str(base), str(tmp_path / "own"), tmp_path / "new", recipe)
    quick = AdaptRecipe(objective="causal", steps=2, batch_size=4, max_tokens=48, learning_rate=1e-3)
    result = adapt(find_language("mlt"), str(tmp_path / "new"), text, tmp_path / "run", quick)
    assert result.vocabulary_size == 600 and result.validation_loss <= result.validation_loss_before


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["build", "mlt", "--corpus", MALTESE, "--out", "x"], "either --base or --extend"),
        (["build", "mlt", "--base", "a", "--extend", "b", "--corpus", MALTESE, "--out", "x"], "either --base"),
        (["build", "mlt", "--base", "a", "--pieces", "5", "--corpus", MALTESE, "--out", "x"], "without --extend"),
        (["build", "mlt", "--extend", "a", "--size", "500", "--corpus", MALTESE, "--out", "x"], "with --extend"),
        (["build", "mlt", "--base", "a", "--kind", "char", "--corpus", MALTESE, "--out", "x"], "unigram"),
        (["build", "mlt", "--base", "langlift-nano", "--corpus", "none.txt", "--out", "x"], "none.txt: no such"),
        (["apply", "--base", "langlift-nano", "--vocabulary", "./none", "--init", "mean", "--out", "x"], "./none"),
        (["apply", "--base", "langlift-nano", "--vocabulary", ".", "--init", "mean", "--out", "x"], "vocabulary"),
        (["apply", "--base", "a", "--vocabulary", "v", "--init", "mean", "--vectors", "f", "--out", "x"], "--vec"),
        (["trim", "--base", "langlift-nano", "--corpus", "none.txt", "--out", "x"], "none.txt: no such file"),
    ],
)  # fmt: skip
def test_mistakes(arguments, said, langlift, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = langlift("vocab", *arguments, "--json")
    assert result.code == 2
    assert said in result.error["error"]
    assert not (tmp_path / "x").exists()


def test_a_test_split_stays_unseen():
    """What is kept for testing does not go into the vocabulary."""
    assert read_corpora([MALTESE], 0.3).lines[0] == load_text_data(MALTESE).train


def test_lines_to_measure_on_come_evenly_from_all_corpora():
    lines = ["one"] * 2000 + ["two"] * 1999
    found = evenly(lines)
    assert len(found) == MEASURED_LINES and abs(found.count("two") - MEASURED_LINES // 2) <= 1
    assert evenly(lines[:7]) == lines[:7] and evenly([]) == []
