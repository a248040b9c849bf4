"""The contrast of the two halves of a text, beside the masked loss."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MALTESE
from hypothesis import given
from hypothesis import strategies as st

from langlift.adapters.method import METHODS
from langlift.backbones.hidden_states import hidden_states
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.bundled_models import BUNDLED
from langlift.config.loading import resolve
from langlift.masking import IGNORED
from langlift.training.examples import (
    LEAST_HALVED,
    FlatBatch,
    HalvingBatch,
    PadBatch,
    masked_examples,
    masking_for,
)
from langlift.training.language_model_loss import loss_path
from langlift.training.loss_terms import TEMPERATURE, contrastive_loss
from langlift.training.recipes import AdaptRecipe
from langlift.training.training_data import encode_sources, read_sources

PAD, BEGIN, END = 1, 0, 2


def texts_of(batch: dict[str, torch.Tensor], name: str) -> list[list[int]]:
    """The values of each sentence of a flat or a padded batch, without padding."""
    if "lengths" in batch:
        return [part.tolist() for part in batch[name][0].split(batch["lengths"].tolist())]
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
    return [row[kept].tolist() for row, kept in zip(batch[name], mask, strict=True)]


@given(st.lists(st.integers(3, 60), min_size=1, max_size=12), st.booleans())
def test_no_token_and_no_label_is_lost(lengths: list[int], flat: bool):
    random = np.random.default_rng(len(lengths))
    examples = []
    for length in lengths:
        ids = np.array([BEGIN, *random.integers(10, 99, length - 2), END])
        examples.append({"input_ids": ids, "labels": np.where(random.random(length) < 0.5, ids, IGNORED)})
    batch = HalvingBatch(FlatBatch(0) if flat else PadBatch(PAD))(examples)
    ids, labels = texts_of(batch, "input_ids"), texts_of(batch, "labels")
    assert [len(one) for one in ids] == sorted(len(one) for one in ids)
    together = []
    for first, second in batch["halves"].T.tolist():
        assert ids[first][-1] == END and ids[second][0] == BEGIN, "each half looks like a text"
        assert labels[first][-1] == labels[second][0] == IGNORED, "what is added is not predicted"
        assert 0 <= len(ids[second]) - len(ids[first]) <= 1
        together.append((ids[first][:-1] + ids[second][1:], labels[first][:-1] + labels[second][1:]))
    halves = set(batch["halves"].reshape(-1).tolist())
    together += [pair for i, pair in enumerate(zip(ids, labels, strict=True)) if i not in halves]
    assert sorted(together) == sorted((e["input_ids"].tolist(), e["labels"].tolist()) for e in examples)
    assert all(len(one) < LEAST_HALVED for i, one in enumerate(ids) if i not in halves)


def test_the_term_is_the_cross_entropy_of_finding_the_other_half(base: Path, maltese_lines: list[str]):
    """Computed text by text, without batches; the same on either path."""
    tokenizer, model = load_tokenizer(str(base)), load_masked_model(str(base)).eval()
    rows = [np.asarray(tokenizer(line)["input_ids"][:40]) for line in maltese_lines[:12]]
    example_of = masked_examples(rows, masking_for(tokenizer, 0.3), seed=0)
    examples = [example_of(i, 0) for i in range(len(rows))]
    halved = [e["input_ids"] for e in examples if len(e["input_ids"]) >= LEAST_HALVED]
    assert len(halved) > 2

    def mean_of(ids: list[int]) -> torch.Tensor:
        mean = hidden_states(model, {"input_ids": torch.tensor([ids])}).mean(0)
        return mean / mean.norm()

    with torch.no_grad():
        firsts = torch.stack([mean_of([*ids[: len(ids) // 2], ids[-1]]) for ids in halved])
        seconds = torch.stack([mean_of([ids[0], *ids[len(ids) // 2 :]]) for ids in halved])
        similar = firsts @ seconds.T / TEMPERATURE
        wanted = -(similar.log_softmax(1).diagonal().mean() + similar.log_softmax(0).diagonal().mean()) / 2
        for way in ("naive", "fast"):
            path = loss_path(way, model, tokenizer.pad_token_id)
            batch = HalvingBatch(path.collate)(examples)
            (total, items), (plain, _) = (contrastive_loss(weight)(model, batch) for weight in (3.0, 0.0))
            assert float(total - plain) == pytest.approx(3 * float(items) * float(wanted), rel=1e-4)


def test_adapt_trains_with_it(tiny_bert: Path, tmp_path: Path, langlift: Any):
    first, before = {}, {}
    for weight in (0, 10):
        out = tmp_path / str(weight)
        done = langlift(
            "adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", out, "--steps", 2,
            "--precision", "float32", "--set", f"contrast={weight}", "--json",
        )  # fmt: skip
        assert done.code == 0, done.err
        records = [json.loads(line) for line in (out / "progress.jsonl").read_text(encoding="utf-8").splitlines()]
        first[weight] = next(record["loss"] for record in records if "loss" in record)
        before[weight] = done.json["validation_loss_before"]
    assert first[10] > first[0] + 1
    assert before[10] == before[0], "validation is on whole texts, by the masked loss alone"


@pytest.mark.parametrize(
    ("method", "objective", "message"),
    [("seq_bn", "causal", "only for masked objectives"), ("mosa", "mlm", "not with the second pass")],
)
def test_what_it_does_not_go_with(method: str, objective: str, message: str, langlift: Any, tmp_path: Path):
    refused = langlift(
        "adapt", "mlt", "--base", "langlift-nano", "--data", MALTESE, "--out", tmp_path / "run",
        "--set", "contrast=1", "--method", method, "--objective", objective,
    )  # fmt: skip
    assert refused.code == 2 and message in refused.err


@pytest.mark.parametrize("method", METHODS)
def test_the_presets_of_bundled_bases_suit_every_method(method: str):
    """langlift-mini's has the contrast, which does not go with a second pass."""
    for base in BUNDLED:
        assert resolve(AdaptRecipe, "adapt", base=base, flags={"method": method}).method == method


@pytest.mark.parametrize(("words", "said"), [(2, True), (40, False)])
def test_texts_too_short_for_it_are_said(tmp_path, capsys, words: int, said: bool):
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{'kelb ' * words}{i}\n" for i in range(60)), encoding="utf-8")
    tokenizer = load_tokenizer("langlift-nano")
    sources = read_sources([text], None, "mlm")
    encode_sources(sources, None, tokenizer, 128, AdaptRecipe(contrast=1.0))
    assert ("contrast: only 0 of" in capsys.readouterr().err) == said
