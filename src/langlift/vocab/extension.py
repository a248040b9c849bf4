"""Extend a vocabulary by the most useful new tokens, without changing how other text is tokenised."""

from collections import Counter
from collections.abc import Container, Iterator, Sequence, Set
from itertools import groupby
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from langlift.errors import LangliftError
from langlift.progress import ProgressBar
from langlift.vocab.parts import BATCH, BYTE_PIECE, META, State, normalised
from langlift.vocab.tokenizer_training import MINIMUM_COUNT, Merge, Word, merged

JOINT_BONUS = 1e-7
"""By how much the score of a joined token in a unigram vocabulary exceeds the sum of its parts: less than the
difference between any two segmentations, so that it only decides between a token and its parts."""


class Extension(NamedTuple):
    """An extended tokenizer, its new single characters, and its new tokens joined from others."""

    tokenizer: PreTrainedTokenizerFast
    characters: list[str]
    joined: list[str]


def extended(base: Any, lines: Sequence[str], pieces: int) -> Extension:
    """Extend ``base`` by ``pieces`` tokens, merged from its own tokens (continued byte-pair merging).

    First, missing characters are added, the most frequent first, for at most half of the tokens (more if there is
    too little left to merge). Then, one by one, the pair of neighbouring tokens within a word is merged that saves
    the most tokens in ``lines``, given all earlier merges. The base's ids do not change. A text without new tokens
    is tokenised as before; in unigram and BPE vocabularies, new tokens other than characters are sequences of old
    ones. InputError if the kind of the base's tokenizer is not supported; LangliftError if the text gives fewer
    tokens.
    """
    state = State.of(base)
    words: Counter[Word] = Counter()
    with ProgressBar("reading the corpus", len(lines), "lines") as bar:
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            words.update(_words(base, state, batch))
            bar.advance(len(batch))
    known = state.pieces | {entry["content"]: entry["id"] for entry in state["added_tokens"]}
    lacking = _new_characters(words, known)
    characters = lacking[: pieces // 2]
    usable = known.keys() | set(characters)
    merges: list[Merge] = []
    joined: dict[str, None] = {}
    for merge in merged(_within(words, usable), pieces - len(characters), state.prefix):
        if len(characters) + len(joined) == pieces:
            break
        merges.append(merge)
        if merge.piece not in usable:
            joined.setdefault(merge.piece)
    characters += lacking[len(characters) : pieces - len(joined)]  # if there is nothing left to merge
    found = len(characters) + len(joined)
    if found < pieces:
        raise LangliftError(
            f"the text gives only {found} new tokens that occur at least {MINIMUM_COUNT} times, not {pieces}",
            f"use --pieces {found} or give more text" if found else "the base's vocabulary already has them all",
        )
    _add(state, known, [*characters, *joined], merges)
    return Extension(state.tokenizer(base), characters, list(joined))


def _words(base: Any, state: State, lines: Sequence[str]) -> Iterator[Word]:
    """The words of lines as sequences of the base's tokens; unknown parts are spelled in characters."""
    wordpiece = state.kind == "wordpiece"
    by_mark = not wordpiece and not state.is_byte_level
    special = set(base.all_special_tokens) - {base.unk_token}
    for line in lines:
        encoding = base.backend_tokenizer.encode(line, add_special_tokens=False)
        word: list[str] = []
        spelled = bytearray()  # bytes of characters that the base lacks
        last: int | None = None
        for piece, token, number, (start, end) in zip(
            encoding.tokens, encoding.ids, encoding.word_ids, encoding.offsets, strict=True
        ):
            byte = BYTE_PIECE.fullmatch(piece) if by_mark else None
            if spelled and not byte:
                word += _decoded(spelled)
            if word and (number != last or (by_mark and piece.startswith(META)) or piece in special):
                yield tuple(word)
                word = []
            last = number
            if byte:
                spelled.append(int(byte[1], 16))
            elif token == base.unk_token_id:
                text = piece  # in unigram the unknown text itself, in other kinds the unknown token
                if piece == base.unk_token:
                    text = normalised(base.backend_tokenizer, line[start:end])
                word += [
                    state.prefix * (wordpiece and place > 0) + character for place, character in enumerate(text)
                ]
            elif piece not in special:
                word.append(piece)
        word += _decoded(spelled)
        if word:
            yield tuple(word)


def _decoded(spelled: bytearray) -> list[str]:
    characters = list(spelled.decode("utf-8", "replace"))
    spelled.clear()
    return characters


def _new_characters(words: Counter[Word], known: Container[str]) -> list[str]:
    """The characters that the base lacks, the most frequent first."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for symbol in word:
            if symbol not in known and not symbol.isspace() and symbol != "\ufffd":
                counts[symbol] += count
    return sorted((symbol for symbol, n in counts.items() if n >= MINIMUM_COUNT), key=lambda s: (-counts[s], s))


def _within(words: Counter[Word], usable: Set[str]) -> Counter[Word]:
    """The words, split at symbols that stay unknown."""
    parts: Counter[Word] = Counter()
    for word, count in words.items():
        for known, group in groupby(word, usable.__contains__):
            part = tuple(group)
            if known and len(part) > 1:
                parts[part] += count
    return parts


def _add(state: State, known: dict[str, int], new: Sequence[str], merges: Sequence[Merge]) -> None:
    """Add new tokens to the tokenizer's state, after all ids in use."""
    model = state["model"]
    first = max(known.values()) + 1
    if state.kind == "unigram":
        by_id = {number: piece for piece, number in known.items()}
        vocabulary = list(model["vocab"])
        least = min(score for _, score in vocabulary)
        # Added tokens beyond the model's, such as XLM-R's mask, go into the model, so that ids have no gap.
        vocabulary += [[by_id.get(i, f"<unused {i}>"), 0.0] for i in range(len(vocabulary), first)]
        scores: dict[str, float] = dict.fromkeys(new, least) | dict(vocabulary)
        made: dict[str, float] = {}  # may include tokens that the base has but does not choose
        for left, right, piece in merges:
            parts = (made[part] if part in made else scores[part] for part in (left, right))
            score = sum(parts) + JOINT_BONUS
            made.setdefault(piece, score)
        model["vocab"] = vocabulary + [[piece, made.get(piece, least)] for piece in new]
        return
    model["vocab"] = known | {piece: first + number for number, piece in enumerate(new)}
    if state.kind == "bpe":
        model["merges"] = [*model["merges"], *([merge.left, merge.right] for merge in merges)]
