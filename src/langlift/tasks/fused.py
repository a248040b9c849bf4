"""A task adapter on top of the AdapterFusion of several frozen language adapters: Stack(Fuse(a, b), task)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from langlift.adapters.composition import fuse
from langlift.adapters.fusion import fusion_penalty, fusions_of, watched_attention
from langlift.backbones.hidden_states import hidden_states
from langlift.checkpoints.fusion_folder import copy_member, load_members, member_names, save_fusion, with_block
from langlift.config.recipes import TaskRecipe
from langlift.errors import InputError
from langlift.progress import say
from langlift.tasks.runner import TaskResult, train_task
from langlift.tasks.setups import FUSED_ADAPTERS, OutputLoss, Setup, WholeModel, setup_for
from langlift.tasks.task import Task
from langlift.training.run_folder import atomic_folder, sha256_of
from langlift.training.trainer import Batch

ATTENTION = "fusion_attention"
"""The key of the learned attention in metrics: for each adapter its mean share by layer, lowest layer first."""


@dataclass(frozen=True)
class Fused(Setup):
    """``task_adapter`` on top of a fusion; the fusion's own weights train with it, its adapters are frozen."""

    task_adapter: Setup
    folders: tuple[Path, ...]
    names: tuple[str, ...]

    @property
    def inputs(self) -> dict[str, Any]:
        """The fused adapters by name, and their hash."""
        weights = [file for folder in self.folders for file in sorted(folder.glob("*.safetensors"))]
        return {
            **super().inputs,
            FUSED_ADAPTERS: {name: str(folder) for name, folder in zip(self.names, self.folders, strict=True)},
            f"{FUSED_ADAPTERS}_sha256": sha256_of(weights),
        }

    def attach(self, model: PreTrainedModel) -> None:
        """Stack(Fuse(a, b), task)."""
        load_members(model, self.folders, self.names)
        fuse(model)
        self.task_adapter.attach(model)

    def train_only(self, model: nn.Module) -> None:
        """The fusion layers and the task adapter."""
        self.task_adapter.train_only(model)
        for fusion in fusions_of(model):
            for _, parameter in fusion.own_parameters():
                parameter.requires_grad_(True)

    def loss(self, model: nn.Module, batch: Batch, output_loss: OutputLoss) -> tuple[Tensor, Tensor]:
        """The task's loss, and the fusion's regulariser beside its mean."""
        total, items = self.task_adapter.loss(model, batch, output_loss)
        return total + items * fusion_penalty(model), items

    def callbacks(self) -> Sequence[TrainerCallback]:
        """The task adapter's."""
        return self.task_adapter.callbacks()

    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """The task adapter, and the fusion beside it."""
        self.task_adapter.save(model, tokenizer, folder, base)
        save_fusion(model, ",".join(self.names), folder, base)

    def keep(self, out: Path) -> None:
        """The fused adapters, a folder for each by its name."""
        with atomic_folder(out / FUSED_ADAPTERS) as staging:
            for folder, name in zip(self.folders, self.names, strict=True):
                (staging / name).mkdir()
                copy_member(folder, staging / name, name)

    def report(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Any]:
        """The mean attention over all tokens of the batches, special ones included."""
        shares = mean_attention(model, batches).T.tolist()
        return {
            ATTENTION: {name: [round(p, 4) for p in row] for name, row in zip(self.names, shares, strict=True)}
        }

    def summary(self, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The mean of the seeds' attention, and each seed's own."""
        seeds = {str(run["seed"]): run[ATTENTION] for run in runs}
        means = {
            name: [round(mean(layer), 4) for layer in zip(*(seed[name] for seed in seeds.values()), strict=True)]
            for name in self.names
        }
        return {ATTENTION: means, f"{ATTENTION}_by_seed": seeds}


def train_fused(
    task: Task[Any],
    adapters: Sequence[Path],
    base: str,
    data: str | Path,
    out: Path,
    recipe: TaskRecipe,
    train_data: Sequence[str | Path] | None = None,
    resume: bool = False,
    trust_remote_code: bool = False,
    strict: bool = False,
) -> TaskResult:
    """``train_task`` with a task adapter on the fusion of the language adapters in these folders.

    The result's ``report`` holds the learned attention under ``fusion_attention`` (mean over seeds) and
    ``fusion_attention_by_seed``: for each adapter its share of the attention by layer, lowest layer first.

    Raises:
        InputError: as ``train_task``, or adapters that cannot be fused.
    """
    names = member_names(adapters)
    task_adapter = setup_for(task.name, recipe, None)
    if isinstance(task_adapter, WholeModel):
        raise InputError(
            f"--method {recipe.method} trains the whole model, and fuse trains a task adapter on frozen ones",
            "leave out --method",
        )
    if unused := with_block(adapters[1:], names[1:]):
        say(f"only the first adapter's invertible block is used; left out: that of {', '.join(unused)}")
    setup = Fused(task_adapter, tuple(adapters), tuple(names))
    return train_task(
        task,
        base,
        data,
        out,
        recipe,
        train_data=train_data,
        resume=resume,
        trust_remote_code=trust_remote_code,
        strict=strict,
        setup=setup,
    )


def mean_attention(model: nn.Module, batches: Iterable[Batch]) -> Tensor:
    """How much each adapter is attended to, over all tokens but padding; float32 [layers, adapters]."""
    body = model.get_submodule("body")
    if not isinstance(body, PreTrainedModel):
        raise TypeError(f"the body is a {type(body).__name__}, not a model")
    total, tokens = torch.zeros(()), 0
    for batch in batches:
        with watched_attention(body) as seen:
            hidden_states(body, batch)
        mask = batch.get("attention_mask")
        real = torch.ones_like(batch["input_ids"]) if mask is None else mask
        shares = torch.stack([layer.reshape(-1, layer.shape[-1]) for layer in seen]).float().cpu()
        total = total + shares[:, real.reshape(-1).bool().cpu()].sum(dim=1)
        tokens += int(real.sum())
    return total / tokens
