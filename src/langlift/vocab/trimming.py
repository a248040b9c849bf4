"""Keep only the pieces that a corpus uses, or uses most: a smaller model with the same logits."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from langlift.backbones.base_model import BaseModel, BaseName
from langlift.errors import InputError, LangliftError
from langlift.files import check_new_folder
from langlift.progress import ProgressBar
from langlift.vocab.applying import write_record
from langlift.vocab.corpora import all_lines, evenly
from langlift.vocab.model_rows import parameter_count, save_model, with_vocabulary
from langlift.vocab.parts import (
    BYTE_PIECE,
    META,
    State,
    assembled,
    byte_characters,
    fertility,
    greedy_pieces,
    is_byte_level,
    kind_of,
    pieces_of,
    state_of,
    token_ids,
)


@dataclass(frozen=True)
class TrimResult:
    """What ``langlift vocab trim`` made. ``used`` counts the pieces that occur in the corpus.

    ``lines_changed`` is the share of lines that are cut otherwise than before (0 without a ``size``), ``before``
    and ``after`` how finely the corpus is cut (``vocab.parts.fertility``, on a sample of its lines).
    """

    model: str
    base: str
    lines: int
    used: int
    vocabulary_before: int
    vocabulary_after: int
    parameters_before: int
    parameters_after: int
    lines_changed: float
    before: dict[str, float]
    after: dict[str, float]


def trim_vocabulary(
    base: BaseName | str, corpus: Sequence[Path], out: Path, size: int | None = None
) -> TrimResult:
    """Write a model folder: ``base`` without the pieces that no line of ``corpus`` uses.

    Special tokens and bytes stay. The lines are cut into the same pieces as before, which is checked, and so
    the model gives each kept piece the same logit. Probabilities rise a little: they are shares of what is left.

    With ``size`` at most so many entries are kept: special tokens, bytes and all single characters, and of the
    other pieces those that the corpora use most, each corpus counting alike whatever its length. Some lines are
    then cut into smaller pieces than before.

    Raises:
        InputError: base or corpus cannot be read, ``size`` does not hold the characters, or ``out`` is not free.
        LangliftError: the check failed.
    """
    check_new_folder(out)
    by_corpus, corpora = all_lines(corpus)
    lines = [line for some in by_corpus for line in some]
    loaded = BaseModel.load(base, masked_only=True, head_needed=False)
    tokenizer = loaded.tokenizer
    state = state_of(tokenizer)
    use: dict[int, float] = defaultdict(float)
    unknown_lines: list[str] = []
    with ProgressBar("reading the corpus", len(lines), "lines") as bar:
        for some in by_corpus:
            counts: Counter[int] = Counter()
            for line, ids in zip(some, token_ids(tokenizer, some), strict=True):
                counts.update(ids)
                if tokenizer.unk_token_id in ids:
                    unknown_lines.append(line)
            for number, count in counts.items():
                use[number] += count / counts.total()
            bar.advance(len(some))
    if size is None:
        keep = kept_ids(state, set(use), unknown_words(tokenizer, unknown_lines))
    else:
        keep = most_used_ids(state, use, size)
    trimmed = assembled(trimmed_state(state, keep), tokenizer)
    changed = _lines_changed(tokenizer, trimmed, lines, keep)
    if changed and size is None:
        raise LangliftError(
            f"after trimming {len(changed)} lines would be cut differently, such as: {changed[0][:60]}",
            "please report it with the base model's name; nothing was written",
        )
    rows = torch.tensor(keep)
    smaller = with_vocabulary(loaded.model, trimmed, lambda tensor: tensor.detach()[rows])
    sample = evenly(lines)
    result = TrimResult(
        model=str(out),
        base=loaded.name,
        lines=len(lines),
        used=len(use),
        vocabulary_before=len(tokenizer),
        vocabulary_after=len(trimmed),
        parameters_before=parameter_count(loaded.model, loaded.head is not None),
        parameters_after=parameter_count(smaller, loaded.head is not None),
        lines_changed=round(len(changed) / len(lines), 4),
        before=fertility(tokenizer, sample),
        after=fertility(trimmed, sample),
    )
    record = {"command": "vocab trim", "corpora": corpora, "result": asdict(result) | {"model": out.name}}
    save_model(smaller, trimmed, loaded, out, lambda folder: write_record(folder, record))
    return result


def unknown_words(tokenizer: Any, lines: Iterable[str]) -> set[str]:
    """The words, as the tokenizer makes them, of lines in which something was unknown."""
    backend = tokenizer.backend_tokenizer
    words: set[str] = set()
    for line in lines:
        text = backend.normalizer.normalize_str(line) if backend.normalizer else line
        words |= (
            {word for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)} if backend.pre_tokenizer else {text}
        )
    return words


def kept_ids(state: State, used: set[int], words: Iterable[str]) -> list[int]:
    """The ids to keep, in order: those used, added tokens, bytes, and what the used ones are made with.

    ``words`` are those with unknown parts.
    """
    pieces = pieces_of(state)
    letters = byte_characters() if is_byte_level(state) else {}
    kept = {piece for piece, number in pieces.items() if number in used}
    kept |= {piece for piece in pieces if BYTE_PIECE.fullmatch(piece) or piece in letters or piece == META}
    kind = kind_of(state)
    if kind == "bpe":
        kept |= _parts(kept, state)
    elif kind == "wordpiece":
        # A word is unknown where its longest matches from the left come to an end; other pieces than those
        # matches might get further.
        prefix = state["model"]["continuing_subword_prefix"]
        for word in words:
            kept.update(greedy_pieces(word, pieces, prefix)[0])
    else:
        # An unknown character costs 10 more than the least probable piece: that price must not change.
        kept.add(min(state["model"]["vocab"], key=lambda entry: entry[1])[0])
    added = {entry["id"] for entry in state["added_tokens"]}
    return sorted({pieces[piece] for piece in kept} | added)


def most_used_ids(state: State, use: Mapping[int, float], size: int) -> list[int]:
    """The ids of ``size`` entries to keep, in order: what ``kept_ids`` keeps of an unused text, all single
    characters, and of the other pieces those of most ``use``, with what they are made with.

    Raises:
        InputError: ``size`` is too small for the characters, or the pieces in use are fewer.
    """
    pieces = pieces_of(state)
    prefix = state["model"].get("continuing_subword_prefix") or ""
    characters = {n for piece, n in pieces.items() if len(piece.removeprefix(prefix) if prefix else piece) == 1}
    kept = set(kept_ids(state, characters, ()))
    if len(kept) > size:
        raise InputError(
            f"--size {size:,}: the special tokens, bytes and single characters are {len(kept):,} already",
            f"choose a size above {len(kept):,}",
        )
    names = {number: piece for piece, number in pieces.items()}
    for number in sorted((n for n in use if n in names), key=lambda n: (-use[n], n)):
        if number not in kept:
            needed = {number}
            if kind_of(state) == "bpe":
                needed |= {pieces[part] for part in _parts({names[number]}, state)}
            if len(kept | needed) <= size:
                kept |= needed
        if len(kept) == size:
            break
    return sorted(kept)


def trimmed_state(state: State, keep: Sequence[int]) -> State:
    """The tokenizer's parts with the ids of ``keep`` alone, numbered anew in their order."""
    pieces = pieces_of(state)
    names = {number: piece for piece, number in pieces.items()}
    names |= {entry["id"]: entry["content"] for entry in state["added_tokens"]}
    new = {old: number for number, old in enumerate(keep)}
    vocabulary = {names[old]: number for old, number in new.items()}
    model = dict(state["model"])
    if kind_of(state) == "unigram":
        # Added tokens beyond the pieces become pieces, as the mask in XLM-R is, so that ids have no gap.
        model["vocab"] = [state["model"]["vocab"][old] if old < len(pieces) else [names[old], 0.0] for old in keep]
        if model["unk_id"] is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = vocabulary
    if kind_of(state) == "bpe":
        prefix = len(model.get("continuing_subword_prefix") or "")
        model["merges"] = [
            merge
            for merge in model["merges"]
            if merge[0] in vocabulary and merge[1] in vocabulary and merge[0] + merge[1][prefix:] in vocabulary
        ]
    return state | {
        "model": model,
        "added_tokens": [entry | {"id": new[entry["id"]]} for entry in state["added_tokens"]],
        "post_processor": _renumbered(state["post_processor"], vocabulary),
    }


def _parts(kept: Iterable[str], state: State) -> set[str]:
    """The pieces from which BPE makes the ``kept`` ones, in whatever order it may merge them."""
    prefix = len(state["model"].get("continuing_subword_prefix") or "")
    made_of: dict[str, list[tuple[str, str]]] = {}
    for left, right in state["model"]["merges"]:
        made_of.setdefault(left + right[prefix:], []).append((left, right))
    found: set[str] = set()
    waiting = list(kept)
    while waiting:
        parts = {part for pair in made_of.get(waiting.pop(), ()) for part in pair} - found
        found |= parts
        waiting.extend(parts)
    return found


def _renumbered(node: Any, vocabulary: Mapping[str, int]) -> Any:
    """A post-processor with the special tokens' new ids."""
    if isinstance(node, list):
        return [_renumbered(part, vocabulary) for part in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _renumbered(value, vocabulary) for key, value in node.items()}
    if "ids" in node and "tokens" in node:
        changed["ids"] = [vocabulary[token] for token in node["tokens"]]
    for key in ("sep", "cls"):
        if isinstance(node.get(key), list):
            changed[key] = [node[key][0], vocabulary[node[key][0]]]
    return changed


def _lines_changed(before: Any, after: Any, lines: Sequence[str], keep: Sequence[int]) -> list[str]:
    """The lines that are not cut as before."""
    pairs = zip(lines, token_ids(before, lines), token_ids(after, lines), strict=True)
    return [line for line, old, new in pairs if old != [keep[number] for number in new]]
