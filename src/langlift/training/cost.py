"""The cost of training: floating point operations and peak memory."""

from math import ceil

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from langlift.files import process_peak_memory_bytes, reset_process_peak
from langlift.training.examples import evenly_spread
from langlift.training.trainer import LiftTrainer, on_device

COUNTED_BATCHES = 4
ATTENTION_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *others, **more: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, query, key, value, *others, **more: sdpa_backward_flop_count(gradient, query, key, value)
    ),
}
"""Kernels that PyTorch's counter does not support: attention without dropout."""


def flops_per_token(trainer: LiftTrainer) -> float:
    """Floating point operations of training per token: forward and backward passes as executed.

    Counted by PyTorch on four of the run's batches, spread from its beginning to its end: matrix products, with
    two operations for each multiplication (the rest, such as the optimiser, is small). The run's random number
    state and gradients are not changed.
    """
    model, dataset, size = trainer.model, trainer.train_dataset, trainer.args.per_device_train_batch_size
    training, flops, tokens = model.training, 0, 0
    devices = [trainer.args.device] if trainer.args.device.type == "cuda" else []
    model.train()
    trainer.callback_handler.on_step_begin(trainer.args, trainer.state, trainer.control)
    with torch.random.fork_rng(devices):
        for number in evenly_spread(ceil(len(dataset) / size), COUNTED_BATCHES):
            places = range(number * size, min((number + 1) * size, len(dataset)))
            batch = on_device(trainer.data_collator([dataset[i] for i in places]), trainer.args.device)
            with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_CPU) as counter:
                trainer.compute_loss(model, batch).backward()
            flops += counter.get_total_flops()
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
