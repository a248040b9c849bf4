"""One run in several processes, as ``accelerate launch`` starts them: the same steps, written once, resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MALTESE
from safetensors.torch import load_file

from langlift.errors import InputError
from langlift.processes import release_pages
from langlift.training import precision
from langlift.training.precision import cast_frozen
from langlift.training.recipes import AdaptRecipe
from langlift.training.trainer import training_arguments

LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
"""What ``accelerate launch`` starts for several GPUs; for several processes on CPUs it would need MPI."""


@pytest.fixture(scope="module")
def still(tmp_path_factory, tiny_xlm_roberta) -> Path:
    """The tiny model without dropout, of which each process would draw its own."""
    folder = tmp_path_factory.mktemp("still") / "model"
    shutil.copytree(tiny_xlm_roberta, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def adapting(base: Path, out: Path, *more: str, processes: int) -> list[str]:
    command = ["-m", "langlift", "adapt", "mlt", "--base", str(base), "--data", str(MALTESE), "--out", str(out),
               "--steps", "12", "--batch-size", "8", "--save-steps", "3", "--lr", "1e-2", "--precision", "float32",
               "--set", "validate_every=3", "--json", *more]  # fmt: skip
    return [sys.executable, *(LAUNCH if processes > 1 else []), *command]


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def records(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]


def the_same(one: Path, two: Path, tolerance: float = 1e-5) -> None:
    """Losses at every step, tokens and weights agree, but for the order of sums."""
    ours, theirs = records(one), records(two)
    assert [r["step"] for r in ours] == [r["step"] for r in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert a["tokens"] == b["tokens"]
        for name in ("loss", "validation_loss", "grad_norm"):
            assert a.get(name, 0) == pytest.approx(b.get(name, 0), rel=1e-4), (a["step"], name)
    weights, other = (load_file(next(out.glob("*adapter*.safetensors"))) for out in (one, two))
    assert weights.keys() == other.keys()
    assert all(torch.allclose(weights[name], other[name], rtol=1e-3, atol=tolerance) for name in weights)
    assert not [path for path in two.rglob("*") if "writing" in path.name or path.name == "checkpoints"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["seq_bn", "mosa"])
def test_two_processes_make_the_steps_of_one(still, tmp_path, method):
    one, two = tmp_path / "one", tmp_path / "two"
    for out, processes in ((one, 1), (two, 2)):
        command = adapting(still, out, "--method", method, processes=processes)
        done = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        lines = done.stdout.strip().splitlines()
        assert len(lines) == 1, "one process tells the result"
        result = json.loads(lines[0])
    assert result["validation_loss"] < result["validation_loss_before"]
    the_same(one, two)
    assert {path.name for path in one.iterdir()} == {path.name for path in two.iterdir()}


@pytest.mark.slow
def test_a_run_in_two_processes_that_was_killed_goes_on(still, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run(adapting(still, one, processes=1), env=environment(), check=True, capture_output=True)
    running = subprocess.Popen(
        adapting(still, two, processes=2), env=environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list(two.glob("checkpoints/checkpoint-[369]")) and time.monotonic() < until:
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    (checkpoint,) = two.glob("checkpoints/checkpoint-*")
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in checkpoint.iterdir()}
    assert not (two / "metrics.json").exists()
    done = subprocess.run(
        adapting(still, two, "--resume", processes=2), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [r["step"] for r in records(two)] == sorted(r["step"] for r in records(two)), "no record twice"
    ours, theirs = records(one)[-1], records(two)[-1]
    assert ours["validation_loss"] == pytest.approx(theirs["validation_loss"], rel=1e-4)


def test_a_batch_must_be_shared_evenly_and_tasks_take_one_process(tmp_path, monkeypatch, langlift, topic_folder):
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match="a batch of 8 cannot be divided among 3 processes"):
        training_arguments(tmp_path, AdaptRecipe(batch_size=8), steps=1, seed=1, validate_every=1, save_every=1)
    base = ["--base", "langlift-nano", "--data", topic_folder, "--out", tmp_path / "run"]
    refused = langlift("task", "topic", *base, "--json")
    assert refused.code == 1 and "does not run in several processes" in refused.error["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux offers")
def test_the_pages_of_a_mapped_file_are_given_back_and_read_again(tmp_path: Path) -> None:
    def mapped() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    np.arange(8 << 20, dtype=np.float32).tofile(tmp_path / "weights")
    weights = np.memmap(tmp_path / "weights", dtype=np.float32, mode="r")
    expected = float(weights.sum(dtype=np.float64))
    before = mapped()
    release_pages(weights.ctypes.data, weights.nbytes)
    assert mapped() < before - 30_000  # of 32 MiB
    assert float(weights.sum(dtype=np.float64)) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux offers")
def test_casting_to_bf16_gives_back_each_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    model = torch.nn.Linear(8, 4)
    model.bias.requires_grad_(False)
    model.turned = torch.nn.Parameter(torch.randn(3, 5).T, requires_grad=False)  # not contiguous
    model.scale = torch.nn.Parameter(torch.tensor(0.1), requires_grad=False)
    frozen = [model.turned, model.scale, model.bias]
    expected = [weights.detach().to(torch.bfloat16) for weights in frozen]
    bias = model.bias.data_ptr()
    released: list[tuple[int, int]] = []
    monkeypatch.setattr(precision, "release_pages", lambda *pages: released.append(pages))
    monkeypatch.setattr(precision, "PART", 3)
    cast_frozen(model)
    assert all(map(torch.equal, frozen, expected))
    assert {(bias, 12), (bias + 12, 4)} <= set(released), "as it was in float32, in parts of 3 weights"
    assert model.weight.dtype == torch.float32, "the trained one stays"


@pytest.mark.skipif(sys.platform != "linux", reason="what Linux offers")
def test_giving_back_memory_that_is_in_no_file_loses_nothing() -> None:
    weights = np.arange(1 << 20, dtype=np.float32)
    release_pages(weights.ctypes.data, weights.nbytes)
    release_pages(weights.ctypes.data + 5, 3)
    assert np.array_equal(weights, np.arange(1 << 20, dtype=np.float32))
