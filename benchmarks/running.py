"""Run both sides turn by turn and compare speed, memory and numbers."""

import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.resources import files
from math import ceil, exp
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.reference_environment import reference_python
from benchmarks.shapes import ADAPTER, SHAPES, write_model
from benchmarks.sides import Side
from benchmarks.workload import write_workload
from langlift.backbones.loading import NANO, default_device, load_tokenizer
from langlift.errors import InputError
from langlift.progress import ProgressBar, say
from langlift.training.precision import has_bf16

Seconds = dict[str, list[float]]
"""Seconds by side and round."""
SECONDS_PER_TURN = 3.0
"""Short work is repeated to last at least so long."""
SECONDS_OF_ROUNDS = 120.0
"""By default, the number of rounds is what fits into this time, within ``ROUNDS``."""
ROUNDS = (2, 5)


@dataclass(frozen=True)
class Speed:
    """Seconds of one unit of work (a step, or the whole text) on each side; medians over the rounds.

    The ``processor`` ones count processor time: with one thread they hold on a busy machine too. On a GPU the
    reference is also measured under bf16 autocast (``bf16=True`` of transformers' Trainer), and
    ``ratio_both_bf16`` is that over our bf16; memory is then the GPU's. ``profile`` is the processor's time of our
    fastest side by kind of operation, in shares.
    """

    device: str
    shape: str
    rounds: int
    threads: int
    tokens: int
    ratio: float
    ratio_spread: list[float]
    ratio_float32: float
    ratio_float32_spread: list[float]
    ratio_both_bf16: float | None
    ratio_both_bf16_spread: list[float] | None
    ratio_processor_time: float
    ratio_processor_time_float32: float
    seconds: dict[str, float]
    processor_seconds: dict[str, float]
    tokens_per_second: dict[str, float]
    peak_memory_bytes: dict[str, int]
    peak_memory_ratio: float
    flops_per_token: float
    peak_flops: float
    peak_share: float
    profile: dict[str, float]


@dataclass(frozen=True)
class TrainBench(Speed):
    """What ``langlift bench train`` measured; ratios are reference over ours, so higher is better.

    ``ratio`` is that of bf16 (where the machine has it), ``peak_share`` the share of the machine's fastest
    matrix product in the same arithmetic; ``loss_relative_difference`` and ``gradient_cosine`` compare
    float32 with the reference, the ``_bf16`` ones bf16.
    """

    padded_tokens: int
    masked_tokens: int
    trainable_parameters: int
    loss_relative_difference: float
    gradient_cosine: float
    loss_relative_difference_bf16: float | None
    gradient_cosine_bf16: float | None


@dataclass(frozen=True)
class ScoreBench(Speed):
    """What ``langlift bench score`` measured; as ``TrainBench``, and the log-probabilities compared."""

    scored_tokens: int
    max_logprob_difference: float
    pseudo_perplexity_relative_difference_bf16: float | None


def bench(
    what: str,
    shape: str,
    text: Path | None = None,
    sentences: int = 16,
    rounds: int | None = None,
    threads: int | None = None,
    reference: Path | None = None,
    device: str | None = None,
    path: str = "fast",
) -> TrainBench | ScoreBench:
    """Measure ``train`` (one optimiser step) or ``score`` side by side with the reference library.

    ``device`` is ``cpu`` or ``cuda``; by default the GPU when there is one. ``path`` is our side's: ``fast`` or,
    for training on a GPU, ``graphs``.

    Both sides get the same weights, sentences (of ``text``; default: the bundled Maltese) and masks, and
    take turns, ``rounds`` times (default: what fits into two minutes, 2 to 5); ratios are taken within a round.

    Raises:
        InputError: an unknown shape, a device that is not there, or a text or interpreter that cannot be used.
        LangliftError: a side failed.
    """
    if shape not in SHAPES:
        raise InputError(f"--shape {shape}: no such shape", f"one of {', '.join(SHAPES)}")
    where = _device(device)
    if path not in ("fast", "graphs") or (path == "graphs" and where.type != "cuda"):
        raise InputError(f"--path {path}: not for a benchmark here", "fast, or on a GPU graphs")
    python = reference_python(reference)
    text = text or Path(str(files("langlift") / "bundled" / "mlt_Latn.txt"))
    threads = threads or torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="langlift-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        say(f"bench {what} ({shape}): building the model and starting both libraries")
        tokens, padded, masked = write_workload(text, sentences, folder / "workload.safetensors")
        base, adapter = write_model(SHAPES[shape], folder)
        sides = _sides(what, folder, base, adapter, python, threads, where, path)
        first = {name: stack.enter_context(side).ask("first") for name, side in sides.items()}
        seconds, busy = _take_turns(sides, first, rounds, f"bench {what} ({shape})")
        best = list(sides)[-1]
        memory = {name: int(side.ask("memory")["peak_memory_bytes"]) for name, side in sides.items()}
        peak = max(float(sides[best].ask("peak")["peak"]) for _ in range(2))
        flops = int(sides[best].ask("flops")["flops"])
        scored = len(first["reference"].get("log_probabilities", ()))
        units = tokens if what == "train" else scored
        speed = _speed(shape, seconds, memory, units, threads) | {
            "device": torch.cuda.get_device_name() if where.type == "cuda" else "cpu",
            "ratio_processor_time": median(busy["reference"]) / median(busy[best]),
            "ratio_processor_time_float32": median(busy["reference"]) / median(busy["float32"]),
            "processor_seconds": {name: median(values) for name, values in busy.items()},
            "flops_per_token": flops / units,
            "peak_flops": peak,
            "profile": sides[best].ask("profile")["profile"],
            "peak_share": flops / median(seconds[best]) / peak,
        }
        if what == "score":
            return ScoreBench(**speed, scored_tokens=scored, **_compared_scores(first))
        return TrainBench(
            **speed,
            padded_tokens=padded,
            masked_tokens=masked,
            trainable_parameters=first["reference"]["trainable"],
            **_compared_gradients(first, folder),
        )


def _device(name: str | None) -> torch.device:
    if name not in (None, "cpu", "cuda"):
        raise InputError(f"--device {name}: no such device", "one of cpu, cuda")
    found = default_device()
    if name == "cuda" and found.type == "cpu":
        raise InputError(
            "--device cuda: PyTorch sees no GPU here", "use --device cpu, or install a CUDA build of it"
        )
    return found if name is None else torch.device(name)


def _sides(
    what: str,
    folder: Path,
    base: Path,
    adapter: Path,
    python: Path,
    threads: int,
    device: torch.device,
    path: str,
) -> dict[str, Side]:
    """The reference (on a GPU in bf16 too), then ours in float32 and, where the device has it, bf16."""
    tokenizer = load_tokenizer(NANO)
    here = Path(__file__).parent
    ours = [sys.executable, str(here / "our_side.py")]
    theirs = [str(python), str(here / "reference_side.py")]
    rough = has_bf16(device)
    commands = {"reference": theirs}
    if rough and device.type == "cuda":
        commands["reference_bf16"] = theirs
    commands |= {"float32": ours} | ({"bf16": ours} if rough else {})
    return {
        name: Side(
            name,
            command,
            {
                "what": what,
                # One each: no process can give back the memory of a file that another has mapped.
                "base": str(shutil.copytree(base, folder / name)),
                "adapter": str(adapter),
                "name": ADAPTER,
                "workload": str(folder / "workload.safetensors"),
                "gradients": str(folder / f"{name}-gradients.safetensors"),
                "mask_token_id": tokenizer.mask_token_id,
                "special_ids": tokenizer.all_special_ids,
                "bf16": name.endswith("bf16"),
                "device": device.type,
                "path": path,
            },
            folder,
            threads,
        )
        for name, command in commands.items()
    }


def _take_turns(
    sides: dict[str, Side], first: dict[str, Any], rounds: int | None, what: str
) -> tuple[Seconds, Seconds]:
    """Seconds of one unit of work by the clock and by the processor, in every round."""
    repeats = {name: ceil(SECONDS_PER_TURN / answer["seconds"]) for name, answer in first.items()}
    if rounds is None:
        one_round = sum((repeats[name] + 1) * first[name]["seconds"] for name in sides)
        rounds = min(max(int(SECONDS_OF_ROUNDS / one_round), ROUNDS[0]), ROUNDS[1])
    seconds: Seconds = {name: [] for name in sides}
    busy: Seconds = {name: [] for name in sides}
    with ProgressBar(what, rounds * len(sides), "turns") as bar:
        for _ in range(rounds):
            for name, side in sides.items():
                answer = side.ask(repeats[name])
                seconds[name].append(float(answer["seconds"]))
                busy[name].append(float(answer["processor_seconds"]))
                bar.advance()
    return seconds, busy


def _speed(shape: str, seconds: Seconds, memory: dict[str, int], units: int, threads: int) -> dict[str, Any]:
    def ratios(name: str, reference: str = "reference") -> list[float]:
        return [theirs / ours for theirs, ours in zip(seconds[reference], seconds[name], strict=True)]

    best = list(seconds)[-1]
    fast, exact = ratios(best), ratios("float32")
    rough = ratios("bf16", "reference_bf16") if "reference_bf16" in seconds else None
    return {
        "shape": shape,
        "rounds": len(fast),
        "threads": threads,
        "tokens": units,
        "ratio": median(fast),
        "ratio_spread": [min(fast), max(fast)],
        "ratio_float32": median(exact),
        "ratio_float32_spread": [min(exact), max(exact)],
        "ratio_both_bf16": rough and median(rough),
        "ratio_both_bf16_spread": rough and [min(rough), max(rough)],
        "seconds": {name: median(values) for name, values in seconds.items()},
        "tokens_per_second": {name: units / median(values) for name, values in seconds.items()},
        "peak_memory_bytes": memory,
        "peak_memory_ratio": memory[best] / memory["reference"],
    }


def _compared_gradients(first: dict[str, Any], folder: Path) -> dict[str, Any]:
    compared: dict[str, Any] = {"loss_relative_difference_bf16": None, "gradient_cosine_bf16": None}
    reference, expected = first["reference"]["loss"], load_file(folder / "reference-gradients.safetensors")
    for name, ending in (("float32", ""), ("bf16", "_bf16")):
        if name in first:
            found = load_file(folder / f"{name}-gradients.safetensors")
            if found.keys() != expected.keys():
                raise RuntimeError(f"the sides train other parameters: {sorted(found.keys() ^ expected.keys())}")
            ours, theirs = (
                torch.cat([g[n].double().flatten() for n in sorted(expected)]) for g in (found, expected)
            )
            compared[f"loss_relative_difference{ending}"] = abs(first[name]["loss"] / reference - 1)
            compared[f"gradient_cosine{ending}"] = float(ours @ theirs / ours.norm() / theirs.norm())
    return compared


def _compared_scores(first: dict[str, Any]) -> dict[str, Any]:
    expected = first["reference"]["log_probabilities"]
    pairs = zip(first["float32"]["log_probabilities"], expected, strict=True)
    rough = first.get("bf16", {}).get("log_probabilities")
    return {
        "max_logprob_difference": max(abs(ours - theirs) for ours, theirs in pairs),
        "pseudo_perplexity_relative_difference_bf16": rough
        and abs(exp((sum(expected) - sum(rough)) / len(expected)) - 1),
    }
