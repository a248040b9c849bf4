"""Adapt a base model to a language: train an adapter, or the whole model, on its text."""

import json
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from langlift.adapters.method import METHODS, AdapterConfig
from langlift.backbones.loading import BaseModel, BaseName, is_causal
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import MLM_HEAD, load_adapter, read_config, stored_head
from langlift.config.loading import recorded
from langlift.corpus.characters import LETTER, LIMIT, OTHER_LETTER, kinds
from langlift.corpus.language_check import warn_of_other_language
from langlift.errors import InputError
from langlift.files import sha256_of
from langlift.languages import Language
from langlift.model_cards import render_card
from langlift.notebook import Shown
from langlift.progress import say
from langlift.training.encoding import disk_of
from langlift.training.examples import evenly_spread
from langlift.training.language_model_training import Adaptation, trained_head
from langlift.training.recipes import CAUSAL, AdaptRecipe
from langlift.training.run import open_run
from langlift.training.training_data import Source, TrainingData, encode_sources, read_sources

SHOWN_ROWS, SHOWN_WIDTH, SAMPLED_TEXTS = 10, 78, 300
"""How many rows are shown before a run, of how many characters, and how many texts are examined for script."""


@dataclass(frozen=True)
class AdaptResult(Shown):
    """The result of ``langlift adapt``. Losses are in nats per predicted token of the dev split.

    For every masked objective they are those of plain masked language modelling, so that objectives can be
    compared; for a causal model those of every next token. ``validation_losses`` has the loss of each of several
    data sets. ``left_out`` counts training sentences in which a targeted objective can predict neither argument,
    ``one_argument`` those in which it can predict only one. ``flops`` are the floating point operations of
    training (without validation), ``seconds`` its time, validation and saving included.
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
    """Raise an InputError unless a causal (or masked) base can be trained with the objective."""
    if causal and objective != CAUSAL:
        raise InputError(
            f"--objective {objective}: masks words, but {base} is a causal model, which predicts the next word",
            "use --objective causal",
        )
    if not causal and objective == CAUSAL:
        raise InputError(
            f"--objective causal: predicts the next word, but {base} is a masked language model",
            "use --objective mlm, full_word or targeted",
        )


def require_same_adapter(folder: Path, model: PreTrainedModel, config: AdapterConfig | None) -> None:
    """Raise an InputError unless the adapter in ``folder`` is the one that ``config`` describes."""
    found = read_config(folder, backbone_of(model))
    if config is None:
        raise InputError(
            f"{folder}: contains an adapter, but the method trains the whole model",
            "choose the adapter's method with --method",
        )
    stored, wanted = ({"method": one.method, **one.settings()} for one in (found, config))
    if differing := [key for key, value in stored.items() if wanted.get(key, value) != value]:
        values = ", ".join(f"{key} {stored[key]} (not {wanted[key]})" for key in differing)
        given = (f"{key}={json.dumps(stored[key])}".replace('"', "") for key in differing)
        hint = " ".join(f"--set {shlex.quote(one)}" for one in given)
        raise InputError(f"{folder}: the initial adapter has {values}", f"add {hint}")


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

    ``data`` is a text file, split 80/10/10 by document, or a built data folder; or several of them, mixed in the
    shares ``data_weights`` (default: by size, as if they were one). The weights kept are those with the lowest
    loss on the dev split (by argument for the targeted objective), including those before training. ``out``
    becomes a run folder with the adapter. With ``init`` training continues from the adapter in that folder, whose
    method and settings must be the recipe's; the loss "before" is then the one with that adapter.

    Raises:
        InputError: the data, base or recipe is invalid, or ``out`` contains another run.
        LangliftError: the run failed, for example because ``out`` cannot be written.
    """
    sources = read_sources([data] if isinstance(data, Path) else data, data_weights, recipe.objective)
    base = BaseName.of(base)
    require_objective(base.name, is_causal(base), recipe.objective)
    loaded = BaseModel.load(base, quantised=recipe.quantised)
    model, tokenizer = loaded.model, loaded.tokenizer
    longest = min(recipe.max_tokens, loaded.longest_input)
    rows = encode_sources(sources, data_weights, tokenizer, longest, recipe, disk_of(out))
    method, name = METHODS[recipe.method], str(language)
    head = trained_head(model, recipe)
    if init is not None:
        require_same_adapter(init, model, method.config(recipe))
        load_adapter(model, init, name)
        head |= stored_head(model, init)
    inputs = {"language": name, "base": base.name, **_inputs(sources, data_weights, init)}
    record = recorded("adapt", inputs, recipe)
    # All input has been checked: nothing is written in ``out`` before this point.
    with closing(rows.train), open_run(out, record, resume, frozenset({"path"})) as run:
        if run.finished:
            return AdaptResult(**run.metrics)
        if not resume:
            running = [source.texts.train for source in sources if not source.texts.is_graph]
            show_preview(language, running[0] if running else (), rows, tokenizer, recipe)
        set_seed(recipe.seed)
        adaptation = Adaptation(model, tokenizer, name, recipe, fresh=init is None)
        trained = run.train(adaptation.trainer(rows, out, recipe.steps), f"adapting ({recipe.method})")
        names = [source.name for source in sources]
        result = AdaptResult(
            adapter=str(out),
            language=name,
            method=recipe.method,
            steps=recipe.steps,
            best_step=trained.best_step,
            validation_loss=trained.best["loss"],
            validation_loss_before=trained.before["loss"],
            trainable_parameters=trained.parameters,
            path=recipe.path,
            precision=trained.precision,
            objective=recipe.objective,
            validation_losses={n: trained.best[f"loss_{n}"] for n in names if len(names) > 1},
            left_out=rows.left_out,
            one_argument=rows.one_argument,
            vocabulary_size=len(tokenizer),
            **trained.cost,
        )
        adaptation.save(out, base.name, head)
        card = render_card(
            "adapt.md",
            language=language,
            base=base.name,
            data=names,
            method=method,
            causal=recipe.objective == CAUSAL,
            init=inputs.get("init"),
            mlm_head=bool(head) and not method.whole_model,
            recipe=recipe,
            result=result,
        )
        run.finish(asdict(result), card)
    return result


def show_preview(
    language: Language, texts: Collection[str], data: TrainingData, tokenizer: Any, recipe: AdaptRecipe
) -> None:
    """Print the size of the data, a few rows as tokens, and a warning if its letters are not the language's."""
    rows, tokens = len(data.train), int(data.train.lengths.sum())
    times = recipe.steps * recipe.batch_size / rows
    say(
        f"data: {rows:,} rows with {tokens:,} tokens to train on, each seen about {times:.1f} times in "
        f"{recipe.steps:,} steps; the model reads them as"
    )
    for number in evenly_spread(rows, SHOWN_ROWS):
        line = " ".join(tokenizer.convert_ids_to_tokens(data.train[number].ids.tolist(), skip_special_tokens=True))
        say(f"  {line if len(line) <= SHOWN_WIDTH else line[: SHOWN_WIDTH - 1] + '…'}")
    share = script_share(language.script, islice(texts, SAMPLED_TEXTS))
    if share is not None and share < 0.5:
        say(
            f"warning: only {share:.0%} of the letters are in the script of {language}; if this is the right "
            "text, name the language with the text's script, as in srp_Latn"
        )
    else:
        warn_of_other_language(language, texts)


def script_share(script: str, texts: Collection[str] | islice) -> float | None:
    """The share of a script (ISO 15924) among the letters that belong to any.

    ``None`` without letters, and for a script that Unicode does not have.
    """
    try:
        table = kinds(script)
    except InputError:
        return None
    found = Counter(int(table[min(ord(character), LIMIT)]) for text in texts for character in text)
    letters = found[LETTER] + found[OTHER_LETTER]
    return found[LETTER] / letters if letters else None


def _inputs(sources: Sequence[Source], weights: Sequence[float] | None, init: Path | None) -> dict[str, Any]:
    """The inputs recorded in a run's recipe: its data and the initial adapter."""
    names, hashes = [source.name for source in sources], [source.texts.sha256 for source in sources]
    inputs: dict[str, Any] = {"data": names, "data_sha256": hashes}
    if len(sources) == 1:
        inputs = {"data": names[0], "data_sha256": hashes[0]}
    if weights is not None:
        inputs["data_weights"] = [float(weight) for weight in weights]
    if init is not None:
        weights_files = [*sorted(init.glob("adapter*.safetensors")), *init.glob(MLM_HEAD)]
        inputs |= {"init": init.resolve().name, "init_sha256": sha256_of(weights_files)}
    return inputs
