"""Adapt a base model to a language: train an adapter, or the whole model, on its text."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from langlift.adapters.method import METHODS, AdapterConfig
from langlift.backbones.base_model import BaseModel, BaseName
from langlift.backbones.loading import is_causal
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import load_adapter, read_config
from langlift.checkpoints.masked_head import MASKED_HEAD, stored_head
from langlift.config.loading import recorded
from langlift.config.recipes import CAUSAL
from langlift.errors import InputError
from langlift.languages import Language
from langlift.model_cards import render_card
from langlift.training.cost import flops_per_token
from langlift.training.encoding import EncodedRow
from langlift.training.language_model_training import (
    ExamplesOf,
    dev_examples,
    language_model_trainer,
    prepare_model,
    save_weights,
    trained_head,
)
from langlift.training.memory import peak_memory_bytes
from langlift.training.paths import LossPath
from langlift.training.recipes import AdaptRecipe
from langlift.training.run_folder import (
    CHECKPOINTS,
    METRICS,
    is_finished,
    open_run,
    read_metrics,
    remove_checkpoints,
    sha256_of,
    write_json,
    write_text,
)
from langlift.training.state_keeping import frozen_copy
from langlift.training.trainer import Validation, best_of, mixed_validation_loss, validation_loss
from langlift.training.training_data import TrainingData, encode_sources, read_sources


@dataclass(frozen=True)
class AdaptResult:
    """What ``langlift adapt`` made. Losses are nats per predicted token of the dev split.

    Whatever a masked objective, they are those of plain masked language modelling, so that objectives can be
    compared; of a causal model they are those of every next token. Of several data sets ``validation_losses``
    has each one's. ``left_out`` counts the training sentences of which a targeted objective could predict
    neither argument, ``one_argument`` those of which it could predict only one. ``flops`` are the floating
    point operations of training (validation not counted), ``seconds`` the time it took, validation and saving
    included.
    """

    adapter: str
    language: str
    method: str
    steps: int
    best_step: int
    validation_loss: float
    validation_loss_before: float
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    trainable_parameters: int
    path: str = "naive"
    precision: str = "float32"
    objective: str = "mlm"
    validation_losses: dict[str, float] = field(default_factory=dict)
    left_out: int = 0
    one_argument: int = 0
    vocabulary_size: int = 0
    flops: int = 0
    seconds: float = 0.0


def require_objective(base: str, causal: bool, objective: str) -> None:
    """Raise an InputError unless a causal or masked base can be trained with an objective."""
    if causal and objective != CAUSAL:
        raise InputError(
            f"--objective {objective}: masks words, and {base} is a causal model, which predicts the next one",
            "use --objective causal",
        )
    if not causal and objective == CAUSAL:
        raise InputError(
            f"--objective causal: predicts the next word, and {base} is a masked language model",
            "use --objective mlm, full_word or targeted",
        )


def require_same_adapter(folder: Path, model: PreTrainedModel, config: AdapterConfig | None) -> None:
    """Raise an InputError unless the adapter in ``folder`` is the one that ``config`` describes."""
    found = read_config(folder, backbone_of(model))
    if config is None:
        raise InputError(
            f"{folder}: an adapter, and the method trains the whole model",
            "choose the adapter's method with --method",
        )
    there, here = _settings(found), _settings(config)
    differing = [key for key, value in there.items() if here.get(key, value) != value]
    if differing:
        said = ", ".join(f"{key} {there[key]} (not {here[key]})" for key in differing)
        hint = " ".join(f"--set {key}={json.dumps(there[key])}" for key in differing).replace('"', "")
        raise InputError(f"{folder}: the adapter to start from has {said}", f"add {hint}")


def _settings(config: AdapterConfig) -> dict[str, Any]:
    """The recipe's settings that describe an adapter."""
    return {"method": config.method, **config.settings()}


def adapt(
    language: Language,
    base: BaseName | str,
    data: Path | Sequence[Path],
    out: Path,
    recipe: AdaptRecipe,
    resume: bool = False,
    init: Path | None = None,
    data_weights: Sequence[float] | None = None,
) -> AdaptResult:
    """Train an adapter (or the whole model) for ``language`` on the train split of ``data``.

    ``data`` is a text file, split 80/10/10 by document, or a built data folder; or several of them, whose
    shares of the training examples are as ``data_weights`` (without: by size, as if they were one). The
    weights kept are those with the lowest loss on the dev split (by argument for the targeted objective), the
    untouched model included. ``out`` becomes a run folder that holds the adapter. With ``init`` training goes
    on from the adapter in that folder, whose method and settings must be the recipe's; "before" is then the
    loss with that adapter.

    Raises:
        InputError: bad data, base or recipe, or ``out`` holds another run.
        LangliftError: the run failed, for example because ``out`` cannot be written.
    """
    sources = read_sources([data] if isinstance(data, Path) else data, data_weights, recipe.objective)
    base = BaseName.of(base)
    require_objective(base.name, is_causal(base), recipe.objective)
    loaded = BaseModel.load(base, quantised=recipe.quantised)
    model, tokenizer = loaded.model, loaded.tokenizer
    longest = min(recipe.max_tokens, loaded.longest_input)
    rows = encode_sources(sources, data_weights, tokenizer, longest, recipe)
    name, config = str(language), METHODS[recipe.method].config(recipe)
    names, hashes = [source.name for source in sources], [source.texts.sha256 for source in sources]
    inputs: dict[str, Any] = {"language": str(language), "base": base.name}
    if len(sources) == 1:
        inputs |= {"data": names[0], "data_sha256": hashes[0]}
    else:
        inputs |= {"data": names, "data_sha256": hashes}
    if data_weights is not None:
        inputs["data_weights"] = [float(weight) for weight in data_weights]
    head = trained_head(model, recipe)
    if init is not None:
        require_same_adapter(init, model, config)
        load_adapter(model, init, name)  # one that does not fit is told before anything is written
        head |= stored_head(model, init)
        weights = [*sorted(init.glob("adapter*.safetensors")), *init.glob(MASKED_HEAD)]
        inputs |= {"init": init.resolve().name, "init_sha256": sha256_of(weights)}
    open_run(out, recorded("adapt", inputs, recipe), resume, frozenset({"path"}))
    if is_finished(out):
        return AdaptResult(**read_metrics(out))

    set_seed(recipe.seed)
    teacher = frozen_copy(model) if recipe.keep_states else None
    mixture = prepare_model(model, name, config, recipe, fresh=init is None)
    trainer, report, arithmetic = language_model_trainer(
        model, tokenizer, rows, out, recipe, recipe.steps, _validation, mixture=mixture, teacher=teacher
    )
    try:
        trainer.resume_or_start()
    finally:
        report.close()

    best = best_of(out / CHECKPOINTS)
    measures = best.get("measures", {"loss": best["value"]})
    result = AdaptResult(
        adapter=str(out),
        language=str(language),
        method=recipe.method,
        steps=recipe.steps,
        best_step=best["step"],
        validation_loss=measures["loss"],
        validation_loss_before=report.first["validation_loss"],
        tokens=int(trainer.state.num_input_tokens_seen),
        tokens_per_second=round(report.tokens_per_second, 1),
        peak_memory_bytes=peak_memory_bytes(),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        path=recipe.path,
        precision=arithmetic.name,
        objective=recipe.objective,
        validation_losses={n: measures[f"loss_{n}"] for n in names if f"loss_{n}" in measures},
        left_out=rows.left_out,
        one_argument=rows.one_argument,
        vocabulary_size=len(tokenizer),
        flops=round(flops_per_token(trainer) * trainer.state.num_input_tokens_seen),
        seconds=round(report.seconds, 1),
    )
    if mixture is not None:
        mixture.merge()
    save_weights(model, tokenizer, out, name, config, base.name, head)
    card = render_card(
        "adapt.md",
        language=language,
        base=base.name,
        data=names,
        method=METHODS[recipe.method],
        causal=recipe.objective == CAUSAL,
        init=inputs.get("init"),
        masked_head=bool(head) and not METHODS[recipe.method].whole_model,
        recipe=recipe,
        result=result,
    )
    write_text(out / "README.md", card)
    write_json(out / METRICS, asdict(result))
    remove_checkpoints(out)
    return result


def _validation(rows: TrainingData, examples_of: ExamplesOf, path: LossPath) -> tuple[Validation, str]:
    """The losses measured on the dev splits, and the name of the one that says which weights are best."""

    def together(parts: Mapping[str, Sequence[EncodedRow]]) -> Validation:
        examples = {name: dev_examples(part, examples_of) for name, part in parts.items()}
        if len(examples) == 1:
            (alone,) = examples.values()
            return validation_loss(path.loss, alone, path.collate, batch_size=32)
        shared = {name: (some, rows.shares[name]) for name, some in examples.items()}
        return mixed_validation_loss(path.loss, shared, path.collate, batch_size=32)

    plain = together(rows.dev)
    if not rows.targeted_dev:
        return plain, "loss"
    targeted = together(rows.targeted_dev)
    return lambda model: {**plain(model), "targeted_loss": targeted(model)["loss"]}, "targeted_loss"
