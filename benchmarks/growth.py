"""How a training step grows with the length of sentences, the vocabulary, and the model's layers and width."""

import time
from dataclasses import dataclass, replace
from math import log
from statistics import median
from typing import Any

import torch
from transformers import AutoModelForMaskedLM, set_seed

from benchmarks.shapes import ADAPTER, SHAPES, Shape
from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, train_only
from langlift.backbones.loading import quiet_transformers
from langlift.progress import ProgressBar
from langlift.training.examples import Example
from langlift.training.language_model_loss import loss_path
from langlift.training.precision import autocast, cast_frozen, has_bf16

BASE, LENGTH, TOKENS = SHAPES["mini"], 64, 1024
AXES: dict[str, tuple[int, ...]] = {
    "length": (16, 32, 64, 128, 256, 512),
    "vocabulary": (16_000, 32_000, 64_000, 128_000, 250_000),
    "layers": (3, 6, 12, 24),
    "width": (192, 384, 768, 1152),
}
"""What is varied, one at a time; else it is langlift-mini's shape, with sentences of 64 tokens."""
STEPS = 4


@dataclass(frozen=True)
class GrowthBench:
    """Seconds of a training step by axis and value.

    ``slopes`` are those of the logarithms, by least squares: 1 is linear. They are less for vocabulary and
    layers, because a part of the step does not depend on them. All steps have the same number of tokens.
    """

    threads: int
    precision: str
    tokens: int
    seconds: dict[str, dict[int, float]]
    slopes: dict[str, float]


def bench_growth(steps: int = STEPS) -> GrowthBench:
    """Measure every value of every axis on this machine's processor."""
    bf16 = has_bf16(torch.device("cpu"))
    seconds: dict[str, dict[int, float]] = {axis: {} for axis in AXES}
    with ProgressBar("bench growth", sum(map(len, AXES.values())), "models") as bar:
        for axis, values in AXES.items():
            for value in values:
                shape = _shape(axis, value)
                seconds[axis][value] = _step(shape, value if axis == "length" else LENGTH, bf16, steps)
                bar.advance()
    slopes = {axis: slope(found) for axis, found in seconds.items()}
    return GrowthBench(torch.get_num_threads(), "bf16" if bf16 else "float32", TOKENS, seconds, slopes)


def _shape(axis: str, value: int) -> Shape:
    if axis == "length":
        return BASE
    if axis == "width":  # heads of 32, as in langlift-mini
        return replace(BASE, width=value, heads=value // 32, feed_forward=4 * value)
    changed: dict[str, Any] = {axis: value}
    return replace(BASE, **changed)


def _step(shape: Shape, length: int, bf16: bool, steps: int) -> float:
    """Median seconds of a step of Seq_bn, of which the first is not counted."""
    set_seed(0)
    with quiet_transformers():
        model = AutoModelForMaskedLM.from_config(shape.config(), dtype=torch.float32)
    attach(model, ADAPTER, SeqBnConfig())
    train_only(model, ADAPTER)
    if bf16:
        cast_frozen(model)
    path = loss_path("fast", model, model.config.pad_token_id)
    batch = path.collate([_example(shape.vocabulary, length) for _ in range(TOKENS // length)])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    model.train()
    times = []
    for _ in range(steps + 1):
        started = time.perf_counter()
        with autocast(torch.device("cpu"), bf16):
            total, items = path.loss(model, batch)
        (total / items).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - started)
    return median(times[1:])


def _example(vocabulary: int, length: int) -> Example:
    ids = torch.randint(5, vocabulary, (length,))
    labels = torch.where(torch.rand(length) < 0.15, ids, -100)
    labels[1] = ids[1]
    return {"input_ids": ids.numpy(), "labels": labels.numpy()}


def slope(seconds: dict[int, float]) -> float:
    """The slope of the logarithms, by least squares: 1 is linear."""
    x, y = ([log(value) for value in values] for values in (seconds.keys(), seconds.values()))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - mean_x) ** 2 for one in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
