"""Keep only the tokens that a corpus uses, or uses most: a smaller model with the same logits for them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from langlift.backbones.loading import BaseModel, BaseName
from langlift.errors import InputError, LangliftError
from langlift.files import check_new_folder
from langlift.notebook import Shown
from langlift.progress import ProgressBar
from langlift.vocab.corpora import read_whole_corpora
from langlift.vocab.model_rows import parameter_count, save_model, with_vocabulary
from langlift.vocab.parts import (
    BYTE_PIECE,
    META,
    State,
    byte_characters,
    fertility,
    greedy_pieces,
    token_ids,
    words_of,
)


@dataclass(frozen=True)
class TrimResult(Shown):
    """The result of ``langlift vocab trim``. ``used``: the number of tokens that occur in the corpus.

    ``lines_changed``: the share of lines that are tokenised differently (0 without a ``size``). ``before`` and
    ``after``: how finely the corpus is split (``vocab.parts.fertility``, on a sample of its lines).
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
    """Write a model folder: ``base`` without the tokens that no line of ``corpus`` uses.

    Special tokens and bytes stay. The lines are tokenised as before, which is checked, so the model gives each
    remaining token the same logit. Probabilities rise slightly because they are shared among fewer tokens.

    ``size`` is the maximum number of entries to keep: special tokens, bytes, all single characters, and those of
    the other tokens that the corpora use most; each corpus has the same weight, regardless of its length. Some
    lines are then split into smaller tokens than before.

    Raises:
        InputError: base or corpus cannot be read, ``size`` is too small for the characters, or ``out`` is not
            empty.
        LangliftError: the check failed.
    """
    check_new_folder(out)
    corpora = read_whole_corpora(corpus)
    lines = [line for some in corpora.lines for line in some]
    loaded = BaseModel.load(base, head_needed=False)
    tokenizer = loaded.tokenizer
    state = State.of(tokenizer)
    use: dict[int, float] = defaultdict(float)
    unknown_lines: list[str] = []
    with ProgressBar("reading the corpus", len(lines), "lines") as bar:
        for some in corpora.lines:
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
    trimmed = trimmed_state(state, keep).tokenizer(tokenizer)
    changed = _changed_lines(lines, tokenizer, trimmed, keep)
    if changed and size is None:
        raise LangliftError(
            f"after trimming, {len(changed)} lines would be tokenised differently, for example: {changed[0][:60]}",
            "nothing was written; please report this with the name of the base model",
        )
    rows = torch.tensor(keep)
    smaller = with_vocabulary(loaded.model, trimmed, lambda tensor: tensor.detach()[rows])
    sample = corpora.measured()
    result = TrimResult(
        model=str(out),
        base=loaded.name,
        lines=len(lines),
        used=len(use),
        vocabulary_before=len(tokenizer),
        vocabulary_after=len(trimmed),
        parameters_before=parameter_count(loaded, loaded.model),
        parameters_after=parameter_count(loaded, smaller),
        lines_changed=round(len(changed) / len(lines), 4),
        before=fertility(tokenizer, sample),
        after=fertility(trimmed, sample),
    )
    record = {
        "command": "vocab trim",
        "corpora": corpora.described(),
        "result": asdict(result) | {"model": out.name},
    }
    save_model(smaller, trimmed, loaded, out, record)
    return result


def _changed_lines(lines: Sequence[str], tokenizer: Any, trimmed: Any, keep: Sequence[int]) -> list[str]:
    changed = []
    with ProgressBar("comparing the vocabularies", len(lines), "lines") as bar:
        for line, old, new in zip(lines, token_ids(tokenizer, lines), token_ids(trimmed, lines), strict=True):
            if old != [keep[number] for number in new]:
                changed.append(line)
            bar.advance()
    return changed


def unknown_words(tokenizer: Any, lines: Iterable[str]) -> set[str]:
    """The words (as split by the tokenizer) of lines with unknown tokens."""
    return {word for line in lines for word in words_of(tokenizer.backend_tokenizer, line)}


def kept_ids(state: State, used: set[int], words: Iterable[str]) -> list[int]:
    """The ids to keep, in order: those in use, added tokens, bytes, and the tokens needed to produce them.

    ``words`` are those with unknown parts.
    """
    pieces = state.pieces
    letters = byte_characters() if state.is_byte_level else {}
    kept = {piece for piece, number in pieces.items() if number in used}
    kept |= {piece for piece in pieces if BYTE_PIECE.fullmatch(piece) or piece in letters or piece == META}
    if state.kind == "bpe":
        kept |= _parts(kept, _made_of(state))
    elif state.kind == "wordpiece":
        # A word is unknown if the longest matches from the left do not reach its end; shorter ones might.
        for word in words:
            kept.update(greedy_pieces(word, pieces, state.prefix)[0])
    else:
        # The score of an unknown character is 10 below the lowest of all, which must therefore stay.
        kept.add(min(state["model"]["vocab"], key=lambda entry: entry[1])[0])
    added = {entry["id"] for entry in state["added_tokens"]}
    return sorted({pieces[piece] for piece in kept} | added)


def most_used_ids(state: State, use: Mapping[int, float], size: int) -> list[int]:
    """The ids of at most ``size`` entries to keep, in order: those that any text may need, then the most used.

    The tokens needed to produce a token are kept with it. InputError if ``size`` is too small for the characters.
    """
    pieces = state.pieces
    characters = {number for piece, number in pieces.items() if len(piece.removeprefix(state.prefix)) == 1}
    kept = set(kept_ids(state, characters, ()))
    if len(kept) > size:
        raise InputError(
            f"--size {size:,}: there are {len(kept):,} special tokens, bytes and single characters",
            f"choose a size above {len(kept):,}",
        )
    names = {number: piece for piece, number in pieces.items()}
    made_of = _made_of(state) if state.kind == "bpe" else {}
    for number in sorted((n for n in use if n in names), key=lambda n: (-use[n], n)):
        if number not in kept:
            needed = {number} | {pieces[part] for part in _parts({names[number]}, made_of)}
            if len(kept | needed) <= size:
                kept |= needed
        if len(kept) == size:
            break
    return sorted(kept)


def trimmed_state(state: State, keep: Sequence[int]) -> State:
    """The tokenizer's state with only the ids of ``keep``, renumbered in their order."""
    pieces = state.pieces
    names = {number: piece for piece, number in pieces.items()}
    names |= {entry["id"]: entry["content"] for entry in state["added_tokens"]}
    new = {old: number for number, old in enumerate(keep)}
    vocabulary = {names[old]: number for old, number in new.items()}
    model = dict(state["model"])
    if state.kind == "unigram":
        # Added tokens beyond the model's, such as XLM-R's mask, go into the model, so that ids have no gap.
        model["vocab"] = [state["model"]["vocab"][old] if old < len(pieces) else [names[old], 0.0] for old in keep]
        if model["unk_id"] is not None:
            model["unk_id"] = new[model["unk_id"]]
    else:
        model["vocab"] = vocabulary
    if state.kind == "bpe":
        marked = len(state.prefix)
        model["merges"] = [
            (left, right)
            for left, right in model["merges"]
            if left in vocabulary and right in vocabulary and left + right[marked:] in vocabulary
        ]
    added = [entry | {"id": new[entry["id"]]} for entry in state["added_tokens"]]
    processor = _renumbered(state["post_processor"], vocabulary)
    return State(state | {"model": model, "added_tokens": added, "post_processor": processor})


def _made_of(state: State) -> dict[str, list[tuple[str, str]]]:
    """For each token of BPE, the pairs of tokens that are merged into it."""
    marked = len(state.prefix)
    made_of: dict[str, list[tuple[str, str]]] = {}
    for left, right in state["model"]["merges"]:
        made_of.setdefault(left + right[marked:], []).append((left, right))
    return made_of


def _parts(kept: Iterable[str], made_of: Mapping[str, list[tuple[str, str]]]) -> set[str]:
    """The tokens from which merges produce the ``kept`` ones, in any order of merging."""
    found: set[str] = set()
    waiting = list(kept)
    while waiting:
        parts = {part for pair in made_of.get(waiting.pop(), ()) for part in pair} - found
        found |= parts
        waiting.extend(parts)
    return found


def _renumbered(node: Any, vocabulary: Mapping[str, int]) -> Any:
    """A post-processor with the new ids of the special tokens."""
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
