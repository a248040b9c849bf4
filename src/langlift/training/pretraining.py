"""Train a base model on text: a new one in XLM-R's or Llama's architecture, or on from an encoder."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    set_seed,
)

from langlift.backbones.base_model import BaseModel, BaseName
from langlift.backbones.loading import default_device, quiet_transformers
from langlift.config.loading import recorded
from langlift.config.recipes import CAUSAL, FurtherRecipe, PretrainRecipe
from langlift.corpus.text_files import Document
from langlift.languages import FLORES_CODE
from langlift.masking.masked_language_model import MaskedLanguageModel
from langlift.model_cards import render_card
from langlift.processes import only_one
from langlift.progress import ProgressBar
from langlift.training.cost import flops_per_token
from langlift.training.decoder_bias import piece_counts
from langlift.training.examples import ExampleOf, OnePass, Schedule, TokenMatrix, causal_examples, masked_examples
from langlift.training.further import lineage, prepare_further, require_row
from langlift.training.initialisation import see_neighbours
from langlift.training.language_model_loss import decoder_of
from langlift.training.memory import peak_memory_bytes
from langlift.training.optimizers import MuonWithAdamW
from langlift.training.paths import SummedLoss, loss_path
from langlift.training.precision import prepare_arithmetic
from langlift.training.pretraining_text import corpus_files, reserved_rows, split_by_budget, token_rows
from langlift.training.reporting import TrainingReport
from langlift.training.run_folder import (
    CHECKPOINTS,
    METRICS,
    atomic_folder,
    is_finished,
    open_run,
    read_metrics,
    sha256_of,
    write_json,
)
from langlift.training.state_keeping import frozen_copy, state_keeping_loss
from langlift.training.trainer import LiftTrainer, best_of, mean_validation_loss, on_device, training_arguments
from langlift.vocab.tokenizer_training import train_unigram_tokenizer

SHIPPED_DROPOUT = 0.1
CHECKED_ROWS = 8
"""So many reserved rows make the batch on which bf16 is checked."""
TOKENIZER = "tokenizer"
MODEL = "model"


@dataclass(frozen=True)
class PretrainResult:
    """What ``langlift pretrain`` made. Losses in nats per predicted token; rates in tokens per second.

    ``validation_losses`` has each text file's, ``validation_loss`` is their mean. ``base`` is the model that it
    went on from and ``validation_loss_before`` its loss (with a new head if it had none: ``made_head``).
    ``flops`` and ``seconds`` as in ``AdaptResult``. ``text_bytes`` are the bytes of text trained on, by file name.
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


@dataclass(frozen=True)
class _Start:
    """What a run starts from: the model, ready to be trained, and how it is trained."""

    model: PreTrainedModel
    loss: SummedLoss
    optimizer: torch.optim.Optimizer | None
    made_head: bool = False


def pretrain(
    corpus: Sequence[Path],
    out: Path,
    recipe: PretrainRecipe | FurtherRecipe,
    resume: bool = False,
    base: BaseName | str | None = None,
) -> PretrainResult:
    """Train a base model on text files, or go on with a run that was stopped.

    A ``PretrainRecipe`` starts from nothing; a ``FurtherRecipe`` goes on from ``base``, an encoder with or without
    a masked head, on its own vocabulary. ``out/model`` receives an ordinary model folder (half precision) with a
    card; ``out`` also keeps the run's recipe, progress and metrics.

    The learning rate is constant between warm-up and decay, so a stopped run may be resumed with
    another number of ``steps``: it then decays at the new end.

    Raises:
        InputError: no usable text, less of a language than its budget, no such base, or ``out`` holds another run.
    """
    only_one("langlift pretrain")
    base = BaseName.of(base)
    if isinstance(recipe, FurtherRecipe) != bool(base):
        raise TypeError("a base goes with a FurtherRecipe, and a FurtherRecipe with a base")
    files = corpus_files(corpus, recipe.languages)
    train_documents, reserved, text_bytes = split_by_budget(files, recipe)
    inputs: dict[str, Any] = {"corpus": [file.name for file in files], "corpus_sha256": sha256_of(files)}
    if base:
        inputs["base"] = base.name
    record = recorded("pretrain", inputs, recipe)
    may_change = frozenset({"steps", "decay_share", "path"})
    if isinstance(recipe, FurtherRecipe):
        loaded = BaseModel.load(base, masked_only=True, head_needed=False)
        model, tokenizer = loaded.model, loaded.tokenizer
        require_row(model, tokenizer, recipe.row_tokens)
    open_run(out, record, resume, may_change)
    if is_finished(out):
        return PretrainResult(**read_metrics(out))
    if isinstance(recipe, PretrainRecipe):
        tokenizer = _tokenizer(out, train_documents, recipe)
    train_rows = token_rows(out / "train_rows.npy", tokenizer, train_documents, recipe.row_tokens)
    held_out = reserved_rows(
        out / "reserved_rows.npz", tokenizer, reserved, recipe.row_tokens, recipe.validation_rows
    )

    set_seed(recipe.seed)
    device = default_device()
    if isinstance(recipe, PretrainRecipe):
        model = new_model(tokenizer, recipe).to(device)
        path = loss_path(recipe.path, model, tokenizer.pad_token_id)
        start = _Start(model, path.loss, MuonWithAdamW(model, recipe.learning_rate, recipe.weight_decay))
    else:
        counts = piece_counts(train_rows, decoder_of(model).out_features, tokenizer.all_special_ids)
        prepare_further(model.to(device), loaded.head is not None, counts, recipe)
        path = loss_path(recipe.path, model, tokenizer.pad_token_id)
        start = _Start(model, path.loss, None, made_head=loaded.head is None)
        if recipe.keep_states:
            start = replace(start, loss=state_keeping_loss(frozen_copy(model), recipe.keep_states))
    examples = {name: OnePass(_examples(rows, tokenizer, recipe), len(rows)) for name, rows in held_out.items()}
    some = max(examples.values(), key=len)
    checked = on_device(path.collate([some[i] for i in range(min(CHECKED_ROWS, len(some)))]), device)
    arithmetic = prepare_arithmetic(recipe.precision, model, lambda: path.loss(model, checked)[0], device)
    total = recipe.steps * recipe.batch_size * recipe.accumulation
    report = TrainingReport(out, "pre-training")
    trainer = LiftTrainer(
        model,
        training_arguments(
            out,
            steps=recipe.steps,
            learning_rate=recipe.learning_rate,
            batch_size=recipe.batch_size,
            accumulation=recipe.accumulation,
            warmup_share=recipe.warmup_share,
            weight_decay=recipe.weight_decay,
            validate_every=recipe.validate_every,
            save_every=recipe.save_steps,
            seed=recipe.seed,
            schedule="warmup_stable_decay",
            schedule_arguments={
                "num_decay_steps": round(recipe.decay_share * recipe.steps),
                "decay_type": "linear",
            },
        ),
        loss=start.loss,
        validation=mean_validation_loss(path.loss, examples, path.collate, recipe.batch_size),
        best_by="loss",
        greater_is_better=False,
        train_dataset=Schedule(_examples(train_rows, tokenizer, recipe), len(train_rows), recipe.seed, total),
        collate=path.collate,
        bf16=arithmetic.bf16,
        optimizer=start.optimizer,
        callbacks=[report],
    )
    try:
        trainer.resume_or_start()
    finally:
        report.close()
    flops = flops_per_token(trainer)  # before the weights are halved
    best = best_of(out / CHECKPOINTS)
    result = PretrainResult(
        model=str(out / MODEL),
        steps=recipe.steps,
        tokens=int(trainer.state.num_input_tokens_seen),
        validation_loss=best["value"],
        parameters=sum(p.numel() for p in model.parameters()),
        tokens_per_second=round(report.tokens_per_second, 1),
        peak_memory_bytes=peak_memory_bytes(),
        path=recipe.path,
        precision=arithmetic.name,
        vocabulary_size=len(tokenizer),
        flops=round(flops * trainer.state.num_input_tokens_seen),
        seconds=round(report.seconds, 1),
        text_bytes=text_bytes,
        validation_losses={
            name: best["measures"][f"loss_{name}"] for name in examples if f"loss_{name}" in best["measures"]
        },
        trained_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        base=base.name or None,
        made_head=start.made_head,
        validation_loss_before=report.first["validation_loss"] if base else None,
    )
    facts = {"recipe": recipe, "result": result, "languages": list(filter(FLORES_CODE.fullmatch, text_bytes))}
    if isinstance(recipe, PretrainRecipe):
        card = render_card("pretrain.md", causal=recipe.objective == CAUSAL, **facts)
        if recipe.objective != CAUSAL:
            # The customary dropout of XLM-R, for those who fine-tune.
            model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = SHIPPED_DROPOUT
    else:
        card = render_card("pretrain_from.md", lineage=lineage(base.name), **facts)
    with atomic_folder(out / MODEL) as staging, quiet_transformers():
        model.half().save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        (staging / "README.md").write_text(card, encoding="utf-8")
    write_json(out / METRICS, asdict(result))
    shutil.rmtree(out / CHECKPOINTS)
    return result


def _examples(
    rows: TokenMatrix, tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe | FurtherRecipe
) -> ExampleOf:
    if isinstance(recipe, PretrainRecipe) and recipe.objective == CAUSAL:
        return causal_examples(rows)
    masking = MaskedLanguageModel(
        mask_token_id=tokenizer.mask_token_id,
        special_ids=frozenset(tokenizer.all_special_ids),
        vocabulary_size=len(tokenizer),
        share=recipe.masking_share,
    )
    return masked_examples(rows, masking, recipe.seed)


def new_model(tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe) -> PreTrainedModel:
    """A freshly initialised model of the recipe's shape, without dropout: a few passes do not overfit."""
    if recipe.objective == CAUSAL:
        return _new_llama(tokenizer, recipe)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.attention_heads,
        intermediate_size=recipe.feed_forward_size,
        # XLM-R numbers positions from pad_token_id + 1.
        max_position_embeddings=recipe.max_tokens + tokenizer.pad_token_id + 1,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    # On a CPU plain matrix products are faster in bf16 than the fused attention kernel; the fast path has its own.
    model = XLMRobertaForMaskedLM._from_config(config, attn_implementation="eager", dtype=torch.float32)
    see_neighbours(model.base_model)
    return model


def _new_llama(tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe) -> LlamaForCausalLM:
    """RoPE, RMSNorm and SwiGLU; input and output share their embeddings, as small Llama 3 models' do."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.attention_heads,
        intermediate_size=max(8, round(recipe.feed_forward_size * 2 / 3 / 8) * 8),
        max_position_embeddings=recipe.max_tokens,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM._from_config(config, attn_implementation="eager", dtype=torch.float32)


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
