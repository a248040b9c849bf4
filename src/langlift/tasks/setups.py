"""What stands below a task's head: what is put into the base model, what of it trains, and what is saved.

The one place to plug in another way to train a task: a subclass of ``Setup``, a line in ``setup_for``,
and its counterpart in ``load_trained``.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel, TrainerCallback

from langlift.adapters.composition import attach, train_only
from langlift.adapters.method import METHODS, AdapterConfig, MethodSettings
from langlift.adapters.mosa import Mixture, MosaConfig, mix
from langlift.checkpoints.adapter_folder import load_adapter, save_adapter
from langlift.checkpoints.fusion_folder import load_fusion, load_members
from langlift.checkpoints.layouts import ADAPTERHUB_WEIGHTS, CONFIG_FILE, PEFT_WEIGHTS
from langlift.config.recipes import TaskRecipe
from langlift.errors import InputError
from langlift.training.consistency import DrawExperts, symmetric_divergence
from langlift.training.run_folder import atomic_folder, sha256_of
from langlift.training.trainer import Batch

LANGUAGE = "language"
"""The name of the frozen language adapter inside the model."""
LANGUAGE_ADAPTER = "language_adapter"
"""A copy of the language adapter in the run's folder, so that the run is whole by itself."""
FUSED_ADAPTERS = "fused_adapters"
"""The same for the adapters of a fusion: a folder for each, by its name."""

OutputLoss = Callable[[Any, Batch], tuple[Tensor, Tensor]]
"""(what the model put out, batch) -> (loss summed over the batch's items, number of items)."""


class Setup(ABC):
    """One way to train a task; the same object serves every seed of a run."""

    @property
    def inputs(self) -> dict[str, Any]:
        """What ``recipe.yaml`` records of it under ``inputs``."""
        return {LANGUAGE_ADAPTER: None, f"{LANGUAGE_ADAPTER}_sha256": None}

    @abstractmethod
    def attach(self, model: PreTrainedModel) -> None:
        """Put adapters, frozen and fresh, into a loaded base model, in place; called once for each seed.

        Raises:
            InputError: an adapter does not fit the model.
        """

    @abstractmethod
    def train_only(self, model: nn.Module) -> None:
        """Say by ``requires_grad`` what trains; the task's head is added afterwards."""

    def loss(self, model: nn.Module, batch: Batch, output_loss: OutputLoss) -> tuple[Tensor, Tensor]:
        """The summed training loss of a batch and its items; the place for further terms and passes.

        The Trainer divides by the number of items: a term that is meant to stand beside the mean loss
        must be multiplied by that number.
        """
        return output_loss(model(batch), batch)

    def callbacks(self) -> Sequence[TrainerCallback]:
        """What else hears of the Trainer's steps."""
        return ()

    @abstractmethod
    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """Write what was trained, without the head, into an existing folder."""

    def keep(self, out: Path) -> None:  # noqa: B027 - most have nothing to keep
        """Copy into the folder of all seeds what a run needs to be whole by itself."""

    def report(self, model: nn.Module, batches: Iterable[Batch]) -> dict[str, Any]:
        """What a trained model shows of itself on the test batches; joins the seed's metrics."""
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
        """The model and its tokenizer, without the masked head, which no longer fits its body."""
        model.base_model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


@dataclass(frozen=True)
class TaskAdapter(Setup):
    """A fresh adapter called ``name``, alone or on top of a frozen language adapter."""

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

    def keep(self, out: Path) -> None:
        """The language adapter."""
        if self.language_adapter is not None:
            with atomic_folder(out / LANGUAGE_ADAPTER) as staging:
                for name in (CONFIG_FILE, ADAPTERHUB_WEIGHTS, PEFT_WEIGHTS):
                    if (self.language_adapter / name).exists():
                        shutil.copy(self.language_adapter / name, staging)


class MosaTaskAdapter(Setup):
    """A task adapter trained as a mixture of sparse adapters, and saved as the ordinary one it becomes.

    ``consistency`` weighs the divergence of its outputs, rows of logits or several such, from those of a
    second pass.
    """

    mixture: Mixture
    """That of the model attached to last."""

    def __init__(self, adapter: TaskAdapter, config: MosaConfig, consistency: float) -> None:
        self.adapter, self.config, self.consistency = adapter, config, consistency

    @property
    def inputs(self) -> dict[str, Any]:
        """The task adapter's."""
        return self.adapter.inputs

    def attach(self, model: PreTrainedModel) -> None:
        """The task adapter, split into experts."""
        self.adapter.attach(model)
        self.mixture = mix(model, self.adapter.name, self.config)

    def train_only(self, model: nn.Module) -> None:
        """The task adapter's experts."""
        self.adapter.train_only(model)

    def loss(self, model: nn.Module, batch: Batch, output_loss: OutputLoss) -> tuple[Tensor, Tensor]:
        """The task's loss of one pass, and the divergence of a second one with other experts and dropout."""
        output = model(batch)
        total, items = output_loss(output, batch)
        if self.consistency > 0:
            self.mixture.redraw()
            second = model(batch)
            pairs = zip(output, second, strict=True) if isinstance(output, tuple) else [(output, second)]
            total = total + self.consistency * sum(symmetric_divergence(*pair) for pair in pairs)
        return total, items

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Experts are drawn at every step."""
        return (DrawExperts(self.mixture),)

    def save(self, model: PreTrainedModel, tokenizer: Any, folder: Path, base: str) -> None:
        """The merged task adapter; the model is left with it."""
        self.mixture.merge()
        self.adapter.save(model, tokenizer, folder, base)

    def keep(self, out: Path) -> None:
        """The language adapter."""
        self.adapter.keep(out)


def setup_for(task: str, recipe: TaskRecipe, language_adapter: Path | None) -> Setup:
    """What a recipe asks for.

    Raises:
        InputError: the whole model cannot train on top of a language adapter.
    """
    method = METHODS[recipe.method]
    config = method.config(MethodSettings(recipe.method, recipe.reduction_factor))
    if config is None:
        if language_adapter is not None:
            raise InputError(
                f"--method {method.name} cannot be stacked on a language adapter: it trains the whole model",
                "leave out --language-adapter, or train a task adapter (--method seq_bn)",
            )
        return WholeModel()
    adapter = TaskAdapter(task, config, language_adapter)
    if method.mixture:
        mosa = MosaConfig(recipe.experts, recipe.share, recipe.merge)
        return MosaTaskAdapter(adapter, mosa, recipe.consistency)
    return adapter


def load_trained(model: PreTrainedModel, task: str, folder: Path, inputs: Mapping[str, Any]) -> None:
    """Put what a seed's run saved into a freshly loaded base model; ``inputs`` are those it recorded.

    Not for runs of the whole model: there the folder itself is the base.

    Raises:
        InputError: something is missing, damaged or of another model.
    """
    if inputs[LANGUAGE_ADAPTER]:
        load_adapter(
            model, _kept(folder, LANGUAGE_ADAPTER, "stacked on that language adapter", "task"), name=LANGUAGE
        )
    if fused := inputs.get(FUSED_ADAPTERS):
        adapters = _kept(folder, FUSED_ADAPTERS, "on top of the fusion of these adapters", "fuse")
        load_members(model, [adapters / name for name in fused], list(fused))
        load_fusion(model, folder)
    load_adapter(model, folder, name=task)


def _kept(folder: Path, name: str, where: str, command: str) -> Path:
    """What ``Setup.keep`` copied: beside the seed's folder, or in it where one seed was published alone."""
    places = (folder.parent / name, folder / name)
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise InputError(
            f"{places[0]}: missing; the run is {where}",
            f"keep the folder that 'langlift {command} --out' wrote together",
        )
    return found
