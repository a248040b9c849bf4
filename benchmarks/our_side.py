"""Our side of a benchmark, in a process of its own: ``python our_side.py TASK.json``.

Answers as ``reference_side`` does; also ``flops`` (of the timed work) and ``peak`` (the fastest matrix
product of this machine in this arithmetic, floating point operations a second) and ``profile`` (shares of the
processor's time by kind of operation).
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from langlift.adapters.composition import train_only
from langlift.backbones.loading import load_masked_model
from langlift.backbones.registry import head_parameters
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.checkpoints.layouts import adapterhub_keys
from langlift.evaluation.pseudo_perplexity import MaskedCopies, scoring_path
from langlift.evaluation.scores import EncodedText
from langlift.files import process_peak_memory_bytes
from langlift.training.language_model_loss import loss_path
from langlift.training.precision import autocast, cast_frozen
from langlift.training.trainer import on_device

PRODUCT = {"cpu": 2048, "cuda": 8192}
"""Width of the square matrices whose product is timed."""


KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "copies": ("copy_", "index_select", "index_copy_", "cat"),
    "softmax": ("_softmax", "_softmax_backward_data", "amax"),
    "GELU": ("gelu", "gelu_backward"),
    "LayerNorm": ("native_layer_norm", "native_layer_norm_backward"),
    "sums and products": ("add", "add_", "mul", "mul_", "ge"),
}
"""Operations of PyTorch by kind; everything else, the random numbers of dropout included, is "other"."""


class Training:
    """One optimiser step on the flat batch."""

    def __init__(self, model: PreTrainedModel, batch: dict[str, Tensor], task: dict[str, Any]) -> None:
        self._model, self._task, self._device = model, task, torch.device(task["device"])
        train_only(model, task["name"])
        self._trained = dict(adapterhub_keys(model, task["name"]))
        # The reference trains these too.
        for name, parameter in head_parameters(model).items():
            parameter.requires_grad_(True)
            self._trained[name] = parameter
        if task["bf16"]:
            cast_frozen(model)
        self._way = loss_path(task["path"], model, model.config.pad_token_id)
        rows = zip(batch["input_ids"], batch["labels"], batch["attention_mask"].bool(), strict=True)
        examples = [{"input_ids": ids[m].numpy(), "labels": labels[m].numpy()} for ids, labels, m in rows]
        self._batch = on_device(self._way.collate(examples), self._device)
        self._optimizer = torch.optim.AdamW(self._trained.values(), lr=1e-4)

    def first(self) -> dict[str, Any]:
        """The loss, and the gradients into a file."""
        self._model.eval()
        loss = self._loss()
        loss.backward()
        gradients = {n: p.grad.cpu().contiguous() for n, p in self._trained.items() if p.grad is not None}
        save_file(gradients, self._task["gradients"])
        self._optimizer.zero_grad()
        self._model.train()
        return {"loss": loss.item(), "trainable": sum(p.numel() for p in self._trained.values())}

    def warm_up(self) -> None:
        """A step that is not timed: threads and caches are cold after a turn of the other sides."""
        self.work()

    def work(self) -> None:
        """Forward, backward, update."""
        self._loss().backward()
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _loss(self) -> Tensor:
        with autocast(self._device, self._task["bf16"]):
            total, count = self._way.loss(self._model, self._batch)
        return total / count


class Scoring:
    """Pseudo-perplexity with all copies of a length together."""

    def __init__(self, model: PreTrainedModel, batch: dict[str, Tensor], task: dict[str, Any]) -> None:
        self._model, self._device = model.requires_grad_(False).eval(), torch.device(task["device"])
        if task["bf16"]:
            cast_frozen(model)
        rows = [
            ids[m].tolist() for ids, m in zip(batch["original_ids"], batch["attention_mask"].bool(), strict=True)
        ]
        special = set(task["special_ids"])
        encoded = [
            EncodedText(ids, [p for p, i in enumerate(ids) if i not in special], 0, 0, False) for ids in rows
        ]
        self._copies = MaskedCopies(encoded, task["mask_token_id"])
        self._way = scoring_path("fast", model)

    def first(self) -> dict[str, Any]:
        """The log-probability of every token, sentence by sentence."""
        return {"log_probabilities": self.work()}

    def warm_up(self) -> None:
        """Nothing: a text is many forward passes, so a cold first one does not matter."""

    @torch.inference_mode()
    def work(self) -> list[float]:
        """Mask each ordinary token alone."""
        found: dict[int, list[float]] = {}
        for owners, batch in self._copies.batches():
            values = self._way(self._model, on_device(batch, self._device)).tolist()
            for owner, value in zip(owners, values, strict=True):
                found.setdefault(owner, []).append(value)
        return [value for owner in sorted(found) for value in found[owner]]


def main(task: dict[str, Any]) -> None:
    """Answer until stdin ends."""
    model = load_masked_model(task["base"])
    load_adapter(model, Path(task["adapter"]), task["name"])
    device = torch.device(task["device"])
    model.to(device)
    side = (Training if task["what"] == "train" else Scoring)(model, load_file(task["workload"]), task)
    for line in sys.stdin:
        command = line.strip()
        if command == "memory":
            _answer({"peak_memory_bytes": _peak_memory_bytes(device)})
        elif command == "first":
            started = time.perf_counter()
            answer = side.first()
            _finish(device)
            _answer(answer | {"seconds": time.perf_counter() - started})
        elif command == "flops":
            with FlopCounterMode(display=False) as counter:
                side.work()
            _answer({"flops": counter.get_total_flops()})
        elif command == "profile":
            _answer({"profile": _profile(side)})
        elif command == "peak":
            _answer({"peak": _peak(torch.bfloat16 if task["bf16"] else torch.float32, device)})
        else:
            side.warm_up()
            _finish(device)
            started, busy = time.perf_counter(), time.process_time()
            for _ in range(int(command)):
                side.work()
            _finish(device)
            seconds, busy = time.perf_counter() - started, time.process_time() - busy
            _answer({"seconds": seconds / int(command), "processor_seconds": busy / int(command)})


def _peak(dtype: torch.dtype, device: torch.device) -> float:
    width = PRODUCT[device.type]
    left, right = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))
    fastest = float("inf")
    for _ in range(6):
        _finish(device)
        started = time.perf_counter()
        torch.mm(left, right)
        _finish(device)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * width**3 / fastest


def _profile(side: Training | Scoring) -> dict[str, float]:
    side.warm_up()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        side.work()
    kinds = {f"aten::{name}": kind for kind, names in KINDS.items() for name in names}
    times = dict.fromkeys([*KINDS, "other"], 0.0)
    for event in found.key_averages():
        times[kinds.get(event.key, "other")] += event.self_cpu_time_total
    return {kind: time / sum(times.values()) for kind, time in times.items()}


def _finish(device: torch.device) -> None:
    """Wait for what a GPU still computes."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def _peak_memory_bytes(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated() if device.type == "cuda" else process_peak_memory_bytes()


def _answer(content: dict[str, Any]) -> None:
    print(json.dumps(content), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
