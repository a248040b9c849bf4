"""Adapt a base model to a family of languages: one model, or one adapter, trained on the text of all of them."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import PreTrainedModel, TrainerCallback, TrainerState, set_seed

from langlift.adapters.method import METHODS
from langlift.backbones.loading import BaseModel
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.layouts import usable_name
from langlift.config.loading import recorded
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.files import sha256_of
from langlift.model_cards import render_card
from langlift.notebook import Shown
from langlift.progress import say
from langlift.training.cost import flops_per_token
from langlift.training.encoding import disk_of
from langlift.training.family_file import SECTION, Family
from langlift.training.language_model_training import Adaptation, example_order, trained_head
from langlift.training.recipes import FamilyRecipe
from langlift.training.run import Trained, open_run
from langlift.training.run_folder import LEARNING_CURVES
from langlift.training.training_data import Source, TrainingData, encode_sources
from langlift.vocab.applying import apply_vocabulary
from langlift.vocab.parts import load_vocabulary
from langlift.vocab.recipe import VocabRecipe

LANGUAGES = "languages"
BASE = "base"
"""Subfolder of the run for the base with the family's vocabulary."""


@dataclass(frozen=True)
class LanguageShare:
    """One language of a family. Losses are in nats per masked token of its dev split.

    ``examples`` counts its distinct training examples, ``share`` is its part of the examples trained on,
    ``tokens`` counts those trained on with repetitions, ``characters`` is about the same in characters of text.
    """

    name: str
    examples: int
    share: float
    tokens: int
    characters: int
    validation_loss_before: float
    validation_loss: float


@dataclass(frozen=True)
class FamilyResult(Shown):
    """The result of ``langlift adapt-family``. The validation losses are means over languages, each counting once.

    ``languages`` has the data and losses of each language by its code. ``flops`` are the floating point operations
    of training (without validation), ``seconds`` its time, validation and saving included.
    """

    run: str
    family: str
    base: str
    method: str
    steps: int
    best_step: int
    validation_loss: float
    validation_loss_before: float
    languages: dict[str, LanguageShare]
    vocabulary_size: int
    trainable_parameters: int
    tokens: int
    characters: int
    flops: int
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: int
    path: str
    precision: str


def adapt_family(family: Family, out: Path, recipe: FamilyRecipe, resume: bool = False) -> FamilyResult:
    """Train the whole model, or one adapter, on the train splits of all languages.

    Language i gets the share ``n_i^alpha / sum_j n_j^alpha`` of the examples, with n_i its number of examples. The
    weights kept are those with the lowest mean of the languages' losses on their dev splits, including those
    before training. ``out`` becomes a run folder with the model or the adapter.

    Raises:
        InputError: the data (all errors are listed), base or recipe is invalid, or ``out`` contains another run.
        LangliftError: the run failed, for example because ``out`` cannot be written.
    """
    sources = _read(family, recipe.objective)
    base = BaseModel.load(family.base, masked_only=True)
    tokenizer = base.tokenizer if family.vocabulary is None else load_vocabulary(family.vocabulary)
    longest = min(recipe.max_tokens, base.longest_input)
    data = encode_sources(sources, None, tokenizer, longest, recipe, disk_of(out))
    record = recorded(SECTION, _inputs(family, sources), recipe)
    with closing(data.train), open_run(out, record, resume, frozenset({"path"})) as run:
        if run.finished:
            shares = {code: LanguageShare(**share) for code, share in run.metrics[LANGUAGES].items()}
            return FamilyResult(**{**run.metrics, LANGUAGES: shares})
        if family.vocabulary is not None:
            base = BaseModel.load(str(_with_vocabulary(family, family.vocabulary, out / BASE, recipe)))
        model, steps, method = base.model, _steps(data, recipe), METHODS[recipe.method]
        set_seed(recipe.seed)
        adaptation = Adaptation(model, base.tokenizer, usable_name(family.name, "family"), recipe)
        encoder = encoder_parameters(model) if method.whole_model else []
        frozen_steps = round(recipe.freeze_share * steps) if encoder else 0
        freeze = FreezeAtStart(encoder, frozen_steps)
        trainer = adaptation.trainer(data, out, steps, recipe.accumulation, [freeze])
        trained = run.train(trainer, f"adapting ({recipe.method})")
        if frozen_steps:
            freeze.train_encoder(False)
            saved = trained.flops_per_token - flops_per_token(trainer)
            freeze.train_encoder(True)
            trained = replace(trained, flops_per_token=trained.flops_per_token - frozen_steps / steps * saved)
        shares = _shares(family, sources, data, _tokens_seen(data, recipe, steps), trained)
        result = FamilyResult(
            run=str(out),
            family=family.name,
            base=base.name,
            method=recipe.method,
            steps=steps,
            best_step=trained.best_step,
            validation_loss=trained.best["loss"],
            validation_loss_before=trained.before["loss"],
            languages=shares,
            vocabulary_size=len(base.tokenizer),
            trainable_parameters=trained.parameters,
            characters=sum(share.characters for share in shares.values()),
            path=recipe.path,
            precision=trained.precision,
            **trained.cost,
        )
        adaptation.save(out, base.name, trained_head(model, recipe))
        card = render_card(
            "adapt_family.md", method=method, learning_curves=LEARNING_CURVES, recipe=recipe, result=result
        )
        run.finish(asdict(result), card)
    return result


def _shares(
    family: Family, sources: Sequence[Source], data: TrainingData, tokens: Sequence[int], trained: Trained
) -> dict[str, LanguageShare]:
    """Each language's share of the training, from its number of ``tokens``."""
    shares = {}
    first = np.cumsum([0, *data.sizes[:-1]])
    once = np.add.reduceat(data.train.lengths, first)  # tokens in one pass over its text
    for place, language in enumerate(family.data):
        code = str(language)
        characters = sum(len(text) for one in sources if one.name == code for text in one.texts.train)
        shares[code] = LanguageShare(
            name=language.name,
            examples=data.sizes[place],
            share=round(data.shares[code], 6),
            tokens=tokens[place],
            characters=round(characters * tokens[place] / int(once[place])),
            validation_loss_before=trained.before[f"loss_{code}"],
            validation_loss=trained.best[f"loss_{code}"],
        )
    return shares


def _inputs(family: Family, sources: Sequence[Source]) -> dict[str, Any]:
    """The inputs recorded in a run's recipe: the family and its data."""
    languages: dict[str, list[dict[str, str]]] = {}
    for one in sources:
        languages.setdefault(one.name, []).append({"data": one.path.name, "sha256": one.texts.sha256})
    inputs: dict[str, Any] = {"family": family.name, "base": family.base.name, LANGUAGES: languages}
    if family.vocabulary is not None:
        inputs["vocabulary"] = Path(family.vocabulary).name
        inputs["vocabulary_sha256"] = sha256_of([Path(family.vocabulary, "tokenizer.json")])
    return inputs


def _with_vocabulary(family: Family, vocabulary: str, out: Path, recipe: FamilyRecipe) -> Path:
    """The folder of the base with the vocabulary applied, created if it does not exist."""
    if not out.exists():
        settings = VocabRecipe(
            init=recipe.vocabulary_init,
            vector_least_count=recipe.vector_least_count,
            alpha=recipe.alpha,
            seed=recipe.seed,
        )
        corpus = [path for paths in family.data.values() for path in paths]
        apply_vocabulary(family.base, vocabulary, out, settings, corpus)
    return out


def _read(family: Family, objective: str) -> list[Source]:
    """The data sets, named by the code of their language; all errors are reported together."""
    sources: list[Source] = []
    errors: list[InputError] = []
    for language, paths in family.data.items():
        for path in paths:
            try:
                texts = load_text_data(path, with_triples=objective == "targeted")
                sources.append(Source(str(language), path, texts))
            except InputError as error:
                errors.append(error)
    if errors:
        raise InputError("; ".join(error.message for error in errors), errors[0].hint)
    if objective == "targeted" and not any(one.texts.triples for one in sources):
        raise InputError(
            "objective targeted needs triples, and all data is plain text",
            "build graph folders (langlift graph build), or use the objective mlm or full_word",
        )
    return sources


def _steps(rows: TrainingData, recipe: FamilyRecipe) -> int:
    """The recipe's steps, or the fewest that reach its budget in tokens; the order of examples is known."""
    if not recipe.tokens:
        return recipe.steps
    lengths, left, examples = rows.train.lengths, recipe.tokens, 0
    for numbers in _order(rows, recipe, recipe.tokens):
        counted = np.cumsum(lengths[numbers])
        if counted[-1] >= left:
            examples += int(np.searchsorted(counted, left)) + 1
            break
        left, examples = left - int(counted[-1]), examples + len(numbers)
    steps = ceil(examples / (recipe.batch_size * recipe.accumulation))
    say(f"{recipe.tokens:,} tokens are {steps:,} steps")
    return steps


def _tokens_seen(rows: TrainingData, recipe: FamilyRecipe, steps: int) -> list[int]:
    """The number of tokens of each language in ``steps`` training steps."""
    lengths = rows.train.lengths
    language = np.repeat(np.arange(len(rows.sizes)), rows.sizes)
    seen = np.zeros(len(rows.sizes), dtype=np.int64)
    for numbers in _order(rows, recipe, steps * recipe.batch_size * recipe.accumulation):
        np.add.at(seen, language[numbers], lengths[numbers])
    counted: list[int] = seen.tolist()
    return counted


def _order(rows: TrainingData, recipe: FamilyRecipe, total: int) -> Iterator[npt.NDArray[np.integer]]:
    """The numbers of the first ``total`` training examples in order, in parts."""
    order = example_order(rows, recipe)
    for start in range(0, total, order.count):
        yield order.epoch(start // order.count)[0][: total - start]


def encoder_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """The trainable parameters that belong neither to the embeddings nor to the MLM head."""
    body = model.base_model
    embeddings = {id(p) for p in body.get_submodule(backbone_of(model).embeddings).parameters()}
    return [p for p in body.parameters() if p.requires_grad and id(p) not in embeddings]


class FreezeAtStart(TrainerCallback):
    """Freezes the encoder's parameters in the first ``steps`` steps, only while a step is computed.

    They remain in checkpoints and in the optimiser, which skips parameters without a gradient. Freezing depends
    only on the step number, so that a resumed run continues exactly.
    """

    def __init__(self, encoder: Sequence[nn.Parameter], steps: int) -> None:
        self._encoder, self._steps = encoder, steps

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Freeze."""
        if state.global_step < self._steps:
            self.train_encoder(False)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Unfreeze, before anything is measured or saved."""
        self.train_encoder(True)

    def train_encoder(self, trains: bool) -> None:
        """Whether the encoder's parameters get gradients."""
        for parameter in self._encoder:
            parameter.requires_grad_(trains)
