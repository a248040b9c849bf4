"""The reference library's side of a benchmark; runs in its own environment, and imports nothing of langlift.

    REFERENCE_PYTHON reference_side.py TASK.json

Answers one JSON line on stdout for each line on stdin: ``first`` computes the loss and gradients (or the
log-probabilities) without dropout, a number n repeats the timed work n times, ``memory`` says the most it held.
"""

import json
import os
import resource
import sys
import time
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import adapters
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForMaskedLM


def main(task: dict[str, Any]) -> None:
    """Answer until stdin ends."""
    model = AutoModelForMaskedLM.from_pretrained(task["base"], dtype=torch.float32)
    adapters.init(model)
    name = model.load_adapter(task["adapter"], use_safetensors=True, with_head=False)
    model.train_adapter(name)
    device = torch.device(task["device"])
    model.to(device)
    batch = {name: tensor.to(device) for name, tensor in load_file(task["workload"]).items()}
    side = (Training if task["what"] == "train" else Scoring)(model, batch, task)
    for line in sys.stdin:
        command = line.strip()
        if command == "memory":
            gpu = device.type == "cuda"
            answer({"peak_memory_bytes": torch.cuda.max_memory_allocated() if gpu else peak_memory_bytes()})
            continue
        if command == "first":
            started = time.perf_counter()
            answer(side.first() | {"seconds": time.perf_counter() - started})
            continue
        side.warm_up()
        started, busy = time.perf_counter(), time.process_time()
        for _ in range(int(command)):
            side.work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        answer({"seconds": seconds / int(command), "processor_seconds": busy / int(command)})


def peak_memory_bytes() -> int:
    """The most memory (resident) that this process has held; as langlift.files.process_peak_memory_bytes."""
    if sys.platform == "linux":
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def answer(content: dict[str, Any]) -> None:
    """One JSON line."""
    print(json.dumps(content), flush=True)  # noqa: T201


class Training:
    """One optimiser step on the padded batch."""

    def __init__(self, model: Any, batch: dict[str, torch.Tensor], task: dict[str, Any]) -> None:
        self.model, self.task = model, task
        self.batch = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
        self.trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.trained.values(), lr=1e-4)

    def first(self) -> dict[str, Any]:
        """The loss, and the gradients into a file."""
        self.model.eval()
        loss = self.loss()
        loss.backward()
        save_file({n: p.grad.cpu().contiguous() for n, p in self.trained.items()}, self.task["gradients"])
        self.model.zero_grad()
        self.model.train()
        return {"loss": loss.item(), "trainable": sum(p.numel() for p in self.trained.values())}

    def warm_up(self) -> None:
        """A step that is not timed: threads and caches are cold after a turn of the other sides."""
        self.work()

    def work(self) -> None:
        """Forward, backward, update."""
        self.loss().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def loss(self) -> torch.Tensor:
        """As transformers' Trainer computes it, with ``bf16=True`` where asked."""
        with torch.autocast(self.task["device"], torch.bfloat16, enabled=self.task["bf16"]):
            return self.model(**self.batch).loss


class Scoring:
    """Pseudo-perplexity with one forward pass for each token."""

    def __init__(self, model: Any, batch: dict[str, torch.Tensor], task: dict[str, Any]) -> None:
        self.model, self.mask, self.special = model.eval(), task["mask_token_id"], set(task["special_ids"])
        self.task = task
        rows = zip(batch["original_ids"], batch["attention_mask"], strict=True)
        self.sentences = [ids[mask.bool()] for ids, mask in rows]

    def first(self) -> dict[str, Any]:
        """The log-probability of every token, sentence by sentence."""
        return {"log_probabilities": self.work()}

    def warm_up(self) -> None:
        """Nothing: a text is many forward passes, so a cold first one does not matter."""

    @torch.no_grad()
    def work(self) -> list[float]:
        """Mask each ordinary token alone."""
        found = []
        for ids in self.sentences:
            for position, token in enumerate(ids.tolist()):
                if token in self.special:
                    continue
                masked = ids.clone()
                masked[position] = self.mask
                with torch.autocast(self.task["device"], torch.bfloat16, enabled=self.task["bf16"]):
                    logits = self.model(input_ids=masked[None]).logits.float()
                found.append(logits[0, position].log_softmax(-1)[token].item())
        return found


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123
        main(json.load(file))
