"""The tokens that two vocabularies share, independent of the notation of their tokenizers."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from langlift.vocab.parts import (
    BYTE_PIECE,
    META,
    TWINS,
    State,
    byte_characters,
    greedy_pieces,
    normalised,
    special_ids,
)


class CanonicalToken(NamedTuple):
    """A token independent of its notation: whether it is word-initial, and its text; or a single byte."""

    initial: bool
    surface: str
    byte: int | None = None


def canonical_tokens(tokenizer: Any) -> dict[int, CanonicalToken]:
    """The canonical form of each token, by id, without special and other added tokens.

    Word-initial tokens have a leading space mark (SentencePiece, byte-level) or no ``##`` (WordPiece). No two
    tokens of a vocabulary have the same form.
    """
    state = State.of(tokenizer)
    added = {entry["content"] for entry in state["added_tokens"]}
    pieces = {piece: number for piece, number in state.pieces.items() if piece not in added}
    if state.kind == "wordpiece":
        return {
            number: CanonicalToken(not piece.startswith(state.prefix), piece.removeprefix(state.prefix))
            for piece, number in pieces.items()
        }
    if state.is_byte_level:
        table = byte_characters()
        return {number: _byte_level(piece, table) for piece, number in pieces.items()}
    return {number: _sentencepiece(piece) for piece, number in pieces.items()}


def _sentencepiece(piece: str) -> CanonicalToken:
    if found := BYTE_PIECE.fullmatch(piece):
        return CanonicalToken(False, "", int(found[1], 16))
    return CanonicalToken(piece.startswith(META), piece.removeprefix(META).replace(META, " "))


def _byte_level(piece: str, table: Mapping[str, int]) -> CanonicalToken:
    try:
        spelled = bytes(table[character] for character in piece)
    except KeyError:  # not of the byte alphabet
        return CanonicalToken(False, piece)
    if len(spelled) == 1 and spelled[0] >= 0x80:
        return CanonicalToken(False, "", spelled[0])
    # Incomplete characters become lone surrogates, which the text of other tokenizers does not contain.
    text = spelled.decode("utf-8", "surrogateescape")
    return CanonicalToken(text.startswith(" "), text.removeprefix(" "))


def special_pairs(target: Any, source: Any) -> dict[int, int]:
    """The source's ids of the special tokens of ``target``, by role, and of other added tokens, by their text."""
    ours, theirs = special_ids(target), special_ids(source)
    pairs = {}
    for role, number in ours.items():
        if role in theirs:
            pairs[number] = theirs[role]
        elif TWINS.get(role) in theirs:
            pairs.setdefault(number, theirs[TWINS[role]])
    known = {entry["content"]: entry["id"] for entry in State.of(source)["added_tokens"]}
    for entry in State.of(target)["added_tokens"]:
        if entry["content"] in known:
            pairs.setdefault(entry["id"], known[entry["content"]])
    return pairs


def overlap(target: Any, source: Any) -> dict[int, int]:
    """The source's id of each token of ``target`` that ``source`` has too, in the order of the target's ids."""
    theirs = {token: number for number, token in canonical_tokens(source).items()}
    ours = sorted(canonical_tokens(target).items())
    return {number: theirs[token] for number, token in ours if token in theirs}


def speller(tokenizer: Any) -> Callable[[CanonicalToken], list[int]]:
    """A function that gives the ids of the tokens by which ``tokenizer`` spells a token; empty if it cannot.

    A word-internal token is spelled as within a word, not as a separate text.
    """
    state = State.of(tokenizer)
    backend = tokenizer.backend_tokenizer
    if state.kind == "wordpiece":
        pieces, prefix = state.pieces, state.prefix

        def in_wordpieces(token: CanonicalToken) -> list[int]:
            text = normalised(backend, token.surface)
            found, complete = greedy_pieces(text, pieces, prefix, inside=not token.initial)
            return [pieces[piece] for piece in found] if complete else []

        return in_wordpieces
    letters = {byte: character for character, byte in byte_characters().items()} if state.is_byte_level else None

    def in_pieces(token: CanonicalToken) -> list[int]:
        if token.byte is not None:
            return []
        text = (" " if token.initial else "") + token.surface
        if letters is None:
            text = text.replace(" ", META)
        else:
            text = "".join(letters[byte] for byte in text.encode("utf-8", "surrogateescape"))
        ids = [piece.id for piece in backend.model.tokenize(text)]
        return [] if tokenizer.unk_token_id in ids else ids

    return in_pieces
