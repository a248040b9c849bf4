"""The state of a tokenizer: reading it, changing it, and building a tokenizer from it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from langlift.backbones.loading import load_tokenizer
from langlift.errors import InputError

KINDS = {"Unigram": "unigram", "BPE": "bpe", "WordPiece": "wordpiece"}
"""Names of models in tokenizer.json -> names here."""
ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
TWINS = {"bos": "cls", "cls": "bos", "eos": "sep", "sep": "eos"}
"""Special token roles that substitute for each other if a tokenizer has only one of the two."""
META = "\u2581"
"""SentencePiece's mark of a space before a token."""
BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")
BATCH = 1000
RECORD = "vocabulary.json"
"""The file that records how a vocabulary, or a model with one, was made."""


class State(dict[str, Any]):
    """The content of tokenizer.json."""

    @classmethod
    def of(cls, tokenizer: Any) -> "State":
        """A copy of a tokenizer's state, without truncation and padding, which are set by calls."""
        state = cls(json.loads(tokenizer.backend_tokenizer.to_str()))
        state["truncation"] = state["padding"] = None
        return state

    @property
    def kind(self) -> str:
        """``unigram``, ``bpe`` or ``wordpiece``; InputError if it is another kind."""
        model = self["model"]["type"]
        if model not in KINDS:
            raise InputError(f"tokenizers of kind {model} are not supported", f"supported: {', '.join(KINDS)}")
        return KINDS[model]

    @property
    def is_byte_level(self) -> bool:
        """Whether its tokens are written in bytes, as GPT-2's are, so that it needs no byte fallback."""
        return any('"ByteLevel"' in json.dumps(self[part]) for part in ("normalizer", "pre_tokenizer"))

    @property
    def prefix(self) -> str:
        """The mark of a token within a word (``##``); empty if there is none."""
        return self["model"].get("continuing_subword_prefix") or ""

    @property
    def pieces(self) -> dict[str, int]:
        """The model's tokens with their ids, without added tokens."""
        vocabulary = self["model"]["vocab"]
        if isinstance(vocabulary, Mapping):
            return dict(vocabulary)
        return {piece: number for number, (piece, _) in enumerate(vocabulary)}

    def tokenizer(self, like: Any) -> PreTrainedTokenizerFast:
        """A tokenizer with this state, and the roles of special tokens and the limits of ``like``.

        It has the generic class, which uses tokenizer.json unchanged; some others of transformers rebuild it.
        """
        fields = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
        entries = ({field: entry[field] for field in fields} for entry in self["added_tokens"])
        added = {entry["content"]: AddedToken(**entry) for entry in entries}
        roles = {role: getattr(like, f"{role}_token") for role in ROLES}
        return PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(self)),
            **{f"{role}_token": added.get(token, token) for role, token in roles.items() if token is not None},
            model_max_length=like.model_max_length,
            model_input_names=like.model_input_names,
            padding_side=like.padding_side,
            truncation_side=like.truncation_side,
            clean_up_tokenization_spaces=False,
            chat_template=like.chat_template,
        )


def load_vocabulary(name: str) -> Any:
    """The fast tokenizer of a folder that ``langlift vocab build`` wrote, or of a model; InputError if neither."""
    folder = Path(name).expanduser()
    if folder.is_dir() and not any((folder / file).is_file() for file in ("tokenizer.json", "config.json")):
        raise InputError(
            f"{name}: not a vocabulary (no tokenizer.json)", "give a folder written by langlift vocab build"
        )
    return load_tokenizer(name, str(folder) if folder.is_dir() else None)


def special_ids(tokenizer: Any) -> dict[str, int]:
    """The id of each role that the tokenizer has a token for."""
    found = {role: getattr(tokenizer, f"{role}_token_id") for role in ROLES}
    return {role: number for role, number in found.items() if number is not None}


def token_ids(tokenizer: Any, lines: Iterable[str]) -> Iterator[list[int]]:
    """The ids of each line, without special tokens around it."""
    remaining = iter(lines)
    while together := list(islice(remaining, BATCH)):
        yield from tokenizer(together, add_special_tokens=False, verbose=False)["input_ids"]


@cache
def byte_characters() -> Mapping[str, int]:
    """GPT-2's table of the characters that represent bytes in byte-level tokens: character -> byte."""
    return {character: byte for byte, character in bytes_to_unicode().items()}


def normalised(backend: Tokenizer, text: str) -> str:
    """A text as the tokenizer normalises it."""
    result: str = backend.normalizer.normalize_str(text) if backend.normalizer else text
    return result


def words_of(backend: Tokenizer, text: str) -> list[str]:
    """The words of a text as the tokenizer normalises and splits it."""
    text = normalised(backend, text)
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)] if backend.pre_tokenizer else [text]


def greedy_pieces(
    word: str, pieces: Mapping[str, int], prefix: str, inside: bool = False
) -> tuple[list[str], bool]:
    """WordPiece's longest matches from the left, and whether they reach the end of ``word``.

    With ``inside``, ``word`` is the rest of a word, so the first token has the ``prefix`` too.
    """
    found: list[str] = []
    start = 0
    while start < len(word):
        mark = prefix if start or inside else ""
        ends = range(len(word), start, -1)
        end = next((end for end in ends if mark + word[start:end] in pieces), None)
        if end is None:
            return found, False
        found.append(mark + word[start:end])
        start = end
    return found, bool(word)


def fertility(tokenizer: Any, lines: Sequence[str]) -> dict[str, float]:
    """Tokens per white-space word, characters (without white space) per token, and the share of unknown tokens.

    An unknown token can stand for a whole word, so the first two look good where the third is high.
    """
    tokens = unknown = 0
    for ids in token_ids(tokenizer, lines):
        tokens, unknown = tokens + len(ids), unknown + ids.count(tokenizer.unk_token_id)
    words = [word for line in lines for word in line.split()]
    return {
        "tokens_per_word": round(tokens / max(1, len(words)), 3),
        "characters_per_token": round(sum(map(len, words)) / max(1, tokens), 3),
        "unknown_share": round(unknown / max(1, tokens), 4),
    }
