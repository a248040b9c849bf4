"""The Trainer of all runs: summed losses, atomic checkpoints of the trained weights, best weights kept."""

import gc
import json
import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from langlift.errors import InputError, LangliftError
from langlift.files import atomic_file, files_in, settle, writing
from langlift.masking import IGNORED
from langlift.processes import count, is_writer, wait_for_all
from langlift.progress import say
from langlift.training.precision import autocast
from langlift.training.run_folder import CHECKPOINTS

TRAINABLE = "trainable.safetensors"
BEST = "best.safetensors"

Batch = dict[str, Tensor]
SummedLoss = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]
"""(model, batch) -> (loss summed over its items, number of items)."""
Validation = Callable[[nn.Module], Mapping[str, float]]
"""model -> measures on the validation set."""


class _BatchTooLargeError(Exception):
    """The GPU ran out of memory, and the batch can be divided."""


class LiftTrainer(Trainer):
    """transformers' Trainer with six changes.

    - The loss is a sum over items divided by the number of items in the whole step, so that gradient
      accumulation changes nothing but memory.
    - A checkpoint contains only the trainable parameters and is written to a staging folder and renamed: a kill
      at any moment leaves the last complete one.
    - The best weights by a validation measure, or those of the last validation, are kept in one file next to the
      checkpoints.
    - bf16, where chosen, applies to the loss only; trainable weights and their optimiser stay float32.
    - If the GPU runs out of memory, batches are divided, with gradient accumulation, from the current step on; not
      with several processes, nor if ``divisible`` is false: a batch's loss is then not a sum over its examples.
    - Several processes share each batch and sum the gradients at its end. The model is not wrapped, so that any
      loss function works. The first process validates and writes.
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
        keep_best: bool = True,
        train_dataset: Dataset[Any],
        collate: Callable[[Any], Batch],
        bf16: bool = False,
        divisible: bool = True,
        optimizer: torch.optim.Optimizer | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=train_dataset,
            eval_dataset=train_dataset,  # must be set; ``evaluate`` calls ``validation``
            data_collator=collate,
            callbacks=callbacks,
            optimizers=(optimizer, None),
        )
        self.remove_callback(PrinterCallback)  # TrainingReport shows the logs
        # ``training_step`` sums gradients; DistributedDataParallel works only where the model itself is called.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        self.model_accepts_loss_kwargs = True  # the Trainer then counts a step's labelled items
        self._loss, self._validation, self.bf16 = loss, validation, bf16
        self._best_by, self._sign, self._keep_best = best_by, 1.0 if greater_is_better else -1.0, keep_best
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._divisible = divisible and self.args.world_size == 1
        self._staging: Path | None = None

    def resume_or_start(self) -> None:
        """Train to the end, from the last checkpoint if there is one, and load the weights kept."""
        output = Path(self.args.output_dir)
        with writing(output):
            output.mkdir(parents=True, exist_ok=True)
        while not self._trained_to_the_end(output):
            self._divide_batches()
        wait_for_all()
        if (output / BEST).exists():
            load_trainable(self.model, output / BEST)

    def _trained_to_the_end(self, output: Path) -> bool:
        """Whether training succeeded, from the last checkpoint on; otherwise the batches must be divided."""
        newest = get_last_checkpoint(str(output))
        if newest is not None and (done := int(newest.rpartition("-")[2])) > self.args.max_steps:
            raise InputError(
                f"{output}: the run is already at step {done}", f"resume with at least {done} --steps"
            )
        # Validate before training; a resumed run has done so already.
        self.args.eval_on_start = newest is None
        try:
            self.train(resume_from_checkpoint=newest)
        except _BatchTooLargeError:
            return False
        return True

    def _divide_batches(self) -> None:
        """Save a checkpoint of the last whole step; then divide each batch by the smallest possible number."""
        for parameter in self._trained:  # also those that a callback froze for the step that failed
            parameter.requires_grad_(True).grad = None
        gc.collect()
        torch.cuda.empty_cache()
        self._save_checkpoint(self.model, None)
        size, step = self.args.per_device_train_batch_size, self.state.global_step + 1
        parts = next(number for number in range(2, size + 1) if size % number == 0)
        self.args.gradient_accumulation_steps *= parts
        self.args.per_device_train_batch_size = self._train_batch_size = size // parts
        say(
            f"the GPU ran out of memory with batches of {size}: from step {step:,} on they are computed in "
            f"{parts} parts of {size // parts}, with the same result; a --batch-size that fits is faster"
        )

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """As the Trainer's; with several processes loss and gradients are those of all of them.

        LangliftError if the GPU ran out of memory, and the batch cannot be divided.
        """
        try:
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        except torch.OutOfMemoryError:
            size = self.args.per_device_train_batch_size
            if size > 1 and self._divisible:
                raise _BatchTooLargeError from None
            smaller = f"--batch-size {size // 2 * self.args.world_size} or " if size > 1 else ""
            raise LangliftError(
                f"the GPU ran out of memory at step {self.state.global_step + 1}, in a batch of {size} with "
                f"{self.tokens_of(inputs):,} tokens",
                f"start again in another --out with {smaller}shorter texts (--set max_tokens=...), or end what "
                "else runs on the GPU and --resume",
            ) from None
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            _sum_gradients(model)
        return loss * self.args.world_size  # the Trainer logs the mean over processes

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> Any:
        """The number of labelled items in a step, as the losses count them.

        The Trainer alone would leave out the first token's label of a decoder, because transformers' own loss
        shifts labels, and count tokens that continue a word (``CONTINUED``).
        """
        labels = [batch["labels"].clamp(min=IGNORED) for batch in batch_samples]
        return super()._get_num_items_in_batch([{"labels": x, "shift_labels": x} for x in labels], device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The micro-batch's summed loss over the number of items in the whole step."""
        with autocast(self.args.device, self.bf16):
            total, items = self._loss(model, inputs)
        self._require_finite(float(total.detach()), "loss")
        return total / (items if num_items_in_batch is None else num_items_in_batch)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Evaluate on the validation set, and keep the weights if they are the best so far (or always, without
        keep_best).
        """
        measures: dict[str, float] = {}
        if is_writer():
            self.model.eval()
            with torch.inference_mode(), autocast(self.args.device, self.bf16):
                measures = dict(self._validation(self.model))
            self.model.train()
            self._require_finite(measures[self._best_by], f"validation {self._best_by}")
            self._keep_weights(measures)
        measures = broadcast_object_list([measures])[0]
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measures.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise LangliftError(
                f"the {what} became {value} at step {self.state.global_step}",
                "use a lower learning rate (--lr), or --precision float32",
            )

    def _keep_weights(self, measures: Mapping[str, float]) -> None:
        value = measures[self._best_by]
        target = Path(self.args.output_dir) / BEST
        if self._keep_best and target.exists():
            best = best_of(target.parent)["value"]
            if self._sign * value <= self._sign * best:
                return
        record = {"measure": self._best_by, "value": value, "step": self.state.global_step}
        record["measures"] = measures
        with atomic_file(target) as staging:
            save_file(trainable_parameters(self.model), staging, metadata={"best": json.dumps(record)})

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:
        """A sequential sampler: the data set is the schedule of the whole run."""
        return SequentialSampler(train_dataset or self.train_dataset)

    @staticmethod
    def tokens_of(batch: Batch) -> int:
        """Number of tokens that are not padding; a batch without an attention mask has no padding."""
        mask = batch.get("attention_mask")
        return batch["input_ids"].numel() if mask is None else int(mask.sum())

    def _track_num_input_tokens(self, inputs: Batch) -> None:
        tokens = self.tokens_of(inputs)
        if self.args.world_size > 1:
            here = torch.tensor(tokens, device=self.args.device)
            tokens = int(self.accelerator.gather(here).sum())
        self.state.num_input_tokens_seen += tokens

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """All matrices; transformers would leave out adapters, as submodules of a LayerNorm."""
        return [name for name, parameter in model.named_parameters() if parameter.ndim > 1]

    def floating_point_ops(self, inputs: Batch) -> int:
        """Not counted: transformers' estimate iterates over all parameters for every micro-batch."""
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
                super()._save_checkpoint(model, trial)  # every process adds its random number state
                wait_for_all()
                if is_writer():
                    settle(*files_in(self._staging))
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


class EarlyStopping(TrainerCallback):
    """Stops training after ``patience`` steps without a better validation score."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluate(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Reads the record of the best weights, so that a resumed run stops at the same step."""
        if state.global_step - best_of(Path(str(args.output_dir)))["step"] >= self._patience:
            control.should_training_stop = True


def training_arguments(
    folder: Path,
    recipe: Any,
    *,
    steps: int,
    seed: int,
    validate_every: int,
    save_every: int,
    accumulation: int = 1,
    decay_steps: int | None = None,
) -> TrainingArguments:
    """The TrainingArguments of a run in ``folder`` with the learning rate, batch size and decay of its recipe.

    The batch size is the total over all processes, so that their number changes no step. The learning rate falls
    linearly after the warm-up, or only in the last ``decay_steps`` steps. Nothing is reported to online services.
    InputError if the batch cannot be divided evenly among the processes.
    """
    processes = count()
    if recipe.batch_size % processes:
        raise InputError(
            f"a batch of {recipe.batch_size} cannot be divided among {processes} processes",
            f"choose a --batch-size (the total over all processes) that is a multiple of {processes}",
        )
    decay = {} if decay_steps is None else {"num_decay_steps": decay_steps, "decay_type": "linear"}
    arguments = TrainingArguments(
        output_dir=str(folder / CHECKPOINTS),
        max_steps=steps,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size // processes,
        gradient_accumulation_steps=accumulation,
        warmup_steps=round(recipe.warmup_share * steps),
        weight_decay=recipe.weight_decay,
        lr_scheduler_type="warmup_stable_decay" if decay else "linear",
        lr_scheduler_kwargs=decay,
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
    arguments._n_gpu = min(arguments.n_gpu, 1)  # otherwise batches would be split over the GPUs
    return arguments


def _sum_gradients(model: nn.Module) -> None:
    """Sum gradients over processes; a parameter that a process did not use counts as 0."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            torch.distributed.all_reduce(parameter.grad)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch's tensors on a device."""
    return {name: value.to(device) for name, value in batch.items()}


def trainable_parameters(model: nn.Module) -> dict[str, Tensor]:
    """The trainable parameters by name; tied ones once."""
    return {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}


def load_trainable(model: nn.Module, path: Path) -> None:
    """Load parameters into a model whose trainable parameters are exactly these.

    LangliftError if the file is damaged, or its names are not those of the model's trainable parameters.
    """
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise LangliftError(
            f"{path}: damaged ({error})", "delete the folder it is in; training then starts again"
        ) from None
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if stored.keys() != parameters.keys():
        raise LangliftError(
            f"{path}: its parameters are not the ones that this run trains",
            "choose another --out for these settings",
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(stored[name])


def best_of(checkpoints: Path) -> dict[str, Any]:
    """The record of the weights kept: ``measure``, ``value``, ``step`` and all ``measures``."""
    with safe_open(checkpoints / BEST, framework="pt") as file:
        record: dict[str, Any] = json.loads(file.metadata()["best"])
    return record
