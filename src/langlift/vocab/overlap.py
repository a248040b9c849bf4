"""Which tokens of two vocabularies are the same, whatever each tokenizer's way of writing them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from langlift.vocab.parts import (
    BYTE_PIECE,
    META,
    TWINS,
    byte_characters,
    greedy_pieces,
    is_byte_level,
    kind_of,
    pieces_of,
    special_ids,
    state_of,
)


class Form(NamedTuple):
    """A piece apart from its notation: whether it begins a word, and its letters; or a single byte."""

    initial: bool
    surface: str
    byte: int | None = None


def canonical_forms(tokenizer: Any) -> dict[int, Form]:
    """The form of every piece, by id; special and other added tokens are left out.

    A leading space mark (SentencePiece, byte-level) and a missing ``##`` (WordPiece) say that a word begins.
    No two pieces of one vocabulary have the same form.
    """
    state = state_of(tokenizer)
    added = {entry["content"] for entry in state["added_tokens"]}
    pieces = {piece: number for piece, number in pieces_of(state).items() if piece not in added}
    if kind_of(state) == "wordpiece":
        prefix = state["model"]["continuing_subword_prefix"]
        return {
            number: Form(False, piece.removeprefix(prefix)) if piece.startswith(prefix) else Form(True, piece)
            for piece, number in pieces.items()
        }
    if is_byte_level(state):
        table = byte_characters()
        return {number: _byte_level(piece, table) for piece, number in pieces.items()}
    return {number: _sentencepiece(piece) for piece, number in pieces.items()}


def _sentencepiece(piece: str) -> Form:
    if found := BYTE_PIECE.fullmatch(piece):
        return Form(False, "", int(found[1], 16))
    return Form(piece.startswith(META), piece.removeprefix(META).replace(META, " "))


def _byte_level(piece: str, table: Mapping[str, int]) -> Form:
    try:
        spelled = bytes(table[character] for character in piece)
    except KeyError:  # not of the byte alphabet
        return Form(False, piece)
    if len(spelled) == 1 and spelled[0] >= 0x80:
        return Form(False, "", spelled[0])
    # Bytes that are no whole characters become lone surrogates, which no other tokenizer's text holds.
    text = spelled.decode("utf-8", "surrogateescape")
    return Form(text.startswith(" "), text.removeprefix(" "))


def special_pairs(target: Any, source: Any) -> dict[int, int]:
    """The source's id for the special tokens of ``target``, by role; for other added tokens by their text."""
    ours, theirs = special_ids(target), special_ids(source)
    pairs = {}
    for role, number in ours.items():
        if role in theirs:
            pairs[number] = theirs[role]
        elif TWINS.get(role) in theirs:
            pairs.setdefault(number, theirs[TWINS[role]])
    known = {entry["content"]: entry["id"] for entry in state_of(source)["added_tokens"]}
    for entry in state_of(target)["added_tokens"]:
        if entry["content"] in known:
            pairs.setdefault(entry["id"], known[entry["content"]])
    return pairs


def overlap(target: Any, source: Any) -> dict[int, int]:
    """Of each piece of ``target`` that ``source`` holds too, the source's id; in the order of the target's ids."""
    theirs = {form: number for number, form in canonical_forms(source).items()}
    forms = sorted(canonical_forms(target).items())
    return {number: theirs[form] for number, form in forms if form in theirs}


def speller(tokenizer: Any) -> Callable[[Form], list[int]]:
    """What gives the ids of the pieces by which ``tokenizer`` spells a form; none where it cannot.

    A form inside a word is spelled as inside a word, which a text of its own would not be.
    """
    state = state_of(tokenizer)
    model = tokenizer.backend_tokenizer.model
    unknown = tokenizer.unk_token_id
    if kind_of(state) == "wordpiece":
        pieces, prefix = pieces_of(state), state["model"]["continuing_subword_prefix"]
        normalizer = tokenizer.backend_tokenizer.normalizer

        def in_wordpieces(form: Form) -> list[int]:
            text = normalizer.normalize_str(form.surface) if normalizer else form.surface
            found, complete = greedy_pieces(text, pieces, prefix, inside=not form.initial)
            return [pieces[piece] for piece in found] if complete else []

        return in_wordpieces
    letters = {byte: character for character, byte in byte_characters().items()} if is_byte_level(state) else None

    def in_pieces(form: Form) -> list[int]:
        if form.byte is not None:
            return []
        text = (" " if form.initial else "") + form.surface
        if letters is None:
            text = text.replace(" ", META)
        else:
            text = "".join(letters[byte] for byte in text.encode("utf-8", "surrogateescape"))
        ids = [token.id for token in model.tokenize(text)]
        return [] if unknown in ids else ids

    return in_pieces
