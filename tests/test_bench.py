"""The benchmark: what it feeds both sides, what it says when something is wrong, and (slow) what it measures."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import MALTESE
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForMaskedLM

from benchmarks import data_growth, growth
from benchmarks.reference_environment import VARIABLE, reference_python
from benchmarks.running import ScoreBench, TrainBench, _compared_scores, _speed, _take_turns, bench
from benchmarks.shapes import SHAPES
from benchmarks.sides import Side
from benchmarks.startup import PROGRAMS, bench_startup
from benchmarks.workload import write_workload
from langlift.cli.bench import ROOT
from langlift.errors import InputError, LangliftError


def test_the_workload_is_real_text_with_masks(tmp_path: Path) -> None:
    tokens, places, masked = write_workload(MALTESE, 5, tmp_path / "w.safetensors")
    batch = load_file(tmp_path / "w.safetensors")
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    assert (tokens, places) == (int(batch["attention_mask"].sum()), batch["input_ids"].numel())
    predicted = batch["labels"] >= 0
    assert masked == int(predicted.sum()) and 0.08 < masked / tokens < 0.2
    assert torch.equal(batch["labels"][predicted], batch["original_ids"][predicted])
    inside = batch["attention_mask"].bool()
    assert torch.equal(batch["input_ids"][inside & ~predicted], batch["original_ids"][inside & ~predicted])
    write_workload(MALTESE, 5, tmp_path / "again.safetensors")
    again = load_file(tmp_path / "again.safetensors")
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    with pytest.raises(InputError, match="holds only"):
        write_workload(MALTESE, 100_000, tmp_path / "x.safetensors")


def test_the_shapes_are_those_of_the_models_they_are_named_after() -> None:
    expected = {"xlmr": 278_295_186, "mbert": 177_974_523}  # transformers' own counts at these configurations
    with torch.device("meta"):
        counts = {n: sum(p.numel() for p in AutoModelForMaskedLM.from_config(SHAPES[n].config()).parameters())
                  for n in expected}  # fmt: skip
        assert counts == {n: pytest.approx(count, rel=2e-3) for n, count in expected.items()}
    for name in ("mini", "nano"):
        shape, bundled = SHAPES[name], AutoConfig.from_pretrained(MALTESE.parent / f"langlift-{name}")
        assert shape.model_type == bundled.model_type
        assert (shape.vocabulary, shape.width, shape.layers, shape.heads, shape.feed_forward) == (
            bundled.vocab_size,
            bundled.hidden_size,
            bundled.num_hidden_layers,
            bundled.num_attention_heads,
            bundled.intermediate_size,
        )


def test_a_side_that_fails_says_its_last_line(tmp_path: Path) -> None:
    program = "import sys; sys.stderr.write('first\\nno such module: adapters\\n'); sys.exit(1)"
    command = [sys.executable, "-c", program]
    with (
        Side("reference", command, {}, tmp_path, threads=1) as side,
        pytest.raises(LangliftError, match="the reference side failed: no such module: adapters"),
    ):
        side.ask("first")


def test_a_side_answers_each_command_and_is_gone_afterwards(tmp_path: Path) -> None:
    program = """
import json, os, sys
for line in sys.stdin:
    print("noise")
    print(json.dumps({"said": line.strip() + " " + os.environ["OMP_NUM_THREADS"]}), flush=True)
"""
    with Side("ours", [sys.executable, "-c", program], {"a": 1}, tmp_path, threads=3) as side:
        assert side.ask("first") == {"said": "first 3"}
        assert side.ask(7) == {"said": "7 3"}
    assert side._process.returncode is not None


def test_a_side_computes_only_while_it_is_asked(tmp_path: Path) -> None:
    program = """
import sys, threading
count = 0
def spin():
    global count
    while True:
        count += 1
threading.Thread(target=spin, daemon=True).start()
for line in sys.stdin:
    print(f'{{"seconds": {count}}}', flush=True)
"""
    with Side("ours", [sys.executable, "-c", program], {}, tmp_path, threads=1) as side:
        side.ask("first")
        before = processor_seconds(side._process.pid)
        time.sleep(0.3)
        assert processor_seconds(side._process.pid) - before < 0.05


def processor_seconds(process: int) -> float:
    """What a process has computed, as the kernel counts it."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")
    user, system = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_the_number_of_rounds_is_what_fits_into_the_time() -> None:
    class Clock:
        def __init__(self) -> None:
            self.asked: list[int] = []

        def ask(self, repeats: int) -> dict[str, float]:
            self.asked.append(repeats)
            return {"seconds": 1.0, "processor_seconds": 1.0}

    for first, given, rounds, repeats in (
        (0.5, None, 5, 6),
        (15.0, None, 4, 1),
        (100.0, None, 2, 1),
        (100.0, 3, 3, 1),
    ):
        clock = Clock()
        seconds, _ = _take_turns({"ours": clock}, {"ours": {"seconds": first}}, given, "bench")  # type: ignore[dict-item]
        assert clock.asked == [repeats] * rounds and len(seconds["ours"]) == rounds


def test_ratios_are_taken_within_a_round() -> None:
    seconds = {"reference": [8.0, 20.0, 9.0], "float32": [2.0, 4.0, 3.0], "bf16": [1.0, 2.0, 1.0]}
    memory = {"reference": 600, "float32": 300, "bf16": 150}
    speed = _speed("nano", seconds, memory, 100, 1)
    assert (speed["ratio"], speed["ratio_spread"]) == (9.0, [8.0, 10.0])
    assert (speed["ratio_float32"], speed["ratio_float32_spread"]) == (4.0, [3.0, 5.0])
    assert speed["peak_memory_ratio"] == 0.25
    assert speed["tokens_per_second"]["bf16"] == 100
    assert speed["ratio_both_bf16"] is None
    on_gpu = _speed("nano", {"reference_bf16": [4.0, 6.0, 5.0], **seconds}, memory, 100, 1)
    assert (on_gpu["ratio_both_bf16"], on_gpu["ratio_both_bf16_spread"]) == (4.0, [3.0, 5.0])
    without = _speed("nano", {k: v for k, v in seconds.items() if k != "bf16"}, memory, 100, 1)
    assert without["ratio"] == without["ratio_float32"] == 4.0


def test_log_probabilities_are_compared_one_by_one() -> None:
    first = {
        "reference": {"log_probabilities": [-1.0, -2.0]},
        "float32": {"log_probabilities": [-1.0, -2.25]},
        "bf16": {"log_probabilities": [-1.5, -1.5]},
    }
    compared = _compared_scores(first)
    assert compared["max_logprob_difference"] == 0.25
    assert compared["pseudo_perplexity_relative_difference_bf16"] == 0.0
    del first["bf16"]
    assert _compared_scores(first)["pseudo_perplexity_relative_difference_bf16"] is None


def test_what_cannot_be_used_is_told(tmp_path: Path, langlift) -> None:
    with pytest.raises(InputError, match="--shape tiny: no such shape"):
        bench("train", "tiny")
    with pytest.raises(InputError, match="--device tpu: no such device"):
        bench("train", "nano", device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="PyTorch sees no GPU here"):
            bench("train", "nano", device="cuda")
    with pytest.raises(InputError, match="no such interpreter"):
        reference_python(tmp_path / "python")
    failed = langlift("bench", "score", "--shape", "tiny", "--json")
    assert failed.code == 2 and "no such shape" in failed.error["error"]


def test_an_installed_package_says_where_the_benchmarks_are(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "langlift").symlink_to(ROOT / "src" / "langlift")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")  # somebody else's
    command = [sys.executable, "-m", "langlift", "bench", "train", "--shape", "nano"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    error, hint = run.stderr.splitlines()
    assert error == "Error: the benchmarks are not part of the installed package"
    assert "from a checkout of the repository" in hint


@pytest.mark.slow
def test_both_sides_compute_the_same() -> None:
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} does not name the Python of the reference environment (make test-all)")
    train = bench("train", "nano", sentences=4, rounds=1, threads=1, device="cpu")
    assert isinstance(train, TrainBench)
    assert train.loss_relative_difference < 1e-6
    assert train.gradient_cosine > 0.99999
    if train.gradient_cosine_bf16 is not None and train.loss_relative_difference_bf16 is not None:
        assert train.loss_relative_difference_bf16 < 1e-3
        assert train.gradient_cosine_bf16 > 0.998
    assert train.ratio_processor_time > 1 and 0 < train.peak_share < 1.2
    score = bench("score", "nano", sentences=1, rounds=1, threads=1, device="cpu")
    assert isinstance(score, ScoreBench)
    assert score.max_logprob_difference < 1e-5


def test_growth_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "BASE", dataclasses.replace(SHAPES["nano"], layers=1))
    monkeypatch.setattr(growth, "TOKENS", 64)
    monkeypatch.setattr(growth, "AXES", {"length": (16, 32), "layers": (1, 4)})
    result = growth.bench_growth(steps=1)
    assert {axis: list(found) for axis, found in result.seconds.items()} == {"length": [16, 32], "layers": [1, 4]}
    assert all(seconds > 0 for found in result.seconds.values() for seconds in found.values())
    assert growth.slope({1: 2.0, 10: 20.0, 100: 200.0}) == pytest.approx(1.0)
    assert growth.slope({1: 2.0, 10: 200.0}) == pytest.approx(2.0)


def test_growth_of_studies_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data_growth.SIZES, "study", (5, 9, 13, 1000))
    result = data_growth.bench_data_growth(["study"], largest=13)
    assert list(result.seconds) == list(result.slopes) == ["planning", "status"]
    assert list(result.seconds["planning"]) == list(result.seconds["status"]) == [5, 9, 13]
    assert result.peak_memory_bytes == {}


@pytest.mark.slow
def test_growth_of_corpora_and_graphs_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data_growth.SIZES, "corpus", (1,))
    monkeypatch.setitem(data_growth.SIZES, "graph", (20_000,))
    result = data_growth.bench_data_growth(["corpus", "graph"])
    assert list(result.seconds) == list(result.peak_memory_bytes) == ["corpus", "graph"]
    assert result.peak_memory_bytes["graph"][20_000] > 1 << 20


def test_startup_is_measured_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench_startup(runs=1)
    assert min(result.help_seconds, result.import_seconds, result.help_processor_seconds) > 0
    assert {name: len(values) for name, values in result.seconds.items()} == {"help": 1, "import": 1}
    heavy = ["torch", "transformers", "duckdb", "numpy", "pyarrow", "rich"]
    program = f"import sys, langlift.cli.main; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    monkeypatch.setitem(PROGRAMS, "help", ("-c", "raise SystemExit('broken')"))
    with pytest.raises(LangliftError, match="broken"):
        bench_startup(runs=1)
