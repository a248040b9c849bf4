"""The cost of training: floating point operations, memory, and the measured time of a step."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median_high
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count, shape_wrapper

from langlift.adapters.composition import attach, train_only
from langlift.adapters.method import METHODS
from langlift.backbones.loading import BaseModel, BaseName, default_device
from langlift.files import process_peak_memory_bytes, reset_process_peak
from langlift.progress import ProgressBar
from langlift.training.encoding import encode
from langlift.training.examples import evenly_spread, one_pass
from langlift.training.language_model_loss import loss_path
from langlift.training.language_model_training import examples_for
from langlift.training.loss_terms import with_contrast
from langlift.training.precision import autocast, precision_name, use_bf16
from langlift.training.recipes import CAUSAL, AdaptRecipe
from langlift.training.trainer import Batch, LiftTrainer, on_device

COUNTED_BATCHES = 2
FORMULAS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: shape_wrapper(
        lambda query, key, value, *others, **more: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: shape_wrapper(
        lambda gradient, query, key, value, *others, **more: sdpa_backward_flop_count(gradient, query, key, value)
    ),
}
"""PyTorch's, and those of two kernels that it does not have: attention without dropout on a CPU."""


class OperationCounter(TorchDispatchMode):
    """Counts floating point operations by PyTorch's formulas, without ``FlopCounterMode``'s work on modules."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := FORMULAS.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


def flops_per_token(trainer: LiftTrainer) -> float:
    """Floating point operations of training per token: forward and backward passes as executed.

    Counted on half of the run's first batch and half of its last: matrix products, with two operations
    for each multiplication (the rest, such as the optimiser, is small). The random number state and gradients
    are not changed.
    """
    model, dataset, size = trainer.model, trainer.train_dataset, trainer.args.per_device_train_batch_size
    training, flops, tokens = model.training, 0, 0
    devices = [trainer.args.device] if trainer.args.device.type == "cuda" else []
    model.train()
    trainer.callback_handler.on_step_begin(trainer.args, trainer.state, trainer.control)
    with torch.random.fork_rng(devices):
        for number in evenly_spread(ceil(len(dataset) / size), COUNTED_BATCHES):
            places = range(number * size, min(number * size + ceil(size / 2), len(dataset)))
            batch = on_device(trainer.data_collator([dataset[i] for i in places]), trainer.args.device)
            with OperationCounter() as counter:
                trainer.compute_loss(model, batch).backward()
            flops += counter.flops
            tokens += trainer.tokens_of(batch)
    model.zero_grad()
    model.train(training)
    return flops / tokens


def peak_memory_bytes() -> int:
    """Peak memory so far: on the GPU if one was used, else resident memory of this process."""
    if torch.cuda.is_available() and (peak := torch.cuda.max_memory_allocated()):
        return int(peak)
    return process_peak_memory_bytes()


def reset_peak_memory() -> None:
    """Reset the measurement if the system supports it, for a process that executes several runs."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    reset_process_peak()


MEASURED_STEPS = 5
MOST_SECONDS = 20.0
"""Seconds after which measuring stops, but not before one step has been measured."""


@dataclass(frozen=True)
class StepTime:
    """``seconds`` of one optimiser step (median of those measured) and the ``tokens`` in it.

    ``flops_per_token`` are the floating point operations of the first step, counted as in ``cost.py``; ``trained``
    is the number of parameters that train; ``loading`` are the seconds that loading the model took.
    """

    seconds: float
    tokens: float
    method: str
    batch_size: int
    precision: str
    flops_per_token: float = 0.0
    trained: int = 0
    loading: float = 0.0


class _Stopwatch:
    """Seconds since it was made; on a CPU at most the processor time, which other processes do not lengthen."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._wall, self._processor = device, time.monotonic(), time.process_time()

    def seconds(self) -> float:
        wall = time.monotonic() - self._wall
        return wall if self._device.type == "cuda" else min(wall, time.process_time() - self._processor)


def step_time(
    base: BaseName | str,
    texts: Sequence[str],
    recipe: AdaptRecipe,
    most_seconds: float = MOST_SECONDS,
) -> StepTime:
    """Train a few steps as ``langlift adapt`` would with ``recipe`` on ``texts``, and discard the result.

    The first step, which allocates memory and counts operations, is not measured. Masks are those of masked
    language modelling, which costs as much as the other masked objectives. A base without a head gets a new one.
    InputError if the base cannot be used, or no text contains a token that it knows.
    """
    device = default_device()
    loading = _Stopwatch(device)
    loaded = BaseModel.load(base, masked_only=recipe.objective != CAUSAL, head_needed=False)
    model, tokenizer = loaded.model, loaded.tokenizer
    loaded_in = loading.seconds()
    size = recipe.batch_size
    needed = (MEASURED_STEPS + 1) * size
    repeated = list(texts) * (needed // max(1, len(texts)) + 1)
    longest = min(recipe.max_tokens, loaded.longest_input)
    rows = encode(tokenizer, repeated[:needed], longest, "the text")[:needed]
    config = METHODS[recipe.method].config(recipe)
    if config is not None:
        attach(model, "measured", config)
    train_only(model, None if config is None else "measured")
    model.to(device)
    path = with_contrast(loss_path(recipe.path, model, tokenizer.pad_token_id), recipe.contrast)
    examples = one_pass(examples_for(tokenizer, recipe)(rows, recipe.seed), len(rows))
    batches = [on_device(path.collate(examples[i : i + size]), device) for i in range(0, len(examples), size)]
    bf16 = use_bf16(recipe.precision, model, lambda: path.loss(model, batches[0])[0], device)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate)
    model.train()

    def step(batch: Batch) -> float:
        """The seconds of one step."""
        watch = _Stopwatch(device)
        with autocast(device, bf16):
            total, items = path.loss(model, batch)
        (total / items.clamp(min=1)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return watch.seconds()

    seconds: list[float] = []
    with ProgressBar("timing training steps", len(batches)) as bar:
        with OperationCounter() as counter:
            first = step(batches[0])
        bar.advance()
        for batch in batches[1:]:
            seconds.append(step(batch))
            bar.advance()
            if sum(seconds) > most_seconds:
                break
    return StepTime(
        seconds=median_high(seconds or [first]),
        tokens=sum(len(row.ids) for row in rows) / len(batches),
        method=recipe.method,
        batch_size=size,
        precision=precision_name(bf16),
        flops_per_token=counter.flops / sum(len(row.ids) for row in rows[:size]),
        trained=sum(parameter.numel() for parameter in trained),
        loading=loaded_in,
    )
