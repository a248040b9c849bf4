"""Train a base model on text: a new one with the architecture of XLM-R or Llama, or from an existing encoder."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from langlift.backbones.loading import BaseModel, BaseName, default_device, quiet_transformers
from langlift.config.loading import recorded
from langlift.corpus.text_files import Document
from langlift.files import atomic_folder, sha256_of
from langlift.languages import FLORES_CODE
from langlift.model_cards import render_card
from langlift.notebook import Shown
from langlift.processes import require_single_process
from langlift.progress import ProgressBar
from langlift.training.decoder_bias import piece_counts
from langlift.training.examples import (
    ExampleOf,
    Schedule,
    Shuffled,
    TokenMatrix,
    causal_examples,
    masked_examples,
    masking_for,
    one_pass,
)
from langlift.training.language_model_loss import loss_path, validation_losses
from langlift.training.loss_terms import frozen_copy, state_keeping_loss
from langlift.training.optimizers import MuonWithAdamW
from langlift.training.precision import use_bf16
from langlift.training.pretraining_text import corpus_files, name_of, reserved_rows, split_by_budget, token_rows
from langlift.training.recipes import CAUSAL, FurtherRecipe, PretrainRecipe
from langlift.training.run import open_run
from langlift.training.starting_models import lineage, new_model, prepare_further, require_row
from langlift.training.trainer import LiftTrainer, on_device, training_arguments
from langlift.vocab.tokenizer_training import train_unigram_tokenizer

SHIPPED_DROPOUT = 0.1
CHECKED_ROWS = 8
"""Number of reserved rows in the batch that bf16 is checked on."""
TOKENIZER = "tokenizer"
MODEL = "model"


@dataclass(frozen=True)
class PretrainResult(Shown):
    """The result of ``langlift pretrain``. Losses are in nats per predicted token, rates in tokens per second.

    ``validation_losses`` has the loss of each text file, ``validation_loss`` is their mean. ``base`` is the model
    that training started from and ``validation_loss_before`` its loss (with a new head if it had none:
    ``made_head``). ``flops`` and ``seconds`` are as in ``AdaptResult``. ``text_bytes`` are the bytes of training
    text by file name.
    """

    model: str
    steps: int
    tokens: int
    validation_loss: float
    parameters: int
    tokens_per_second: float
    peak_memory_bytes: int = 0
    path: str = "naive"
    precision: str = "bf16"
    vocabulary_size: int = 0
    flops: int = 0
    seconds: float = 0.0
    text_bytes: dict[str, int] = field(default_factory=dict)
    validation_losses: dict[str, float] = field(default_factory=dict)
    trained_parameters: int = 0
    base: str | None = None
    made_head: bool = False
    validation_loss_before: float | None = None


def pretrain(
    corpus: Sequence[Path],
    out: Path,
    recipe: PretrainRecipe | FurtherRecipe,
    resume: bool = False,
    base: BaseName | str | None = None,
) -> PretrainResult:
    """Pre-train a base model on text files, or resume a stopped run.

    A ``PretrainRecipe`` starts from scratch; a ``FurtherRecipe`` starts from ``base``, an encoder with or without
    an MLM head, with its own vocabulary. ``out/model`` becomes a model folder (half precision) with a model
    card; ``out`` also contains the run's recipe, progress and metrics.

    The learning rate is constant between warm-up and decay, so a stopped run may be resumed with another number
    of ``steps``; the decay then moves to the new end.

    Raises:
        InputError: no usable text, less text in a language than its budget, no such base, or ``out`` contains
        another run.
    """
    require_single_process("langlift pretrain")
    base = BaseName.of(base)
    if isinstance(recipe, FurtherRecipe) != bool(base):
        raise TypeError("a FurtherRecipe needs a base, and a base needs a FurtherRecipe")
    files = corpus_files(corpus, recipe.languages)
    train_documents, reserved, text_bytes = split_by_budget(files, recipe)
    inputs: dict[str, Any] = {
        "corpus": [f"{name_of(file)}{file.suffix}" for file in files],
        "corpus_sha256": sha256_of(files),
    }
    if isinstance(recipe, FurtherRecipe):
        inputs["base"] = base.name
        loaded = BaseModel.load(base, masked_only=True, head_needed=False)
        require_row(loaded, recipe.row_tokens)
    may_change = frozenset({"steps", "decay_share", "path"})
    with open_run(out, recorded("pretrain", inputs, recipe), resume, may_change) as run:
        if run.finished:
            return PretrainResult(**run.metrics)
        if isinstance(recipe, PretrainRecipe):
            tokenizer = _tokenizer(out, train_documents, recipe)
        else:
            tokenizer = loaded.tokenizer
        train_rows = token_rows(out / "train_rows.npy", tokenizer, train_documents, recipe.row_tokens)
        held_out = reserved_rows(
            out / "reserved_rows.npz", tokenizer, reserved, recipe.row_tokens, recipe.validation_rows
        )
        set_seed(recipe.seed)
        if isinstance(recipe, PretrainRecipe):
            model = new_model(tokenizer, recipe).to(default_device())
        else:
            model = loaded.model.to(default_device())
            counts = piece_counts(train_rows, model, tokenizer)
            prepare_further(loaded, counts, recipe)
        trained = run.train(_trainer(out, model, tokenizer, train_rows, held_out, recipe), "pre-training")
        result = PretrainResult(
            model=str(out / MODEL),
            steps=recipe.steps,
            validation_loss=trained.best["loss"],
            parameters=sum(p.numel() for p in model.parameters()),
            path=recipe.path,
            precision=trained.precision,
            vocabulary_size=len(tokenizer),
            text_bytes=text_bytes,
            validation_losses={name: trained.best[f"loss_{name}"] for name in held_out},
            trained_parameters=trained.parameters,
            base=base.name or None,
            made_head=bool(base) and loaded.head is None,
            validation_loss_before=trained.before["loss"] if base else None,
            **trained.cost,
        )
        _save(out / MODEL, model, tokenizer, recipe, result)
        run.finish(asdict(result))
    return result


def _trainer(
    out: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train_rows: TokenMatrix,
    held_out: Mapping[str, TokenMatrix],
    recipe: PretrainRecipe | FurtherRecipe,
) -> LiftTrainer:
    """The Trainer of a run; the model's frozen weights are cast in place."""
    path = loss_path(recipe.path, model, tokenizer.pad_token_id)
    loss, optimizer = path.loss, None
    if isinstance(recipe, PretrainRecipe):
        optimizer = MuonWithAdamW(model, recipe.learning_rate, recipe.weight_decay)
    elif recipe.keep_states:
        loss = state_keeping_loss(frozen_copy(model), recipe.keep_states)
    examples = {name: one_pass(_examples(rows, tokenizer, recipe), len(rows)) for name, rows in held_out.items()}
    checked = on_device(path.collate(max(examples.values(), key=len)[:CHECKED_ROWS]), model.device)
    bf16 = use_bf16(recipe.precision, model, lambda: path.loss(model, checked)[0], model.device)
    return LiftTrainer(
        model,
        training_arguments(
            out,
            recipe,
            steps=recipe.steps,
            seed=recipe.seed,
            validate_every=recipe.validate_every,
            save_every=recipe.save_steps,
            accumulation=recipe.accumulation,
            decay_steps=round(recipe.decay_share * recipe.steps),
        ),
        loss=loss,
        validation=validation_losses(path.loss, examples, path.collate, recipe.batch_size),
        best_by="loss",
        greater_is_better=False,
        train_dataset=Schedule(
            _examples(train_rows, tokenizer, recipe),
            Shuffled(len(train_rows), recipe.seed),
            recipe.steps * recipe.batch_size * recipe.accumulation,
        ),
        collate=path.collate,
        bf16=bf16,
        optimizer=optimizer,
    )


def _save(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    recipe: PretrainRecipe | FurtherRecipe,
    result: PretrainResult,
) -> None:
    """Write the model in half precision, with its tokenizer and card."""
    facts = {
        "recipe": recipe,
        "result": result,
        "languages": list(filter(FLORES_CODE.fullmatch, result.text_bytes)),
    }
    if isinstance(recipe, PretrainRecipe):
        causal = recipe.objective == CAUSAL
        card = render_card("pretrain.md", causal=causal, **facts)
        if not causal:
            # XLM-R's usual dropout, for fine-tuning.
            model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = SHIPPED_DROPOUT
    else:
        card = render_card("pretrain_from.md", lineage=lineage(str(result.base)), **facts)
    with atomic_folder(folder) as staging, quiet_transformers():
        model.half().save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        (staging / "README.md").write_text(card, encoding="utf-8")


def _examples(
    rows: TokenMatrix, tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe | FurtherRecipe
) -> ExampleOf:
    if isinstance(recipe, PretrainRecipe) and recipe.objective == CAUSAL:
        return causal_examples(rows)
    return masked_examples(rows, masking_for(tokenizer, recipe.masking_share), recipe.seed)


def _tokenizer(out: Path, documents: Sequence[Document], recipe: PretrainRecipe) -> PreTrainedTokenizerBase:
    folder = out / TOKENIZER
    if not folder.exists():
        with ProgressBar("training the tokenizer", 1, "vocabularies") as bar:
            tokenizer = train_unigram_tokenizer(
                chain.from_iterable(documents),
                recipe.vocabulary_size,
                recipe.max_tokens,
                byte_fallback=recipe.byte_fallback,
                closed=recipe.objective != CAUSAL,
            )
            bar.advance()
        with atomic_folder(folder) as staging:
            tokenizer.save_pretrained(staging)
    return AutoTokenizer.from_pretrained(folder)
