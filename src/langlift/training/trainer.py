"""The one Trainer of every run: summed losses, trainable weights, atomic checkpoints, best weights kept."""

import json
import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from langlift.errors import InputError, LangliftError
from langlift.processes import count, is_writer, wait_for_all
from langlift.training.precision import autocast
from langlift.training.run_folder import CHECKPOINTS, atomic_file, writing

TRAINABLE = "trainable.safetensors"
BEST = "best.safetensors"

Batch = dict[str, Tensor]
SummedLoss = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
"""(model, batch) -> (loss summed over its items, number of items)."""
Validation = Callable[[nn.Module], Mapping[str, float]]
"""model -> measures on the validation set."""


class LiftTrainer(Trainer):
    """transformers' Trainer with five changes.

    - The loss is a sum over items divided by the items of the whole step, so that gradient
      accumulation changes nothing but memory.
    - A checkpoint holds the trainable parameters only (of adapters: the adapters), is written beside
      its place and renamed: a kill at any moment leaves the last complete one.
    - The best weights by a validation measure are kept in one file apart from the checkpoints.
    - bf16, where chosen, wraps exactly the loss; what trains and its optimiser stay float32.
    - Several processes share each batch, and sum the gradients of what trains after its last part: nothing is
      wrapped, so that every way of computing a loss does. The first process validates and writes.
    """

    loss_is_scaled_for_ga = True
    control: TrainerControl

    def __init__(
        self,
        model: nn.Module,
        arguments: TrainingArguments,
        *,
        loss: SummedLoss,
        validation: Validation,
        best_by: str,
        greater_is_better: bool,
        train_dataset: Dataset[Any],
        collate: Callable[[Any], Batch],
        bf16: bool = False,
        optimizer: torch.optim.Optimizer | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=train_dataset,
            eval_dataset=train_dataset,  # required for its schedule; ``evaluate`` measures by ``validation``
            data_collator=collate,
            callbacks=callbacks,
            optimizers=(optimizer, None),
        )
        self.remove_callback(PrinterCallback)  # our report shows the logs
        # Gradients are summed by ``training_step``; DistributedDataParallel would have to see the model called.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        self.model_accepts_loss_kwargs = True  # makes the Trainer count a step's labelled items
        self._loss, self._validation, self._bf16 = loss, validation, bf16
        self._best_by, self._sign = best_by, 1.0 if greater_is_better else -1.0
        self._staging: Path | None = None

    def resume_or_start(self) -> None:
        """Train to the end, from the newest complete checkpoint if there is one; load the best weights."""
        output = Path(self.args.output_dir)
        with writing(output):
            output.mkdir(parents=True, exist_ok=True)
        newest = get_last_checkpoint(str(output))
        if newest is not None and (done := int(newest.rpartition("-")[2])) > self.args.max_steps:
            raise InputError(
                f"{output}: the run is at step {done} already", f"resume with at least {done} --steps"
            )
        # Also measures the untouched model; a resumed run has that behind it.
        self.args.eval_on_start = newest is None
        self.train(resume_from_checkpoint=newest)
        wait_for_all()
        if (output / BEST).exists():
            load_trainable(self.model, output / BEST)

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As the Trainer's; with several processes the loss is that of all, and so are the gradients of a step."""
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            _sum_gradients(model)
        return loss * self.args.world_size  # the Trainer logs the mean over processes

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The micro-batch's summed loss over the number of items in the whole step."""
        with autocast(self.args.device, self._bf16):
            total, items = self._loss(model, inputs)
        self._require_finite(float(total.detach()), "loss")
        return total / (items if num_items_in_batch is None else num_items_in_batch)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Measure on the validation set and keep the weights if they are the best so far."""
        measures: dict[str, float] = {}
        if is_writer():
            self.model.eval()
            with torch.inference_mode(), autocast(self.args.device, self._bf16):
                measures = dict(self._validation(self.model))
            self.model.train()
            self._require_finite(measures[self._best_by], f"validation {self._best_by}")
            self._keep_if_best(measures)
        measures = broadcast_object_list([measures])[0]
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise LangliftError(
                f"the {what} became {value} at step {self.state.global_step}",
                "use a smaller learning rate (--lr), or --precision float32",
            )

    def _keep_if_best(self, measures: Mapping[str, float]) -> None:
        value = measures[self._best_by]
        target = Path(self.args.output_dir) / BEST
        if target.exists():
            best = best_of(target.parent)["value"]
            if self._sign * value <= self._sign * best:
                return
        record = {"measure": self._best_by, "value": value, "step": self.state.global_step}
        record["measures"] = measures
        with atomic_file(target) as staging:
            save_file(trainable_parameters(self.model), staging, metadata={"best": json.dumps(record)})

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        """In order: the data set is already the schedule of the whole run."""
        return SequentialSampler(train_dataset or self.train_dataset)

    @staticmethod
    def tokens_of(batch: Batch) -> int:
        """The tokens that are not padding; a batch without an attention mask has none."""
        mask = batch.get("attention_mask")
        return batch["input_ids"].numel() if mask is None else int(mask.sum())

    def _track_num_input_tokens(self, inputs: Batch) -> None:
        tokens = self.tokens_of(inputs)
        if self.args.world_size > 1:
            here = torch.tensor(tokens, device=self.args.device)
            tokens = int(self.accelerator.gather(here).sum())
        self.state.num_input_tokens_seen += tokens

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """All matrices; transformers would leave out our adapters, because they lie below a LayerNorm."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not counted here: transformers' estimate walks all parameters at every micro-batch."""
        return 0

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write the checkpoint into a staging folder, rename it into place, then drop the older ones."""
        output = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        self._staging = output / ".writing"
        with writing(output):
            try:
                if is_writer():
                    shutil.rmtree(self._staging, ignore_errors=True)
                wait_for_all()
                super()._save_checkpoint(model, trial)  # every process adds the state of its random numbers
                wait_for_all()
                if is_writer():
                    if (output / name).exists():
                        shutil.rmtree(output / name)
                    (self._staging / name).replace(output / name)
            finally:
                if is_writer():
                    shutil.rmtree(self._staging, ignore_errors=True)
                self._staging = None
            for older in output.glob("checkpoint-*") if is_writer() else ():
                if older.name != name:
                    shutil.rmtree(older)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(trainable_parameters(self.model), folder / TRAINABLE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_trainable(self.model, Path(resume_from_checkpoint) / TRAINABLE)


class StopWithoutGain(TrainerCallback):
    """Ends training once the best validation lies ``steps`` or more back."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From the record of the best weights, so that a resumed run stops where a whole one does."""
        if state.global_step - best_of(Path(str(args.output_dir)))["step"] >= self._steps:
            control.should_training_stop = True


def training_arguments(
    folder: Path,
    *,
    steps: int,
    learning_rate: float,
    batch_size: int,
    accumulation: int,
    warmup_share: float,
    weight_decay: float,
    validate_every: int,
    save_every: int,
    seed: int,
    schedule: str = "linear",
    schedule_arguments: Mapping[str, Any] | None = None,
) -> TrainingArguments:
    """The TrainingArguments of a run in ``folder``; nothing is reported to services on the network.

    ``batch_size`` is that of all processes together, so that their number changes no step.

    Raises:
        InputError: the batch cannot be shared evenly by the processes.
    """
    processes = count()
    if batch_size % processes:
        raise InputError(
            f"a batch of {batch_size} cannot be shared by {processes} processes",
            f"choose a --batch-size that is a multiple of {processes}: it is that of all together",
        )
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=steps,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size // processes,
        gradient_accumulation_steps=accumulation,
        warmup_steps=round(warmup_share * steps),
        weight_decay=weight_decay,
        lr_scheduler_type=schedule,
        lr_scheduler_kwargs=dict(schedule_arguments or {}),
        eval_strategy="steps",
        eval_steps=validate_every,
        save_strategy="steps",
        save_steps=save_every,
        logging_strategy="steps",
        logging_steps=max(1, min(10, steps // 10)),
        seed=seed,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        include_num_input_tokens_seen="non_padding",
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # a second GPU would be used by splitting batches unasked
    return arguments


def _sum_gradients(model: nn.Module) -> None:
    """Add up what the processes found, parameter by parameter; one that a process did not use counts as 0."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)


def validation_loss(
    loss: SummedLoss, examples: Dataset[Any], collate: Callable[[Any], Batch], batch_size: int
) -> Validation:
    """The mean loss over a data set, as a validation measure named ``loss``."""
    batches = DataLoader(examples, batch_size=batch_size, collate_fn=collate)

    def measure(model: nn.Module) -> dict[str, float]:
        total, items = _summed(loss, model, batches)
        return {"loss": total / items}

    return measure


def mixed_validation_loss(
    loss: SummedLoss,
    parts: Mapping[str, tuple[Dataset[Any], float]],
    collate: Callable[[Any], Batch],
    batch_size: int,
) -> Validation:
    """The mean loss over the items of several data sets together, each with its share of the examples.

    The measure ``loss`` is the mean that would be found if examples were drawn from the data sets in these
    shares, however many of each are measured; ``loss_NAME`` is that of one data set.
    """
    batches = {
        name: DataLoader(examples, batch_size=batch_size, collate_fn=collate)
        for name, (examples, _) in parts.items()
    }

    def measure(model: nn.Module) -> dict[str, float]:
        total = items = 0.0
        each = {}
        for name, (examples, share) in parts.items():
            here, items_here = _summed(loss, model, batches[name])
            each[f"loss_{name}"] = here / items_here
            total += share * here / len(examples)  # type: ignore[arg-type]
            items += share * items_here / len(examples)  # type: ignore[arg-type]
        return {"loss": total / items, **each}

    return measure


def mean_validation_loss(
    loss: SummedLoss, parts: Mapping[str, Dataset[Any]], collate: Callable[[Any], Batch], batch_size: int
) -> Validation:
    """The mean of several data sets' mean losses, each counting once, as ``loss``; ``loss_NAME`` is one's own."""
    each = {
        f"loss_{name}": validation_loss(loss, examples, collate, batch_size) for name, examples in parts.items()
    }

    def measure(model: nn.Module) -> dict[str, float]:
        losses = {name: one(model)["loss"] for name, one in each.items()}
        return {"loss": mean(losses.values()), **losses}

    return measure


def _summed(loss: SummedLoss, model: nn.Module, batches: DataLoader[Any]) -> tuple[float, int]:
    """The loss summed over a data set, and the number of its items."""
    device = next(model.parameters()).device
    total, items = 0.0, 0
    for batch in batches:
        batch_total, batch_items = loss(model, on_device(batch, device))
        total += float(batch_total)
        items += int(batch_items)
    return total, items


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on a device."""
    return {name: value.to(device) for name, value in batch.items()}


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that are being trained, by name; tied ones once."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def load_trainable(model: nn.Module, path: Path) -> None:
    """Load trained parameters into a model of which exactly these are trainable.

    Raises:
        LangliftError: the names in the file are not those of the model's trainable parameters.
    """
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise LangliftError(
            f"{path}: damaged ({error})", "delete this file's folder; an older state is used"
        ) from None
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if stored.keys() != parameters.keys():
        raise LangliftError(
            f"{path}: holds other parameters than this run trains", "choose another --out for these settings"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(stored[name])


def best_of(checkpoints: Path) -> dict[str, Any]:
    """The record of the best weights: ``measure``, ``value``, ``step`` and (not in older runs) ``measures``."""
    with safe_open(checkpoints / BEST, framework="pt") as file:
        record: dict[str, Any] = json.loads(file.metadata()["best"])
    return record
