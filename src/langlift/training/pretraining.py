"""Train a small multilingual language model from scratch: tokenizer, then XLM-R's or Llama's architecture."""

import shutil
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
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

from langlift.backbones.loading import default_device, quiet_transformers
from langlift.backbones.registry import backbone_of
from langlift.config.loading import recorded
from langlift.config.recipes import CAUSAL, PretrainRecipe
from langlift.corpus.text_files import Document, read_documents, split_documents
from langlift.errors import InputError
from langlift.masking.masked_language_model import MaskedLanguageModel
from langlift.processes import only_one
from langlift.progress import ProgressBar
from langlift.training.cost import flops_per_token
from langlift.training.examples import ExampleOf, OnePass, Schedule, causal_examples, masked_examples
from langlift.training.initialisation import see_neighbours
from langlift.training.memory import peak_memory_bytes
from langlift.training.model_cards import pretraining_card
from langlift.training.optimizers import MuonWithAdamW
from langlift.training.paths import loss_path
from langlift.training.precision import prepare_arithmetic
from langlift.training.reporting import TrainingReport
from langlift.training.run_folder import (
    CHECKPOINTS,
    METRICS,
    atomic_file,
    atomic_folder,
    is_finished,
    open_run,
    read_metrics,
    sha256_of,
    write_json,
)
from langlift.training.trainer import LiftTrainer, best_of, on_device, training_arguments, validation_loss
from langlift.vocab.tokenizer_training import train_unigram_tokenizer

SHIPPED_DROPOUT = 0.1
CHECKED_ROWS = 8
"""So many reserved rows make the batch on which bf16 is checked."""
TOKENIZER = "tokenizer"
MODEL = "model"


@dataclass(frozen=True)
class PretrainResult:
    """What ``langlift pretrain`` made. Losses in nats per predicted token; rates in tokens per second.

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


def pretrain(corpus: Sequence[Path], out: Path, recipe: PretrainRecipe, resume: bool = False) -> PretrainResult:
    """Train a base model on text files, or go on with a run that was stopped.

    ``out/model`` receives an ordinary model folder (half precision) with a card; ``out`` also keeps the run's
    recipe, progress and metrics.

    The learning rate is constant between warm-up and decay, so a stopped run may be resumed with
    another number of ``steps``: it then decays at the new end.

    Raises:
        InputError: no usable text, less of a language than its budget, or ``out`` holds another run.
    """
    only_one("langlift pretrain")
    files = corpus_files(corpus, recipe.languages)
    train_documents, reserved, text_bytes = split_by_budget(files, recipe)
    inputs = {"corpus": [file.name for file in files], "corpus_sha256": sha256_of(files)}
    record = recorded("pretrain", inputs, recipe)
    may_change = frozenset({"steps", "decay_share", "path"})
    open_run(out, record, resume, may_change, absent={"language_bytes": {}, "objective": "mlm"})
    if is_finished(out):
        return PretrainResult(**read_metrics(out))
    tokenizer = _tokenizer(out, train_documents, recipe)
    train_rows = _rows(out / "train_rows.npy", tokenizer, train_documents, recipe.row_tokens)
    reserved_rows = _rows(out / "reserved_rows.npy", tokenizer, reserved, recipe.row_tokens)
    held_out = reserved_rows[: recipe.validation_rows]

    set_seed(recipe.seed)
    model = new_model(tokenizer, recipe)
    device = default_device()
    model.to(device)
    path = loss_path(recipe.path, model, tokenizer.pad_token_id)
    reserved_examples = OnePass(_examples(held_out, tokenizer, recipe), len(held_out))
    few = [reserved_examples[i] for i in range(min(CHECKED_ROWS, len(held_out)))]
    checked = on_device(path.collate(few), device)
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
        loss=path.loss,
        validation=validation_loss(path.loss, reserved_examples, path.collate, recipe.batch_size),
        best_by="loss",
        greater_is_better=False,
        train_dataset=Schedule(_examples(train_rows, tokenizer, recipe), len(train_rows), recipe.seed, total),
        collate=path.collate,
        bf16=arithmetic.bf16,
        optimizer=MuonWithAdamW(model, recipe.learning_rate, recipe.weight_decay),
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
    )
    _save_model(out / MODEL, model, tokenizer, pretraining_card(recipe, result))
    write_json(out / METRICS, asdict(result))
    shutil.rmtree(out / CHECKPOINTS)
    return result


def corpus_files(corpus: Sequence[Path], languages: Sequence[str]) -> list[Path]:
    """The text files named, and those in the folders named (only ``languages``, when given).

    Raises:
        InputError: nothing is found.
    """
    files: list[Path] = []
    for place in corpus:
        if not place.is_dir():
            files.append(place)
        elif languages:
            files.extend(place / f"{language}.txt" for language in languages)
        else:
            files.extend(sorted(place.glob("*.txt")))
    if not files:
        raise InputError(f"{', '.join(map(str, corpus))}: no .txt files", "name text files or a folder of them")
    return files


def split_corpus(files: Sequence[Path], recipe: PretrainRecipe) -> tuple[list[Document], list[Document]]:
    """(training documents, reserved documents), both shuffled; the same for the same files, share and seed.

    Every file is split by itself, so that each language is reserved in proportion and a later study can
    take the reserved part of one language without reading the others.
    """
    train, reserved, _ = split_by_budget(files, recipe)
    return train, reserved


def split_by_budget(
    files: Sequence[Path], recipe: PretrainRecipe
) -> tuple[list[Document], list[Document], dict[str, int]]:
    """As ``split_corpus``, and the bytes of training text by file name, at most ``language_bytes`` of each.

    The reserved documents do not depend on budgets, and the text of a smaller budget is part of a larger one's.

    Raises:
        InputError: a budget is for no file, or larger than the file's training text.
    """
    train: list[Document] = []
    reserved: list[Document] = []
    sizes: dict[str, int] = {}
    mistakes = [f"no file {name}.txt" for name in recipe.language_bytes if name not in {f.stem for f in files}]
    shares = (1 - recipe.reserved_share, recipe.reserved_share)
    for file in files:
        mine, kept = split_documents(read_documents(file), shares, recipe.seed)
        budget = recipe.language_bytes.get(file.stem)
        if budget is not None:
            if (there := bytes_of(mine)) < budget:
                mistakes.append(f"{file.stem}: {budget:,} bytes wanted, {there:,} there")
            cut = beginning(mine, budget)
            mine = [*cut, *[[] for _ in mine[len(cut) :]]]  # so many draws as without a budget
        sizes[file.stem] = sizes.get(file.stem, 0) + bytes_of(mine)
        train.extend(mine)
        reserved.extend(kept)
    if mistakes:
        raise InputError(f"language_bytes: {'; '.join(mistakes)}", "lower the budgets, or give more text")
    random = np.random.default_rng(recipe.seed)
    ordered = [train[i] for i in random.permutation(len(train))]
    kept = [reserved[i] for i in random.permutation(len(reserved))]
    return [document for document in ordered if document], kept, sizes


def beginning(documents: Sequence[Document], most_bytes: int) -> list[Document]:
    """The first lines of documents that have at most so many bytes together; the last document may be cut."""
    found: list[Document] = []
    left = most_bytes
    for document in documents:
        sizes = np.cumsum([len(line.encode()) + 1 for line in document])
        lines = int(np.searchsorted(sizes, left, side="right"))
        if lines:
            found.append(document[:lines])
        if lines < len(document):
            break
        left -= int(sizes[-1])
    return found


def bytes_of(documents: Sequence[Document]) -> int:
    """Bytes of text in UTF-8, line ends included."""
    return sum(len(line.encode()) + 1 for document in documents for line in document)


def _examples(
    rows: npt.NDArray[np.uint16], tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe
) -> ExampleOf:
    if recipe.objective == CAUSAL:
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


def _rows(
    cache: Path, tokenizer: PreTrainedTokenizerBase, documents: Sequence[Document], length: int
) -> npt.NDArray[np.uint16]:
    """Token rows of shape [rows, length]: `<s>`, then running text in which `</s>` closes each line.

    Documents follow each other; a row may begin in the middle of a sentence, none holds padding.
    Kept in ``cache`` so that a resumed run starts at once.
    """
    if not cache.exists():
        flat = array("H")
        with ProgressBar(f"tokenising {cache.stem.replace('_', ' ')}", len(documents), "documents") as bar:
            for start in range(0, len(documents), 200):
                batch = documents[start : start + 200]
                lines = list(chain.from_iterable(batch))
                encoded = tokenizer(lines, add_special_tokens=False, verbose=False)["input_ids"]
                for ids in encoded:
                    flat.extend(ids)
                    flat.append(tokenizer.eos_token_id)
                bar.advance(len(batch))
        count = len(flat) // (length - 1)
        if count == 0:
            raise InputError(
                f"the text fills no row of {length} tokens", "give more text, or a smaller row_tokens"
            )
        rows = np.full((count, length), tokenizer.bos_token_id, dtype=np.uint16)
        rows[:, 1:] = np.frombuffer(flat, dtype=np.uint16)[: count * (length - 1)].reshape(count, length - 1)
        with atomic_file(cache) as staging, staging.open("wb") as file:
            np.save(file, rows)
    stored: npt.NDArray[np.uint16] = np.load(cache)
    return stored


def _save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, card: str) -> None:
    """Write half-precision weights; the customary dropout of XLM-R is set for those who fine-tune."""
    if not backbone_of(model).causal:
        model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = SHIPPED_DROPOUT
    with atomic_folder(folder) as staging, quiet_transformers():
        model.half().save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        (staging / "README.md").write_text(card, encoding="utf-8")
