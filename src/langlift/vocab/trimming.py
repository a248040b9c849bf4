"""Keep only the pieces that a corpus uses: a smaller model with the same logits."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.errors import LangliftError
from langlift.files import check_new_folder
from langlift.progress import ProgressBar
from langlift.vocab.applying import write_record
from langlift.vocab.corpora import all_lines
from langlift.vocab.model_rows import save_model, with_vocabulary
from langlift.vocab.parts import (
    BYTE_PIECE,
    LINES_TOGETHER,
    META,
    State,
    assembled,
    byte_characters,
    greedy_pieces,
    is_byte_level,
    kind_of,
    pieces_of,
    state_of,
    token_ids,
)


@dataclass(frozen=True)
class TrimResult:
    """What ``langlift vocab trim`` made. ``used`` counts the pieces that occur in the corpus."""

    model: str
    base: str
    lines: int
    used: int
    vocabulary_before: int
    vocabulary_after: int
    parameters_before: int
    parameters_after: int


def trim_vocabulary(base: str, corpus: Sequence[Path], out: Path) -> TrimResult:
    """Write a model folder: ``base`` without the pieces that no line of ``corpus`` uses.

    Special tokens and bytes stay. The lines are cut into the same pieces as before, which is checked, and so
    the model gives each kept piece the same logit. Probabilities rise a little: they are shares of what is left.

    Raises:
        InputError: base or corpus cannot be read, or ``out`` is not free.
        LangliftError: the check failed.
    """
    check_new_folder(out)
    lines, corpora = all_lines(corpus)
    tokenizer, model = load_tokenizer(base), load_masked_model(base)
    state = state_of(tokenizer)
    used: set[int] = set()
    unknown_lines: list[str] = []
    with ProgressBar("reading the corpus", len(lines), "lines") as bar:
        for number, (line, ids) in enumerate(zip(lines, token_ids(tokenizer, lines), strict=True), start=1):
            used.update(ids)
            if tokenizer.unk_token_id in ids:
                unknown_lines.append(line)
            if number % LINES_TOGETHER == 0:
                bar.advance(LINES_TOGETHER)
    keep = kept_ids(state, used, unknown_words(tokenizer, unknown_lines))
    trimmed = assembled(trimmed_state(state, keep), tokenizer)
    _check(tokenizer, trimmed, lines, keep)
    rows = torch.tensor(keep)
    changed = with_vocabulary(model, trimmed, lambda tensor: tensor.detach()[rows])
    result = TrimResult(
        model=str(out),
        base=base,
        lines=len(lines),
        used=len(used),
        vocabulary_before=len(tokenizer),
        vocabulary_after=len(trimmed),
        parameters_before=sum(p.numel() for p in model.parameters()),
        parameters_after=sum(p.numel() for p in changed.parameters()),
    )
    record = {"command": "vocab trim", "corpora": corpora, "result": asdict(result) | {"model": out.name}}
    save_model(changed, trimmed, base, out, lambda folder: write_record(folder, record))
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


def _check(before: Any, after: Any, lines: Sequence[str], keep: Sequence[int]) -> None:
    """Raise unless every line is cut as before."""
    for line, old, new in zip(lines, token_ids(before, lines), token_ids(after, lines), strict=True):
        if old != [keep[number] for number in new]:
            raise LangliftError(
                f"after trimming a line would be cut differently: {line[:60]}",
                "please report it with the base model's name; nothing was written",
            )
