"""Give a base model a new vocabulary."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from langlift.backbones.loading import BaseModel, BaseName
from langlift.errors import InputError
from langlift.files import check_new_folder
from langlift.notebook import Shown
from langlift.vocab.corpora import read_corpora
from langlift.vocab.initialisation import Vectors, plan_rows
from langlift.vocab.model_rows import parameter_count, save_model, with_vocabulary
from langlift.vocab.overlap import overlap
from langlift.vocab.parts import State, fertility, load_vocabulary
from langlift.vocab.recipe import VocabRecipe
from langlift.vocab.vectors import read_vectors, train_vectors


@dataclass(frozen=True)
class ApplyResult(Shown):
    """The result of ``langlift vocab apply``.

    ``overlap``: the number of tokens in both vocabularies. ``copied``, ``combined`` and ``drawn``: the number of
    rows of the new model by origin (special tokens are copied). ``before`` and ``after``: how finely the base's
    and the new vocabulary split the corpus (``vocab.parts.fertility``); None without a corpus.
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

    FOCUS trains its vectors on ``corpus``, unless they are given in the file ``vectors``.

    Raises:
        InputError: base, vocabulary, corpus or vectors cannot be read, ``out`` is not empty, or FOCUS has neither
            corpus nor vectors.
        LangliftError: gensim is needed and not installed.
    """
    check_new_folder(out)
    if recipe.init == "focus" and not corpus and vectors is None:
        raise InputError(
            "--init focus needs text to train vectors of the tokens on", "add --corpus FILE, or --vectors FILE"
        )
    if recipe.init != "focus" and vectors is not None:
        raise InputError(f"--vectors is for --init focus, not {recipe.init}", "leave --vectors out")
    corpora = read_corpora(corpus, recipe.alpha) if corpus else None
    loaded = BaseModel.load(base, head_needed=False)
    source, target = loaded.tokenizer, load_vocabulary(vocabulary)
    given: Vectors = {}
    if vectors is not None:
        given = read_vectors(vectors)
    elif recipe.init == "focus" and corpora is not None:
        given = train_vectors(target, corpora.sampled(recipe.seed), recipe)
    rows = loaded.model.get_input_embeddings().weight.shape[0]
    plan = plan_rows(target, source, rows, recipe, given)
    random = torch.Generator().manual_seed(recipe.seed)
    changed = with_vocabulary(loaded.model, target, lambda tensor: plan.rows(tensor, random))
    sample = corpora.measured() if corpora is not None else None
    result = ApplyResult(
        model=str(out),
        base=loaded.name,
        init=recipe.init,
        vocabulary_before=len(source),
        vocabulary_after=len(target),
        parameters_before=parameter_count(loaded, loaded.model),
        parameters_after=parameter_count(loaded, changed),
        overlap=len(overlap(target, source)),
        **plan.counts(),
        before=fertility(source, sample) if sample else None,
        after=fertility(target, sample) if sample else None,
    )
    # The maximum length is that of this model, not of the one that the vocabulary was built for.
    tokenizer = State.of(target).tokenizer(target)
    tokenizer.model_max_length = source.model_max_length
    record = {
        "command": "vocab apply",
        "vocabulary": vocabulary,
        "vectors": None if vectors is None else vectors.name,
        "corpora": corpora.described() if corpora else [],
        "result": asdict(result) | {"model": out.name},
        "vocab": asdict(recipe),
    }
    save_model(changed, tokenizer, loaded, out, record)
    return result
