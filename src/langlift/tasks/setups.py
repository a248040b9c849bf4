"""The model under a task head: which adapters are attached, which parameters are trained, and what is saved.

To add another setup, write a subclass of ``Setup``, a line in ``setup_for``, and its counterpart in
``load_trained``.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from langlift.adapters.composition import attach, fuse, train_only
from langlift.adapters.fusion import fusion_penalty, fusions_of, watched_attention
from langlift.adapters.method import METHODS, AdapterConfig, MethodSettings
from langlift.adapters.mosa import Mixture, MosaConfig, mix
from langlift.backbones.hidden_states import hidden_states
from langlift.checkpoints.adapter_folder import load_adapter, save_adapter
from langlift.checkpoints.fusion_folder import (
    copy_member,
    load_fusion,
    load_members,
    member_names,
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


class Setup(ABC):
    """How the model of a task is trained; all seeds of a run share one object."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What ``recipe.yaml`` records under ``inputs``."""
        return {LANGUAGE_ADAPTER: None, f"{LANGUAGE_ADAPTER}_sha256": None}

    @abstractmethod
    def attach(self, model: PreTrainedModel) -> None:
        """Attach frozen and new adapters to a loaded base model, in place; called once for each seed.

        Raises:
            InputError: an adapter does not fit the model.
        """

    @abstractmethod
    def train_only(self, model: nn.Module) -> None:
        """Set ``requires_grad``; the task's head is added afterwards."""

    def loss(self, model: nn.Module, batch: Batch, output_loss: OutputLoss) -> tuple[Tensor, Tensor]:
        """The summed training loss of a batch and its number of items; override it to add terms or passes.

        The Trainer divides by the number of items: multiply a term by it to add the term to the mean loss.
        """
        return output_loss(model(batch), batch)

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Further callbacks of the Trainer."""
        return ()

    @abstractmethod
    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """Write what was trained, without the head, into an existing folder."""

    def copy_adapters(self, out: Path) -> None:  # noqa: B027 - optional
        """Copy the frozen adapters into the folder of all seeds, so that the run is self-contained."""

    def report(self, model: TaskModel, batches: Iterable[Batch]) -> dict[str, Any]:
        """Further metrics of a trained model on the test batches, added to the seed's metrics."""
        return {}

    def summary(self, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The ``report`` of the whole run, from the metrics of its seeds."""
        return {}


class WholeModel(Setup):
    """Full fine-tuning: the body trains together with the head, without adapters."""

    def attach(self, model: PreTrainedModel) -> None:
        """Nothing."""

    def train_only(self, model: nn.Module) -> None:
        """Everything."""
        model.requires_grad_(True)

    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """The model and its tokenizer, without the MLM head, which no longer fits the body."""
        model.base_model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@dataclass
class TaskAdapter(Setup):
    """A new adapter called ``name``, alone or on top of a frozen language adapter."""

    name: str
    config: AdapterConfig
    language_adapter: Path | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        """The language adapter and its hash."""
        folder = self.language_adapter
        return {
            LANGUAGE_ADAPTER: str(folder) if folder else None,
            f"{LANGUAGE_ADAPTER}_sha256": sha256_of(sorted(folder.glob("*.safetensors"))) if folder else None,
        }

    def attach(self, model: PreTrainedModel) -> None:
        """Stack(language, task)."""
        if self.language_adapter is not None:
            load_adapter(model, self.language_adapter, name=LANGUAGE)
        attach(model, self.name, self.config)

    def train_only(self, model: nn.Module) -> None:
        """The task adapter."""
        train_only(model, self.name)

    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """The task adapter."""
        save_adapter(model, self.name, self.config, folder, base)

    def copy_adapters(self, out: Path) -> None:
        """The language adapter."""
        if self.language_adapter is not None:
            with atomic_folder(out / LANGUAGE_ADAPTER) as staging:
                for name in (CONFIG_FILE, ADAPTERHUB_WEIGHTS, PEFT_WEIGHTS):
                    if (self.language_adapter / name).exists():
                        shutil.copy(self.language_adapter / name, staging)


@dataclass(kw_only=True)
class MosaTaskAdapter(TaskAdapter):
    """A task adapter trained as a mixture of sparse adapters and saved as an ordinary one.

    ``consistency`` is the weight of the divergence between the outputs of two passes.
    """

    mosa: MosaConfig
    consistency: float
    mixture: Mixture = field(init=False, repr=False, compare=False)
    """The mixture of the most recently attached model."""

    def attach(self, model: PreTrainedModel) -> None:
        """Stack(language, task), with the task adapter split into experts."""
        super().attach(model)
        self.mixture = mix(model, self.name, self.mosa)

    def loss(self, model: nn.Module, batch: Batch, output_loss: OutputLoss) -> tuple[Tensor, Tensor]:
        """The task's loss of one pass, and its divergence from a second pass with other experts and dropout."""
        output = model(batch)
        total, items = output_loss(output, batch)
        if self.consistency > 0:
            self.mixture.redraw()
            second = model(batch)
            pairs = zip(output, second, strict=True) if isinstance(output, tuple) else [(output, second)]
            total = total + self.consistency * sum(symmetric_divergence(*pair) for pair in pairs)
        return total, items

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Draw experts at every step."""
        return (DrawExperts(self.mixture),)

    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """The merged task adapter; the model keeps it."""
        self.mixture.merge()
        super().save(model, tokenizer, folder, base)


@dataclass(frozen=True)
class Fused(Setup):
    """Stack(Fuse(a, b), task): the fusion trains with ``task_adapter``; the fused adapters are frozen."""

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
        """The task's loss; the fusion's regulariser is added to the mean loss."""
        total, items = self.task_adapter.loss(model, batch, output_loss)
        return total + items * fusion_penalty(model), items

    def callbacks(self) -> Sequence[TrainerCallback]:
        """The task adapter's."""
        return self.task_adapter.callbacks()

    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """The task adapter and the fusion."""
        self.task_adapter.save(model, tokenizer, folder, base)
        save_fusion(model, ",".join(self.names), folder, base)

    def copy_adapters(self, out: Path) -> None:
        """The fused adapters, a folder for each by name."""
        with atomic_folder(out / FUSED_ADAPTERS) as staging:
            for folder, name in zip(self.folders, self.names, strict=True):
                (staging / name).mkdir()
                copy_member(folder, staging / name, name)

    def report(self, model: TaskModel, batches: Iterable[Batch]) -> dict[str, Any]:
        """The mean attention over all tokens of the batches, including special ones."""
        shares = mean_attention(model, batches).T.tolist()
        return {
            ATTENTION: {name: [round(p, 4) for p in row] for name, row in zip(self.names, shares, strict=True)}
        }

    def summary(self, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The mean attention over seeds, and that of each seed."""
        seeds = {str(run["seed"]): run[ATTENTION] for run in runs}
        means = {
            name: [round(mean(layer), 4) for layer in zip(*(seed[name] for seed in seeds.values()), strict=True)]
            for name in self.names
        }
        return {ATTENTION: means, f"{ATTENTION}_by_seed": seeds}


def setup_for(task: str, recipe: TaskRecipe, adapters: Sequence[Path] = ()) -> Setup:
    """The setup of a recipe, on top of a language adapter or of the fusion of several.

    Raises:
        InputError: the method trains the whole model but adapters are given, or these cannot be fused.
    """
    method = METHODS[recipe.method]
    config = method.config(MethodSettings(recipe.method, recipe.reduction_factor))
    if config is None:
        if adapters:
            raise InputError(
                f"--method {method.name} trains the whole model, and cannot be stacked on language adapters",
                "leave out --language-adapter, or train a task adapter (--method seq_bn)",
            )
        return WholeModel()
    below = adapters[0] if len(adapters) == 1 else None
    setup = TaskAdapter(task, config, below)
    if method.mixture:
        mosa = MosaConfig(recipe.experts, recipe.share, recipe.merge)
        setup = MosaTaskAdapter(task, config, below, mosa=mosa, consistency=recipe.consistency)
    if len(adapters) < 2:
        return setup
    names = member_names(adapters)
    if unused := with_invertible_block(adapters[1:], names[1:]):
        say(f"only the first adapter's invertible block is used, not that of {', '.join(unused)}")
    return Fused(setup, tuple(adapters), tuple(names))


def load_trained(model: PreTrainedModel, task: str, folder: Path, inputs: Mapping[str, Any]) -> None:
    """Attach the saved adapters of a seed's run to a base model; ``inputs`` are those it recorded.

    Not for runs that trained the whole model, whose folder is a model.

    Raises:
        InputError: a file is missing, damaged or from another model.
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
            f"{places[0]}: missing; the run is {where}",
            "keep all files of the --out folder together",
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
