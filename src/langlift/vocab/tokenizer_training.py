"""Train tokenizers: unigram like XLM-R's, with byte fallback, or of any kind like that of a base model."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram, WordPiece
from transformers import PreTrainedTokenizerFast

from langlift.errors import LangliftError
from langlift.vocab.parts import META, ROLES, State, words_of

# In XLM-R's order, with the mask, so that every id below len(SPECIAL) is a special token.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
CHARACTER_COVERAGE = 0.9998
LONGEST_LINE = 2048
FIRST_CODE_POINT = 0x10000
"""Symbols are represented by characters from here on, none of which is white space."""
MINIMUM_COUNT = 2
"""Minimum frequency of a character or pair to be used."""

Word = tuple[str, ...]


class Merge(NamedTuple):
    """Two neighbouring tokens, and the token that they form."""

    left: str
    right: str
    piece: str


def train_unigram_tokenizer(
    lines: Iterable[str],
    vocabulary_size: int,
    model_max_length: int,
    byte_fallback: bool = True,
    closed: bool = True,
) -> PreTrainedTokenizerFast:
    """Train a unigram vocabulary (Kudo 2018) of ``vocabulary_size`` entries.

    These are five special tokens, 256 byte tokens for characters without a token, and subwords. Without
    ``byte_fallback`` there are no byte tokens, and such characters are unknown, as in XLM-R. Texts are put between
    ``<s>`` and ``</s>``, or, if not ``closed`` (for decoders), after ``<s>``. Text is normalised by NFKC, and
    white space is reduced to single spaces. LangliftError if sentencepiece is not installed, or the text is too
    small for the vocabulary.
    """
    tokenizer = _empty("unigram")
    count = vocabulary_size - len(SPECIAL)
    pieces = _unigram_pieces(lines, tokenizer.normalizer, count, CHARACTER_COVERAGE, byte_fallback)
    vocabulary = [(token, 0.0) for token in SPECIAL] + pieces
    tokenizer.model = Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=byte_fallback)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if closed else "<s> $A",
        pair="<s> $A </s> </s> $B </s>" if closed else "<s> $A $B",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def train_tokenizer(
    lines: Iterable[str], kind: str, size: int, base: Any, character_coverage: float = CHARACTER_COVERAGE
) -> PreTrainedTokenizerFast:
    """Train a vocabulary of ``size`` entries like ``base``'s, of the same kind (``auto``) or another.

    It has the base's special tokens in their roles, first and in the order of their ids there, and adds them to a
    text as the base does. If the kind is the same, so are normalisation and pre-tokenisation; only the tokens are
    new. Characters beyond ``character_coverage`` of the text are encoded as bytes, or in WordPiece, which has
    none, make their words unknown. InputError if the kind of the base's tokenizer is not supported; LangliftError
    as in ``train_unigram_tokenizer``.
    """
    state = State.of(base)
    kind = state.kind if kind == "auto" else kind
    if kind != state.kind:
        empty = json.loads(_empty(kind).to_str())
        state |= {part: empty[part] for part in ("normalizer", "pre_tokenizer", "decoder", "model")}
    special = _special_tokens(base, state["added_tokens"])
    names = [entry["content"] for entry in special]
    unknown = base.unk_token or "<unk>"
    train = {"unigram": _unigram_model, "bpe": _bpe_model, "wordpiece": _wordpiece_model}[kind]
    state["model"] = train(lines, names, unknown, size, state, character_coverage)
    if state["model"].get("byte_fallback") and "ByteFallback" not in json.dumps(state["decoder"]):
        inner = [state["decoder"]] if state["decoder"] else []
        state["decoder"] = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, *inner]}
    state["added_tokens"] = [entry | {"id": number} for number, entry in enumerate(special)]
    state["post_processor"] = _template(base, names)
    return state.tokenizer(base)


def merged(words: Counter[Word], count: int, prefix: str) -> Iterator[Merge]:
    """At least ``count`` merges of neighbouring symbols, each of the most frequent pair at that point.

    ``words`` are sequences of symbols with their frequencies; ``prefix`` marks symbols within a word (``##``) and
    occurs once in a merged symbol. Only the words decide: each symbol becomes one character for the trainer of
    ``tokenizers``, which breaks ties at random if it handles the prefixes itself.
    """
    symbols = sorted({symbol for word in words for symbol in word})
    spelled = {symbol: chr(FIRST_CODE_POINT + number) for number, symbol in enumerate(symbols)}
    texts = ("".join(spelled[symbol] for symbol in word) for word, n in words.items() for _ in range(n))
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    wanted = len(symbols) + count + count // 5 + 100  # some merges form an existing token
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=wanted, min_frequency=MINIMUM_COUNT, show_progress=False)
    )
    back = {character: symbol for symbol, character in spelled.items()}

    def piece(characters: str) -> str:
        first, *rest = (back[character] for character in characters)
        return first + "".join(part.removeprefix(prefix) for part in rest)

    for left, right in json.loads(tokenizer.to_str())["model"]["merges"]:
        yield Merge(piece(left), piece(right), piece(left + right))


def _unigram_pieces(
    lines: Iterable[str], normalizer: Any, count: int, character_coverage: float, byte_fallback: bool = True
) -> list[tuple[str, float]]:
    """``count`` tokens with their log probabilities, first the 256 bytes (with ``byte_fallback``)."""
    try:
        import sentencepiece
    except ImportError:
        raise LangliftError("training a tokenizer needs sentencepiece", "pip install 'langlift[vocab]'") from None
    model = io.BytesIO()
    normalised = (normalizer.normalize_str(line) if normalizer else line for line in lines)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=chain.from_iterable(map(_short_lines, normalised)),
            model_writer=model,
            model_type="unigram",
            # sentencepiece also counts its own three special tokens.
            vocab_size=count + 3,
            byte_fallback=byte_fallback,
            character_coverage=character_coverage,
            normalization_rule_name="identity",
            input_sentence_size=600_000,
            shuffle_input_sentence=True,
            max_sentence_length=4 * LONGEST_LINE,  # bytes; longer lines would be skipped
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _too_small(str(error), count) from None
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [
        (trained.id_to_piece(i), trained.get_score(i))
        for i in range(trained.get_piece_size())
        if not (trained.is_control(i) or trained.is_unknown(i))
    ]


def _short_lines(line: str) -> Iterator[str]:
    """A line in parts of at most ``LONGEST_LINE`` characters, cut between words where there are spaces."""
    while len(line) > LONGEST_LINE:
        end = line.rfind(" ", 1, LONGEST_LINE)
        end = LONGEST_LINE if end < 0 else end
        yield line[:end]
        line = line[end:].lstrip(" ")
    yield line


def _too_small(reason: str, count: int) -> LangliftError:
    """The error of sentencepiece for ``count`` tokens, without its own three special tokens."""
    if found := re.search(r"too high .* <= (\d+)", reason):
        most = int(found[1]) - 3
        return LangliftError(
            f"the text gives only {most} tokens (including bytes), not {count}",
            f"make the vocabulary smaller by {count - most}, or give more text",
        )
    if found := re.search(r"required_chars\. \d+ vs (\d+)", reason):
        least = int(found[1]) - 3
        return LangliftError(
            f"{count} tokens cannot cover the {least} characters of the text (including bytes)",
            f"make the vocabulary larger by {least - count} or more",
        )
    if "sentences_.empty()" in reason:
        return LangliftError("no text to train a tokenizer on", "give more text, with non-blank lines")
    return LangliftError(f"the tokenizer could not be trained: {reason.strip()}", "give different or more text")


def _unigram_model(
    lines: Iterable[str], special: list[str], unknown: str, size: int, state: State, coverage: float
) -> dict[str, Any]:
    pieces = _unigram_pieces(lines, _backend(state).normalizer, size - len(special), coverage)
    vocabulary = [(token, 0.0) for token in special] + pieces
    return {"type": "Unigram", "unk_id": special.index(unknown), "vocab": vocabulary, "byte_fallback": True}


def _bpe_model(
    lines: Iterable[str], special: list[str], unknown: str, size: int, state: State, coverage: float
) -> dict[str, Any]:
    byte_level = state.is_byte_level
    kept = list(lines)
    backend = _backend(state)
    trained = Tokenizer(BPE())
    if backend.normalizer is not None:
        trained.normalizer = backend.normalizer
    if len(words_of(backend, "a b c")) > 1:
        trained.pre_tokenizer = backend.pre_tokenizer
    else:  # as in Gemma and Llama; without words, whole lines could become tokens
        trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement=META, prepend_scheme="never")
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else _alphabet(trained, kept, coverage)
    first = special if byte_level else [*special, *BYTES]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=first,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    trained.train_from_iterator(kept, trainer)
    model: dict[str, Any] = json.loads(trained.to_str())["model"]
    _check_size(model, size)
    if byte_level:
        return model
    return model | {"byte_fallback": True, "fuse_unk": True, "unk_token": unknown}


def _wordpiece_model(
    lines: Iterable[str], special: list[str], unknown: str, size: int, state: State, coverage: float
) -> dict[str, Any]:
    kept = list(lines)
    prefix = state["model"].get("continuing_subword_prefix", "##")
    backend = _backend(state)
    alphabet = set(_alphabet(backend, kept, coverage))
    words: Counter[Word] = Counter()
    for line in kept:
        for word in words_of(backend, line):
            if alphabet.issuperset(word):
                words[tuple(prefix * (place > 0) + character for place, character in enumerate(word))] += 1
    symbols = {symbol for word in words for symbol in word}
    pieces = dict.fromkeys([*special, *sorted(symbols)])
    for merge in merged(words, max(0, size - len(pieces)), prefix):
        if len(pieces) >= size:
            break
        pieces.setdefault(merge.piece)
    model: dict[str, Any] = json.loads(Tokenizer(WordPiece(unk_token=unknown)).to_str())["model"]
    model["vocab"] = {piece: number for number, piece in enumerate(pieces)}
    _check_size(model, size)
    return model | {"continuing_subword_prefix": prefix}


def _check_size(model: Mapping[str, Any], size: int) -> None:
    """Raise an error for a wrong size: ``tokenizers`` stops early, or exceeds it for the alphabet."""
    found = len(model["vocab"])
    if found > size:
        raise LangliftError(
            f"a vocabulary of {size} cannot contain the {found} special tokens and characters of the text",
            "use a larger --size, or a lower --set character_coverage",
        )
    if found < size:
        raise LangliftError(f"the text gives only {found} tokens, not {size}", "use a smaller --size or more text")


def _alphabet(tokenizer: Tokenizer, lines: Iterable[str], coverage: float) -> list[str]:
    """The most frequent characters of the words, which make up the share ``coverage`` of the text."""
    counts = Counter(character for line in lines for word in words_of(tokenizer, line) for character in word)
    needed, reached = coverage * counts.total(), 0
    chosen: list[str] = []
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if reached >= needed:
            break
        chosen.append(character)
        reached += count
    return chosen


def _empty(kind: str) -> Tokenizer:
    if kind == "unigram":
        tokenizer = Tokenizer(Unigram())
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
    elif kind == "bpe":
        tokenizer = Tokenizer(BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer = Tokenizer(WordPiece())
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _special_tokens(base: Any, added: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of the base's special tokens with a role, in the order of their ids."""
    entries = {entry["content"]: entry for entry in added}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokens = {getattr(base, f"{role}_token") for role in ROLES} - {None}
    tokens.add(base.unk_token or "<unk>")
    in_order = sorted(tokens, key=lambda token: (base.convert_tokens_to_ids(token) or 0, token))
    return [plain | {"content": token} | entries.get(token, {}) for token in in_order]


def _template(base: Any, special: list[str]) -> dict[str, Any]:
    """A post-processor that adds special tokens to one text and to a pair as the base does."""

    def parts(*texts: str) -> list[dict[str, Any]]:
        encoding = base.backend_tokenizer.encode(*texts)
        found: list[dict[str, Any]] = []
        for token, sequence, kind in zip(encoding.tokens, encoding.sequence_ids, encoding.type_ids, strict=True):
            part = (
                {"SpecialToken": {"id": token, "type_id": kind}}
                if sequence is None
                else {"Sequence": {"id": "AB"[sequence], "type_id": kind}}
            )
            if sequence is None or not found or found[-1] != part:
                found.append(part)
        return found

    return {
        "type": "TemplateProcessing",
        "single": parts("a"),
        "pair": parts("a", "a"),
        "special_tokens": {
            token: {"id": token, "ids": [number], "tokens": [token]} for number, token in enumerate(special)
        },
    }


def _backend(state: State) -> Tokenizer:
    """A tokenizer with the same normalisation and pre-tokenisation and an empty model."""
    empty = json.loads(Tokenizer(BPE()).to_str())["model"]
    return Tokenizer.from_str(json.dumps(state | {"model": empty, "added_tokens": [], "post_processor": None}))
