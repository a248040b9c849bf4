"""What both sides compute: real sentences as token ids, with the same masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from langlift.backbones.loading import NANO, load_tokenizer
from langlift.corpus.text_data import texts_to_score
from langlift.errors import InputError
from langlift.masking import MaskedLanguageModel
from langlift.training.examples import PadBatch, masked_examples

LONGEST = 256


def write_workload(text: Path, sentences: int, target: Path) -> tuple[int, int, int]:
    """Draw ``sentences`` lines of a text file and write them as one padded, masked batch.

    The file holds ``input_ids`` (masked), ``labels``, ``attention_mask`` and ``original_ids``, int64
    [sentences, longest]. Token ids and lengths are those of the bundled tokenizer.
    Returns the numbers of tokens, of padded places and of masked tokens.
    """
    tokenizer = load_tokenizer(NANO)
    rows = _rows(tokenizer(texts_to_score(text, None, None), truncation=True, max_length=LONGEST)["input_ids"])
    if len(rows) < sentences:
        raise InputError(f"{text}: holds only {len(rows)} sentences", f"give at least {sentences}")
    chosen = [rows[i] for i in np.random.default_rng(0).choice(len(rows), sentences, replace=False)]
    special = frozenset(tokenizer.all_special_ids)
    masking = MaskedLanguageModel(tokenizer.mask_token_id, special, len(tokenizer))
    example = masked_examples(chosen, masking, seed=0)
    collate = PadBatch(tokenizer.pad_token_id)
    batch = collate([example(i, 0) for i in range(sentences)])
    plain = collate([{"input_ids": row, "labels": row} for row in chosen])
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
    tensors = {**batch, "attention_mask": mask, "original_ids": plain["input_ids"]}
    save_file(tensors, target)
    return int(mask.sum()), mask.numel(), int((batch["labels"] >= 0).sum())


def mask_token_id() -> int:
    """The id that stands for a masked token in the workload."""
    found: int = load_tokenizer(NANO).mask_token_id
    return found


def _rows(ids: Sequence[Sequence[int]]) -> list[np.ndarray]:
    return [np.asarray(row, dtype=np.int64) for row in ids if len(row) > 2]
