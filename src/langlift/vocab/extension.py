"""Add the most useful new pieces to a vocabulary, and leave what they do not touch as it was."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerFast

from langlift.errors import LangliftError
from langlift.progress import ProgressBar
from langlift.vocab.merging import LEAST_COUNT, Merge, Word, merged
from langlift.vocab.parts import (
    BYTE_PIECE,
    LINES_TOGETHER,
    META,
    State,
    assembled,
    is_byte_level,
    kind_of,
    pieces_of,
    state_of,
)

JOINT_BONUS = 1e-7
"""What a joined piece of a unigram vocabulary is better than its parts: less than any two of its ways to cut a
text differ by, so that it decides only between a piece and its parts."""


@dataclass(frozen=True)
class Extension:
    """The extended tokenizer; which of its new pieces are single characters, and which joined from others."""

    tokenizer: PreTrainedTokenizerFast
    characters: list[str]
    joined: list[str]


def extended(base: Any, lines: Sequence[str], pieces: int) -> Extension:
    """``base`` with ``pieces`` more, made from the pieces that it has (continued byte-pair merging).

    First come the characters that it lacks, the most frequent first, at most half of the pieces. Then, one
    by one, the two neighbours within a word are joined that save the most tokens in ``lines``, given all
    that was joined before. Ids of the base stay. A text without any of the new pieces is cut as before, and
    in unigram and BPE vocabularies new tokens are whole runs of old ones, but for the new characters.

    Raises:
        InputError: the base's tokenizer is of a kind that is not supported.
        LangliftError: the text gives fewer pieces.
    """
    state = state_of(base)
    words: Counter[Word] = Counter()
    with ProgressBar("reading the corpus", len(lines), "lines") as bar:
        for number, line in enumerate(lines, start=1):
            words.update(_words(base, state, line))
            if number % LINES_TOGETHER == 0:
                bar.advance(LINES_TOGETHER)
    known = pieces_of(state) | {entry["content"]: entry["id"] for entry in state["added_tokens"]}
    characters = _new_characters(words, known, pieces // 2)
    usable = known.keys() | set(characters)
    prefix = state["model"].get("continuing_subword_prefix") or ""
    merges: list[Merge] = []
    joined: dict[str, None] = {}
    for merge in merged(_within(words, usable), pieces - len(characters), prefix):
        if len(characters) + len(joined) == pieces:
            break
        merges.append(merge)
        if merge.piece not in usable:
            joined.setdefault(merge.piece)
    found = len(characters) + len(joined)
    if found < pieces:
        raise LangliftError(
            f"the text gives only {found} new pieces that occur {LEAST_COUNT} times or more, not {pieces}",
            f"use --pieces {found} or give more text" if found else "the base's vocabulary has them all",
        )
    _add(state, known, [*characters, *joined], merges)
    return Extension(assembled(state, base), characters, list(joined))


def _words(base: Any, state: State, line: str) -> Iterator[Word]:
    """The words of a line as runs of the base's pieces; what it lacks is spelled in characters."""
    encoding = base.backend_tokenizer.encode(line, add_special_tokens=False)
    wordpiece = kind_of(state) == "wordpiece"
    prefix = state["model"].get("continuing_subword_prefix") or ""
    by_mark = not wordpiece and not is_byte_level(state)
    special = set(base.all_special_tokens) - {base.unk_token}
    word: list[str] = []
    spelled = bytearray()  # of the characters that the base spells in bytes
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
            text = piece  # unigram says what is unknown, the others only that something is
            if piece == base.unk_token:
                normalizer = base.backend_tokenizer.normalizer
                text = normalizer.normalize_str(line[start:end]) if normalizer else line[start:end]
            word += [prefix * (wordpiece and place > 0) + character for place, character in enumerate(text)]
        elif piece not in special:
            word.append(piece)
    word += _decoded(spelled)
    if word:
        yield tuple(word)


def _decoded(spelled: bytearray) -> list[str]:
    characters = list(spelled.decode("utf-8", "replace"))
    spelled.clear()
    return characters


def _new_characters(words: Counter[Word], known: Iterable[str], most: int) -> list[str]:
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for symbol in word:
            if symbol not in known and not symbol.isspace() and symbol != "\ufffd":
                counts[symbol] += count
    in_order = sorted((symbol for symbol, n in counts.items() if n >= LEAST_COUNT), key=lambda s: (-counts[s], s))
    return in_order[:most]


def _within(words: Counter[Word], usable: Iterable[str]) -> Counter[Word]:
    """The words cut where a symbol stays unknown."""
    runs: Counter[Word] = Counter()
    for word, count in words.items():
        run: list[str] = []
        for symbol in (*word, ""):
            if symbol in usable:
                run.append(symbol)
            else:
                if len(run) > 1:
                    runs[tuple(run)] += count
                run = []
    return runs


def _add(state: State, known: dict[str, int], new: Sequence[str], merges: Sequence[Merge]) -> None:
    """Put the new pieces into the tokenizer's parts, behind all ids that are taken."""
    model = state["model"]
    first = max(known.values()) + 1
    if kind_of(state) == "unigram":
        by_id = {number: piece for piece, number in known.items()}
        vocabulary = list(model["vocab"])
        least = min(score for _, score in vocabulary)
        # Added tokens beyond the pieces become pieces, as the mask in XLM-R is, so that ids have no gap.
        vocabulary += [[by_id.get(i, f"<unused {i}>"), 0.0] for i in range(len(vocabulary), first)]
        scores = dict.fromkeys(new, least) | dict(vocabulary)
        made: dict[str, float] = {}  # a piece may also be made that the base has, and does not choose
        for left, right, piece in merges:
            score = made.get(left, scores[left]) + made.get(right, scores[right]) + JOINT_BONUS
            made.setdefault(piece, score)
        model["vocab"] = vocabulary + [[piece, made.get(piece, least)] for piece in new]
        return
    model["vocab"] = known | {piece: first + number for number, piece in enumerate(new)}
    if kind_of(state) == "bpe":
        model["merges"] = [*model["merges"], *([merge.left, merge.right] for merge in merges)]
