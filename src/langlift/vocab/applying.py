"""Put a new vocabulary into a base model: which rows are kept, and how the others begin."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from langlift.backbones.base_model import BaseModel, BaseName
from langlift.errors import InputError
from langlift.files import check_new_folder
from langlift.vocab.corpora import read_corpora
from langlift.vocab.focus import Vectors, focus_weights
from langlift.vocab.model_rows import parameter_count, row_count, save_model, with_vocabulary
from langlift.vocab.overlap import Form, canonical_forms, overlap, special_pairs, speller
from langlift.vocab.parts import assembled, fertility, load_vocabulary, state_of
from langlift.vocab.recipe import VocabRecipe
from langlift.vocab.row_plan import RowPlan, row_plan
from langlift.vocab.scripts import grouped_by_script
from langlift.vocab.vectors import read_vectors, train_vectors

RECORD = "vocabulary.json"


@dataclass(frozen=True)
class ApplyResult:
    """What ``langlift vocab apply`` made.

    ``overlap`` counts the pieces that both vocabularies hold; ``copied``, ``combined`` and ``drawn`` the new
    model's tokens by where their rows come from (special tokens are copied). ``before`` and ``after`` say how
    finely the base's and the new vocabulary cut the corpus (``vocab.parts.fertility``); without one they
    are absent.
    """

    model: str
    base: str
    init: str
    vocabulary_before: int
    vocabulary_after: int
    parameters_before: int
    parameters_after: int
    overlap: int
    copied: int
    combined: int
    drawn: int
    before: dict[str, float] | None
    after: dict[str, float] | None


def apply_vocabulary(
    base: BaseName | str,
    vocabulary: str,
    out: Path,
    recipe: VocabRecipe,
    corpus: Sequence[Path] = (),
    vectors: Path | None = None,
) -> ApplyResult:
    """Write a model folder: ``base`` with the tokenizer of the folder ``vocabulary``.

    ``corpus`` is what FOCUS trains its vectors on, unless they are given in the file ``vectors``.

    Raises:
        InputError: base, vocabulary, corpus or vectors cannot be read, ``out`` is not free, or FOCUS has
            neither corpus nor vectors.
        LangliftError: gensim is needed and not installed.
    """
    check_new_folder(out)
    if recipe.init == "focus" and not corpus and vectors is None:
        raise InputError(
            "--init focus needs text to learn the pieces' likeness from", "add --corpus FILE, or --vectors FILE"
        )
    if recipe.init != "focus" and vectors is not None:
        raise InputError(f"--vectors is for --init focus, not {recipe.init}", "leave --vectors out")
    corpora = read_corpora(corpus, recipe.alpha) if corpus else None
    loaded = BaseModel.load(base, masked_only=True, head_needed=False)
    source, target = loaded.tokenizer, load_vocabulary(vocabulary)
    given: Vectors = {}
    if vectors is not None:
        given = read_vectors(vectors)
    elif recipe.init == "focus" and corpora is not None:
        given = train_vectors(
            target,
            corpora.drawn(recipe.seed),
            recipe.vector_size,
            recipe.vector_epochs,
            recipe.vector_least_count,
            recipe.seed,
        )
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    plan = plan_rows(target, source, rows, recipe, given)
    random = torch.Generator().manual_seed(recipe.seed)
    changed = with_vocabulary(loaded.model, target, lambda tensor: plan.rows(tensor, random))
    sample = corpora.sample() if corpora is not None else None
    result = ApplyResult(
        model=str(out),
        base=loaded.name,
        init=recipe.init,
        vocabulary_before=len(source),
        vocabulary_after=len(target),
        parameters_before=parameter_count(loaded.model, loaded.head is not None),
        parameters_after=parameter_count(changed, loaded.head is not None),
        overlap=len(overlap(target, source)),
        **plan.counts(),
        before=fertility(source, sample) if sample else None,
        after=fertility(target, sample) if sample else None,
    )
    # The limits are the model's, not those of the vocabulary's first home.
    tokenizer = assembled(state_of(target), target)
    tokenizer.model_max_length = source.model_max_length
    record = {
        "command": "vocab apply",
        "vocabulary": vocabulary,
        "vectors": None if vectors is None else vectors.name,
        "corpora": corpora.described() if corpora else [],
        "result": asdict(result) | {"model": out.name},
        "vocab": asdict(recipe),
    }
    save_model(changed, tokenizer, loaded, out, lambda folder: write_record(folder, record))
    return result


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write how a vocabulary or a model with one came to be."""
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (folder / RECORD).write_text(text, encoding="utf-8")


def plan_rows(target: Any, source: Any, source_rows: int, recipe: VocabRecipe, vectors: Vectors) -> RowPlan:
    """Where the rows of the tokenizer ``target`` come from, given a model with ``source_rows`` of ``source``.

    Special tokens are copied by role, and (unless ``copy_overlap`` is false) pieces that both hold. Every other
    token begins by ``recipe.init``; what the method cannot give a row is drawn with the mean and deviation of
    all the source's rows.
    """
    copied = special_pairs(target, source)
    shared = overlap(target, source)
    ours = canonical_forms(target)
    if recipe.copy_overlap:
        copied = shared | copied
    new = sorted(set(target.get_vocab().values()) - copied.keys())
    everything = np.arange(source_rows)
    combined: Mapping[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]] = {}
    group_of, groups = dict.fromkeys(new, 0), [everything]
    if recipe.init == "focus":
        names = {number: piece for piece, number in target.get_vocab().items()}
        anchors = {number: (names[number], theirs) for number, theirs in shared.items()}
        combined = focus_weights({number: names[number] for number in new}, anchors, vectors)
    elif recipe.init == "mean":
        combined = _means_of_pieces({number: ours[number] for number in new if number in ours}, source)
    elif recipe.init == "script":
        pieces = {number: ours[number] for number in new if number in ours}
        by_script, groups = grouped_by_script(pieces, canonical_forms(source), recipe.position)
        group_of = dict.fromkeys(new, len(groups)) | by_script
        groups = [*groups, everything]
    drawn = {number: group for number, group in group_of.items() if number not in combined}
    return row_plan((row_count(target), source_rows), copied, combined, drawn, groups)


def _means_of_pieces(
    new: Mapping[int, Form], source: Any
) -> dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]:
    """Of each new token the ids of the source's pieces that spell it, in equal weights (Gee et al. 2022)."""
    spell = speller(source)
    combined = {}
    for number, form in new.items():
        if ids := spell(form):
            places, counts = np.unique(np.asarray(ids, dtype=np.int64), return_counts=True)
            combined[number] = (places, (counts / counts.sum()).astype(np.float32))
    return combined
