"""The model under a task head: which adapters are attached, which parameters are trained, and what is saved."""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from langlift.adapters.composition import attach, fuse
from langlift.adapters.fusion import fusion_penalty, watched_attention
from langlift.adapters.method import METHODS, AdapterConfig, MethodSettings
from langlift.adapters.mosa import Mixture, MosaConfig, mix
from langlift.backbones.hidden_states import hidden_states
from langlift.checkpoints.adapter_folder import (
    copy_member,
    load_adapter,
    load_fusion,
    load_members,
    member_names,
    save_adapter,
    save_fusion,
    with_invertible_block,
)
from langlift.checkpoints.layouts import ADAPTERHUB_WEIGHTS, CONFIG_FILE, PEFT_WEIGHTS
from langlift.errors import InputError
from langlift.files import atomic_folder, sha256_of
from langlift.heads.classification import TaskModel
from langlift.progress import say
from langlift.tasks.recipe import TaskRecipe
from langlift.training.loss_terms import DrawExperts, symmetric_divergence
from langlift.training.trainer import Batch

LANGUAGE = "language"
"""The frozen language adapter's name in the model."""
LANGUAGE_ADAPTER = "language_adapter"
"""The folder of the run's copy of the language adapter."""
FUSED_ADAPTERS = "fused_adapters"
"""The folder of the run's copies of a fusion's adapters, by name."""
ATTENTION = "fusion_attention"
"""Key in metrics: the mean attention to each adapter by layer, lowest layer first."""

OutputLoss = Callable[[Any, Batch], tuple[Tensor, Tensor]]
"""(model output, batch) -> (loss summed over the batch's items, number of items)."""


@dataclass
class Setup:
    """How the model of a task is trained; all seeds of a run share one object.

    A new adapter called ``name`` trains, or the whole model if ``config`` is ``None``. Below it are the frozen
    ``adapters``: none, one language adapter, or by name several whose fusion trains too (Stack(Fuse(a, b), task)).
    With ``mosa`` the new adapter trains as a mixture of sparse ones, and is saved as an ordinary one;
    ``consistency`` is the weight of the divergence between the outputs of two passes.
    """

    name: str
    config: AdapterConfig | None
    adapters: Mapping[str, Path] = field(default_factory=dict)
    mosa: MosaConfig | None = None
    consistency: float = 0.0
    mixture: Mixture | None = field(default=None, init=False, repr=False, compare=False)
    """The mixture of the most recently attached model."""

    @property
    def fused(self) -> bool:
        """Whether the adapters below are fused."""
        return len(self.adapters) > 1

    @property
    def inputs(self) -> dict[str, Any]:
        """What ``recipe.yaml`` records under ``inputs``: the adapters below and their hash."""
        paths = {name: str(folder) for name, folder in self.adapters.items()}
        weights = [file for folder in self.adapters.values() for file in sorted(folder.glob("*.safetensors"))]
        hashed = sha256_of(weights) if paths else None
        if self.fused:
            none = {LANGUAGE_ADAPTER: None, f"{LANGUAGE_ADAPTER}_sha256": None}
            return {**none, FUSED_ADAPTERS: paths, f"{FUSED_ADAPTERS}_sha256": hashed}
        return {LANGUAGE_ADAPTER: paths.get(LANGUAGE), f"{LANGUAGE_ADAPTER}_sha256": hashed}

    def attach(self, model: PreTrainedModel) -> None:
        """Attach frozen and new adapters to a loaded base, in place; an InputError if they do not fit."""
        if self.fused:
            load_members(model, list(self.adapters.values()), list(self.adapters))
            fuse(model)
        for name, folder in self.adapters.items() if not self.fused else ():
            load_adapter(model, folder, name)
        if self.config is not None:
            attach(model, self.name, self.config)
        if self.mosa is not None:
            self.mixture = mix(model, self.name, self.mosa)

    def loss(self, model: nn.Module, batch: Batch, output_loss: OutputLoss) -> tuple[Tensor, Tensor]:
        """The summed training loss of a batch and its number of items; override it to add terms or passes.

        The Trainer divides by the number of items: multiply a term by it to add the term to the mean loss, as
        here the fusion's regulariser. A mixture is passed twice, with other experts and dropout.
        """
        output = model(batch)
        total, items = output_loss(output, batch)
        if self.mixture is not None and self.consistency > 0:
            self.mixture.redraw()
            second = model(batch)
            pairs = zip(output, second, strict=True) if isinstance(output, tuple) else [(output, second)]
            total = total + self.consistency * sum(symmetric_divergence(*pair) for pair in pairs)
        return (total + items * fusion_penalty(model) if self.fused else total), items

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Further callbacks of the Trainer: a mixture draws experts at every step."""
        return () if self.mixture is None else (DrawExperts(self.mixture),)

    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """Write what was trained, without the head, into an existing folder.

        A whole model is written without its MLM head, which no longer fits the body.
        """
        if self.config is None:
            model.base_model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return
        if self.mixture is not None:
            self.mixture.merge()
        save_adapter(model, self.name, self.config, folder, base)
        if self.fused:
            save_fusion(model, ",".join(self.adapters), folder, base)

    def copy_adapters(self, out: Path) -> None:
        """Copy the frozen adapters into the folder of all seeds, so that the run is self-contained."""
        if self.fused:
            with atomic_folder(out / FUSED_ADAPTERS) as staging:
                for name, folder in self.adapters.items():
                    (staging / name).mkdir()
                    copy_member(folder, staging / name, name)
        elif self.adapters:
            with atomic_folder(out / LANGUAGE_ADAPTER) as staging:
                for name in (CONFIG_FILE, ADAPTERHUB_WEIGHTS, PEFT_WEIGHTS):
                    if (self.adapters[LANGUAGE] / name).exists():
                        shutil.copy(self.adapters[LANGUAGE] / name, staging)

    def report(self, model: TaskModel, batches: Iterable[Batch]) -> dict[str, Any]:
        """Further metrics of a trained model on the test batches: a fusion's mean attention over all tokens."""
        if not self.fused:
            return {}
        shares = zip(self.adapters, mean_attention(model, batches).T.tolist(), strict=True)
        return {ATTENTION: {name: [round(share, 4) for share in row] for name, row in shares}}

    def summary(self, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The ``report`` of the whole run, from the metrics of its seeds: means, and that of each seed."""
        if not self.fused:
            return {}
        seeds = {str(run["seed"]): run[ATTENTION] for run in runs}
        means = {
            name: [round(mean(layer), 4) for layer in zip(*(seed[name] for seed in seeds.values()), strict=True)]
            for name in self.adapters
        }
        return {ATTENTION: means, f"{ATTENTION}_by_seed": seeds}


def setup_for(task: str, recipe: TaskRecipe, adapters: Sequence[Path] = ()) -> Setup:
    """The setup of a recipe, on a language adapter or the fusion of several; an InputError if they do not fit."""
    method = METHODS[recipe.method]
    config = method.config(MethodSettings(recipe.method, recipe.reduction_factor))
    if config is None and adapters:
        raise InputError(
            f"--method {method.name} trains the whole model, and cannot be stacked on language adapters",
            "leave out --language-adapter, or train a task adapter (--method seq_bn)",
        )
    names = [LANGUAGE] if len(adapters) == 1 else member_names(adapters)
    if unused := with_invertible_block(adapters[1:], names[1:]):
        say(f"only the first adapter's invertible block is used, not that of {', '.join(unused)}")
    mosa = MosaConfig(recipe.experts, recipe.share, recipe.merge) if method.mixture else None
    return Setup(task, config, dict(zip(names, adapters, strict=True)), mosa, recipe.consistency if mosa else 0.0)


def load_trained(model: PreTrainedModel, task: str, folder: Path, inputs: Mapping[str, Any]) -> None:
    """Attach the saved adapters of a seed's run to a base model; ``inputs`` are those it recorded.

    Not for runs that trained the whole model, whose folder is a model. Raises an InputError if a file is missing,
    damaged or from another model.
    """
    if inputs[LANGUAGE_ADAPTER]:
        load_adapter(model, _copy(folder, LANGUAGE_ADAPTER, "stacked on that language adapter"), name=LANGUAGE)
    if fused := inputs.get(FUSED_ADAPTERS):
        adapters = _copy(folder, FUSED_ADAPTERS, "on top of the fusion of these adapters")
        load_members(model, [adapters / name for name in fused], list(fused))
        load_fusion(model, folder)
    load_adapter(model, folder, name=task)


def _copy(folder: Path, name: str, where: str) -> Path:
    """A copy made by ``copy_adapters``: next to the seed's folder, or in it if one seed was published alone."""
    places = (folder.parent / name, folder / name)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise InputError(
            f"{places[0]}: missing; the run is {where}", "keep all files of the --out folder together"
        )
    return found


def mean_attention(model: TaskModel, batches: Iterable[Batch]) -> Tensor:
    """Mean attention to each adapter over all tokens except padding; float32 [layers, adapters]."""
    total, tokens = torch.zeros(()), 0
    for batch in batches:
        with watched_attention(model.body) as seen:
            hidden_states(model.body, batch)
        mask = batch.get("attention_mask")
        real = torch.ones_like(batch["input_ids"]) if mask is None else mask
        shares = torch.stack([layer.reshape(-1, layer.shape[-1]) for layer in seen]).float().cpu()
        total = total + shares[:, real.reshape(-1).bool().cpu()].sum(dim=1)
        tokens += int(real.sum())
    return total / tokens
