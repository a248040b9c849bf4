"""Training: the loss and its gradients, exact resuming, what is kept, and what a failure leaves behind."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import MALTESE
from interrupted import forked, interrupted_at
from torch import nn
from torch.utils.data import Dataset

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, train_only
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.config.loading import resolve
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError, LangliftError
from langlift.heads.classification import CONTINUED
from langlift.languages import find_language
from langlift.masking import IGNORED, MaskedLanguageModel
from langlift.training.adaptation import adapt, script_share
from langlift.training.encoding import EncodedRow, StoredRows, encode
from langlift.training.examples import PadBatch, masked_examples
from langlift.training.language_model_loss import summed_loss
from langlift.training.language_model_training import Adaptation
from langlift.training.optimizers import Float32Muon, MuonWithAdamW
from langlift.training.pretraining import pretrain
from langlift.training.pretraining_text import corpus_files, split_by_budget
from langlift.training.recipes import AdaptRecipe, PretrainRecipe
from langlift.training.trainer import LiftTrainer, training_arguments
from langlift.training.training_data import TrainingData

MALTESE_LANGUAGE = find_language("mlt")
Langlift = Callable[..., Any]
QUICK = AdaptRecipe(
    steps=12,
    batch_size=4,
    validation_examples=16,
    learning_rate=5e-3,
    validate_every=3,
    save_steps=3,
    max_tokens=48,
    reduction_factor=4,
)


def masked_batch(tokenizer, sentences: list[str]):
    rows = [np.asarray(ids) for ids in tokenizer(sentences)["input_ids"]]
    masking = MaskedLanguageModel(
        tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids), len(tokenizer), 0.3
    )
    example = masked_examples(rows, masking, seed=0)
    return PadBatch(tokenizer.pad_token_id)([example(i, 0) for i in range(len(rows))])


def test_sparse_loss_and_gradients_equal_the_plain_models(tiny_model: Path, maltese_lines: list[str]) -> None:
    model, tokenizer = load_masked_model(str(tiny_model)), load_tokenizer(str(tiny_model))
    attach(model, "mlt", SeqBnConfig(reduction_factor=2, invertible=True))
    train_only(model, "mlt")
    batch = masked_batch(tokenizer, maltese_lines[:5])
    assert "attention_mask" in batch, "the batch must hold padding"

    total, count = summed_loss(model, batch)
    (total / count).backward()
    sparse = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    plain = model(**batch).loss
    plain.backward()
    assert total.item() / count.item() == pytest.approx(plain.item(), rel=1e-6)
    assert sum(float(g.abs().sum()) for g in sparse.values()) > 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(sparse[name], parameter.grad, rtol=1e-4, atol=1e-7), name
        else:
            assert parameter.grad is None


class Numbers(Dataset):
    """Examples 0..n-1, each with one label, some with two."""

    def __init__(self, n: int, none: int = IGNORED) -> None:
        self.n, self.none = n, none

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int):
        return {"input_ids": torch.tensor([float(i)]), "labels": torch.tensor([1, 1 if i % 3 == 0 else self.none])}


def trained_weight(tmp_path: Path, batch_size: int, accumulation: int, none: int = IGNORED) -> float:
    torch.manual_seed(0)
    model = nn.Linear(1, 1)

    def loss(m, batch):
        labelled = batch["labels"] >= 0
        return (m(batch["input_ids"]) * labelled.sum(1, keepdim=True)).sum(), labelled.sum()

    arguments = training_arguments(
        tmp_path / f"{batch_size}",
        AdaptRecipe(learning_rate=0.1, batch_size=batch_size),
        steps=3,
        seed=0,
        validate_every=100,
        save_every=100,
        accumulation=accumulation,
    )
    arguments.optim, arguments.max_grad_norm = "sgd", 0.0
    trainer = LiftTrainer(
        model,
        arguments,
        loss=loss,
        validation=lambda m: {"loss": 0.0},
        best_by="loss",
        greater_is_better=False,
        train_dataset=Numbers(24, none),
        collate=torch.utils.data.default_collate,
    )
    trainer.train()
    return model.weight.item()


def test_accumulation_changes_nothing(tmp_path: Path) -> None:
    assert trained_weight(tmp_path, 8, 1) == pytest.approx(trained_weight(tmp_path, 2, 4), rel=1e-5)


def test_a_token_that_continues_a_word_is_no_item(tmp_path: Path) -> None:
    assert trained_weight(tmp_path / "a", 8, 1, CONTINUED) == trained_weight(tmp_path / "b", 8, 1, IGNORED)


@pytest.mark.parametrize("method", ["seq_bn", "seq_bn_inv", "lora", "full"])
def test_adapting_lowers_the_loss_and_writes_a_complete_run(tiny_bert: Path, tmp_path: Path, method: str) -> None:
    rate = {"full": 3e-3, "lora": 3e-2}.get(method, 1e-2)
    recipe = dataclasses.replace(QUICK, method=method, learning_rate=rate, validate_every=6, save_steps=6)
    result = adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, tmp_path / "run", recipe)
    assert result.validation_loss < result.validation_loss_before
    names = {p.name for p in (tmp_path / "run").iterdir()}
    common = {"recipe.yaml", "versions.json", "progress.jsonl", "metrics.json", "README.md"}
    weights = {
        "lora": {"adapter_config.json", "adapter_model.safetensors"},
        "full": {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"},
    }.get(method, {"adapter_config.json", "adapter.safetensors"})
    assert names - {"generation_config.json"} == common | weights
    progress = [json.loads(line) for line in (tmp_path / "run" / "progress.jsonl").read_text().splitlines()]
    assert progress[0]["step"] == 0 and progress[-1]["step"] == recipe.steps
    assert result.validation_loss == pytest.approx(
        min(record["validation_loss"] for record in progress if "validation_loss" in record)
    )
    again = adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, tmp_path / "run", recipe, resume=True)
    assert again == result, "a finished run is read back, not repeated"


def data_of(row: np.ndarray) -> TrainingData:
    """One row to train and to validate on."""
    train = StoredRows(largest_id=int(row.max()))
    train.extend([EncodedRow(row)])
    return TrainingData(train, [1], {"text": 1.0}, {"text": [*train]})


def test_only_the_adapter_changes_and_all_of_it_decays(tiny_xlm_roberta: Path, tmp_path: Path) -> None:
    model = load_masked_model(str(tiny_xlm_roberta))
    attach(model, "mlt", SeqBnConfig(reduction_factor=4, invertible=True))
    train_only(model, "mlt")
    tokenizer = load_tokenizer(str(tiny_xlm_roberta))
    row = np.asarray(tokenizer("Il-baħar kien kalm.")["input_ids"])
    before = {n: p.clone() for n, p in model.named_parameters()}
    recipe = dataclasses.replace(QUICK, steps=2, weight_decay=0.1, precision="float32")
    adaptation = Adaptation(model, tokenizer, "mlt", recipe, fresh=False)
    trainer = adaptation.trainer(data_of(row), tmp_path, recipe.steps)
    trainer.train()
    changed = {n for n, p in model.named_parameters() if not torch.equal(before[n], p.cpu())}
    assert changed and all("mlt" in n.split(".") for n in changed)
    decayed = {id(p) for g in trainer.optimizer.param_groups if g["weight_decay"] > 0 for p in g["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert (id(parameter) in decayed) == name.endswith("weight"), name


def test_a_measure_that_is_not_a_number_never_becomes_the_best(tiny_bert: Path, tmp_path: Path) -> None:
    model, tokenizer = load_masked_model(str(tiny_bert)), load_tokenizer(str(tiny_bert))
    row = np.asarray(tokenizer("Il-baħar kien kalm.")["input_ids"])
    trainer = Adaptation(model, tokenizer, "mlt", QUICK).trainer(data_of(row), tmp_path, QUICK.steps)
    trainer._validation = lambda m: {"loss": float("nan")}
    with pytest.raises(LangliftError, match="validation loss became nan"):
        trainer.train()
    assert not list(tmp_path.rglob("best.safetensors"))


def killed_and_resumed(langlift: Langlift, arguments: list[object], out: Path, checkpoint: str) -> None:
    """Run the command, kill -9 it once ``checkpoint`` is there, then run it again with --resume."""
    child = forked(lambda: langlift(*arguments, "--resume"))
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / checkpoint).exists():
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not (out / "metrics.json").exists(), "killed too late to show anything"
    resumed = langlift(*arguments, "--resume")
    assert resumed.code == 0, resumed.err


@pytest.mark.parametrize(("number", "during"), [(signal.SIGINT, "training_step"), (signal.SIGTERM, "evaluate")])
def test_a_run_asked_to_stop_saves_its_last_step(
    tiny_xlm_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int, during: str
) -> None:
    recipe = dataclasses.replace(QUICK, steps=8, save_steps=100)
    original = getattr(LiftTrainer, during)

    def asked(self: LiftTrainer, *arguments: Any, **keywords: Any) -> Any:
        if self.state.global_step == 4:
            signal.raise_signal(number)
        return original(self, *arguments, **keywords)

    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(KeyboardInterrupt),
    ):
        patch.setattr(LiftTrainer, during, asked)
        adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "stopped", recipe)
    done = {"training_step": 5, "evaluate": 4}[during]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    said = capsys.readouterr().err
    assert "stopping after this step" in said and f"stopped after step {done}, which is saved" in said
    adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "stopped", recipe, resume=True)
    assert f"resuming after step {done} of 8" in capsys.readouterr().err
    adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "whole", recipe)
    stopped_weights, whole = (tmp_path / name / "adapter.safetensors" for name in ("stopped", "whole"))
    assert stopped_weights.read_bytes() == whole.read_bytes()


def test_a_run_stopped_before_its_first_step_ends_at_once(tiny_xlm_roberta: Path, tmp_path: Path) -> None:
    def asked(self: LiftTrainer, *arguments: Any, **keywords: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LiftTrainer, "evaluate", asked)
        adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "run", QUICK)
    assert not list((tmp_path / "run").glob("checkpoints/checkpoint-*"))


@pytest.mark.parametrize(
    "method",
    ["seq_bn_inv", pytest.param("lora", marks=pytest.mark.slow), pytest.param("mosa", marks=pytest.mark.slow)],
)
def test_a_run_killed_and_resumed_ends_in_the_same_adapter_bit_for_bit(
    tiny_xlm_roberta: Path, tmp_path: Path, langlift: Langlift, method: str
) -> None:
    def arguments(out: Path) -> list[object]:
        settings = ["--steps", 40, "--save-steps", 7, "--batch-size", 4, "--lr", 5e-3, "--method", method]
        settings += ["--set", "validation_examples=16"]
        return ["adapt", "mlt", "--base", tiny_xlm_roberta, "--data", MALTESE, "--out", out, *settings]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert langlift(*arguments(whole)).code == 0
    killed_and_resumed(langlift, arguments(broken), broken, "checkpoint-14")
    file = "adapter_model.safetensors" if method == "lora" else "adapter.safetensors"
    assert (whole / file).read_bytes() == (broken / file).read_bytes()
    validated = [
        [
            (record["step"], record["validation_loss"])
            for record in map(json.loads, (out / "progress.jsonl").read_text().splitlines())
            if "validation_loss" in record
        ]
        for out in (whole, broken)
    ]
    assert validated[0] == validated[1], "the resumed run's record reads as if it had never stopped"
    assert {"adapter_config.json", "metrics.json"} <= {p.name for p in broken.iterdir()}
    assert not (broken / "checkpoints").exists()


@pytest.mark.slow
def test_pretraining_killed_and_resumed_ends_in_the_same_model(tmp_path: Path, langlift: Langlift) -> None:
    settings = {
        "vocabulary_size": 600, "hidden_size": 32, "layers": 1, "feed_forward_size": 64, "row_tokens": 32,
        "max_tokens": 64, "validation_rows": 10, "validate_every": 10, "accumulation": 2,
    }  # fmt: skip

    def arguments(out: Path) -> list[object]:
        sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return ["pretrain", "--corpus", MALTESE, "--out", out, "--steps", 40, "--batch-size", 4,
                "--save-steps", 5, *sets]  # fmt: skip

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert langlift(*arguments(whole)).code == 0
    killed_and_resumed(langlift, arguments(broken), broken, "checkpoint-15")
    weights = [(out / "model" / "model.safetensors").read_bytes() for out in (whole, broken)]
    assert weights[0] == weights[1]
    metrics = json.loads((whole / "metrics.json").read_text())
    first = json.loads((whole / "progress.jsonl").read_text().splitlines()[0])
    assert metrics["validation_loss"] < first["validation_loss"]


def test_every_language_is_trained_on_within_its_budget(tmp_path: Path, maltese_lines: list[str]) -> None:
    """Budgets cut the training text alone; a smaller one's text lies in a larger one's; the card says it."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name in ("mlt_Latn", "swh_Latn"):
        blocks = [f"{name} {i}\n" + "\n".join(maltese_lines[i : i + 6]) for i in range(0, 180, 6)]
        (folder / f"{name}.txt").write_text("\n\n".join(blocks))
    recipe = PretrainRecipe(
        vocabulary_size=600, hidden_size=32, layers=1, feed_forward_size=64, row_tokens=32, max_tokens=64,
        steps=2, batch_size=2, accumulation=1, validation_rows=4, validate_every=2, save_steps=2,
    )  # fmt: skip

    def split(**budgets: int) -> tuple[set[str], list[list[str]]]:
        files = corpus_files([folder], ())
        train, reserved, sizes = split_by_budget(files, dataclasses.replace(recipe, language_bytes=budgets))
        assert all(budget - 400 < sizes[name] <= budget for name, budget in budgets.items())
        assert sum(sizes.values()) == sum(len(line.encode()) + 1 for document in train for line in document)
        kept = [document for documents in reserved.values() for document in documents]
        return {line for document in train for line in document}, kept

    small, large, whole = split(mlt_Latn=1000), split(mlt_Latn=4000), split()
    assert small[0] < large[0] < whole[0], "parts of each other"
    assert small[1] == large[1] == whole[1]
    for budgets, message in (({"swh_Latn": 10**6}, "requested"), ({"xho_Latn": 5}, "no file xho_Latn.txt")):
        with pytest.raises(InputError, match=message):
            pretrain([folder], tmp_path / "out", dataclasses.replace(recipe, language_bytes=budgets))
    result = pretrain([folder], tmp_path / "run", dataclasses.replace(recipe, language_bytes={"mlt_Latn": 1000}))
    assert result.text_bytes["mlt_Latn"] <= 1000 < result.text_bytes["swh_Latn"]
    recorded = yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())
    assert recorded["pretrain"]["language_bytes"] == {"mlt_Latn": 1000}
    card = (tmp_path / "run/model/README.md").read_text()
    assert f"| mlt_Latn | {result.text_bytes['mlt_Latn']:,} |" in card and "language: [mlt, swh]" in card


def test_a_built_folder_is_pre_trained_on_like_a_text_file(tmp_path: Path, maltese_lines: list[str]) -> None:
    """``diagnose`` gives one to ``pretrain --from`` if the base has no MLM head."""
    built = tmp_path / "mlt_Latn"
    built.mkdir()
    for split, start in (("train", 0), ("dev", 180), ("test", 200)):
        texts = [
            "\n".join(maltese_lines[i : i + 6]) for i in range(start, start + (180 if split == "train" else 18), 6)
        ]
        (built / f"{split}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    recipe = PretrainRecipe(
        vocabulary_size=600, hidden_size=32, layers=1, feed_forward_size=64, row_tokens=32, max_tokens=64,
        steps=2, batch_size=2, accumulation=1, validation_rows=4, validate_every=2, save_steps=2,
    )  # fmt: skip
    result = pretrain([built], tmp_path / "run", recipe)
    assert list(result.text_bytes) == list(result.validation_losses) == ["mlt_Latn"]
    train, reserved, _ = split_by_budget(corpus_files([built], ()), recipe)
    read = {line for document in (*train, *reserved["mlt_Latn"]) for line in document}
    assert read == {line for line in maltese_lines[:180] if line}, "train only"
    (built / "train.jsonl").write_text(json.dumps({"text": "Il-kelb."}) + "\n")
    with pytest.raises(InputError, match="too little text"):
        pretrain([built], tmp_path / "short", recipe)


@pytest.mark.slow
@pytest.mark.data
def test_the_graded_preset_is_what_its_script_draws(data_folder: Path) -> None:
    script = Path(__file__).parent.parent / "docs/examples/graded_budgets.py"
    drawn = subprocess.run(
        [sys.executable, script, data_folder / "corpus"], capture_output=True, text=True, check=True
    )
    recipe = resolve(PretrainRecipe, "pretrain", preset="nano-graded")
    assert yaml.safe_load(drawn.stdout) == recipe.language_bytes
    nano = resolve(PretrainRecipe, "pretrain", preset="nano")
    assert (recipe.languages, recipe.seed, recipe.reserved_share) == (
        nano.languages, nano.seed, nano.reserved_share,
    )  # fmt: skip
    assert max(recipe.language_bytes.values()) > 50 * min(recipe.language_bytes.values())


def test_a_stopped_pretraining_can_be_made_longer_and_a_finished_one_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = PretrainRecipe(
        vocabulary_size=600, hidden_size=32, layers=1, feed_forward_size=64, row_tokens=32, max_tokens=64,
        steps=6, batch_size=2, accumulation=1, validation_rows=4, validate_every=2, save_steps=2,
    )  # fmt: skip
    out = tmp_path / "run"
    with interrupted_at(4):
        pretrain([MALTESE], out, recipe)
    assert (out / "checkpoints" / "checkpoint-2").exists()
    with pytest.raises(InputError, match="hidden_size = 32, not 64"):
        pretrain([MALTESE], out, dataclasses.replace(recipe, hidden_size=64), resume=True)
    with pytest.raises(InputError, match="already at step 2"):
        pretrain([MALTESE], out, dataclasses.replace(recipe, steps=1), resume=True)
    longer = pretrain([MALTESE], out, dataclasses.replace(recipe, steps=8), resume=True)
    assert (longer.steps, longer.tokens) == (8, 8 * 2 * 32)
    with pytest.raises(InputError, match="steps = 8, not 9"):
        pretrain([MALTESE], out, dataclasses.replace(recipe, steps=9), resume=True)


def test_muon_takes_the_matrices_and_adamw_the_rest(tiny_xlm_roberta: Path) -> None:
    model = load_masked_model(str(tiny_xlm_roberta))
    optimizer = MuonWithAdamW(model, learning_rate=1e-2, weight_decay=0.1)
    muon = {id(p) for group in optimizer.muon.param_groups for p in group["params"]}
    names = {n for n, p in model.named_parameters() if id(p) in muon}
    assert names == {
        n
        for n, p in model.named_parameters()
        if p.ndim == 2 and n.startswith(("roberta.encoder", "lm_head.dense"))
    }
    everything = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(everything) == len({id(p) for p in everything}) == len(list(model.parameters()))
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = {n: p.clone() for n, p in model.named_parameters()}
    model(input_ids=torch.tensor([[0, 9, 2]])).logits.sum().backward()
    optimizer.step()
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters()), (
        "a scheduler's rate must reach both"
    )


def test_float32_muon_is_torchs_up_to_bf16() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in ((16, 48), (48, 16), (24, 24))]
    ours, theirs = ([nn.Parameter(w.clone()) for w in weights] for _ in range(2))
    settings = {"lr": 0.1, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = Float32Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for _ in range(3):
        for mine, reference in zip(ours, theirs, strict=True):
            mine.grad = reference.grad = torch.randn(mine.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    for start, mine, reference in zip(weights, ours, theirs, strict=True):
        torch.testing.assert_close(mine - start, reference - start, rtol=0.02, atol=0.01)
    states = [optimizer.state_dict()["state"] for optimizer in optimizers]
    assert all(torch.equal(a["momentum_buffer"], states[1][i]["momentum_buffer"]) for i, a in states[0].items())


def test_another_recipe_does_not_overwrite_a_run(tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, out, QUICK)
    with pytest.raises(InputError, match="already contains a run"):
        adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, out, QUICK)
    with pytest.raises(InputError, match="started with steps = 12, not 13"):
        adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, out, dataclasses.replace(QUICK, steps=13), resume=True)


def test_a_folder_with_other_files_is_left_alone(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(InputError, match=r"contains other files \(README.md\)"):
        adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, tmp_path, QUICK)
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_script_the_model_does_not_know_is_said_so(tiny_bert: Path, tmp_path: Path) -> None:
    text = tmp_path / "amharic.txt"
    text.write_text("ሰላም ለዓለም ሁሉ ይሁን ዛሬ\n" * 40, encoding="utf-8")
    with pytest.raises(InputError, match=r"amharic.txt \(train split\): no text has a token"):
        adapt(find_language("amh"), str(tiny_bert), text, tmp_path / "run", QUICK)
    assert not (tmp_path / "run").exists()


def test_a_diverging_run_says_what_to_do(tiny_bert: Path, tmp_path: Path) -> None:
    with pytest.raises(LangliftError, match="the loss became nan") as caught:
        recipe = dataclasses.replace(QUICK, method="full", learning_rate=1.0, weight_decay=1e30)
        adapt(MALTESE_LANGUAGE, str(tiny_bert), MALTESE, tmp_path / "run", recipe)
    assert "lower learning rate" in caught.value.hint


@contextmanager
def limited(bytes_a_file: int) -> Iterator[None]:
    """Within this context no file may grow beyond a size: writing fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)  # Python ignores the signal, so that writing raises
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "limit", [pytest.param(100, marks=pytest.mark.slow), 10_000, pytest.param(22_000, marks=pytest.mark.slow)]
)
def test_a_full_disk_ends_with_one_line_and_nothing_half_written(
    tiny_bert: Path, tmp_path: Path, langlift: Langlift, limit: int
) -> None:
    out = tmp_path / "run"
    base = ["adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", out]
    arguments = [*base, "--steps", 8, "--save-steps", 4, "--batch-size", 2, "--set", "reduction_factor=1"]
    with limited(limit):
        failed = langlift(*arguments)
    assert failed.code == 1, failed.err
    lines = [line for line in failed.err.splitlines() if line.startswith(("Error", "Hint", "Traceback"))]
    assert len(lines) == 2 and "cannot be written" in lines[0], failed.err
    leftovers = [p.name for p in out.rglob("*") if "writing" in p.name] if out.exists() else []
    assert leftovers == []
    assert not (out / "metrics.json").exists()
    resumed = langlift(*arguments, "--resume")
    assert resumed.code == 0, resumed.err


def test_a_long_text_is_trained_on_whole(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    text = " ".join(MALTESE.read_text(encoding="utf-8").split()[:120])
    pieces = [row.ids for row in encode(tokenizer, ["Il-baħar.", text], 20, "text")]
    special = set(tokenizer.all_special_ids)
    whole = [i for i in tokenizer(text, verbose=False)["input_ids"] if i not in special]
    assert [i for piece in pieces[1:] for i in piece.tolist() if i not in special] == whole
    assert max(map(len, pieces)) == 20
    assert {piece[0] for piece in pieces} == {tokenizer.cls_token_id}
    assert {piece[-1] for piece in pieces} == {tokenizer.sep_token_id}


def test_a_run_first_shows_what_it_trains_on(tiny_xlm_roberta: Path, tmp_path: Path, capsys) -> None:
    recipe = dataclasses.replace(QUICK, steps=1)
    adapt(MALTESE_LANGUAGE, str(tiny_xlm_roberta), MALTESE, tmp_path / "maltese", recipe)
    said = capsys.readouterr().err.splitlines()
    tokenizer, texts = load_tokenizer(str(tiny_xlm_roberta)), load_text_data(MALTESE)
    (first,) = [number for number, line in enumerate(said) if "the model reads them as" in line]
    rows = len(encode(tokenizer, texts.train, QUICK.max_tokens, "text"))
    assert f"data: {rows:,} rows with" in said[first] and "each seen about 0.0 times" in said[first]
    shown = [line.strip().rstrip("…") for line in said[first + 1 : first + 11]]
    assert all(shown) and " ".join(tokenizer.tokenize(texts.train[0])).startswith(shown[0])
    assert shown[-1] in " ".join(tokenizer.tokenize(texts.train[-1])), "the last of ten, evenly spread"
    assert not any("warning" in line for line in said)

    adapt(find_language("uig_Arab"), str(tiny_xlm_roberta), MALTESE, tmp_path / "uyghur", recipe)
    assert "warning: only 0% of the letters are in the script of uig_Arab" in capsys.readouterr().err
    assert script_share("Latn", ["abc жж 12", "d"]) == 4 / 6 and script_share("Latn", ["12"]) is None
    assert script_share("Afak", ["abc"]) is None, "not in Unicode yet"
