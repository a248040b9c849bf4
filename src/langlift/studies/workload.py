"""How much a run computes: tokens that train and tokens that are only read, from a sample of its data."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt

from langlift.backbones.loading import load_tokenizer
from langlift.corpus.text_data import load_text_data, texts_to_score
from langlift.errors import InputError
from langlift.evaluation.sentence_vectors import parallel_sentences
from langlift.progress import progress_to
from langlift.prompting.local import LocalModel
from langlift.prompting.running import prompts_to_ask
from langlift.studies.asking import asked_model, asked_recipe, template_file
from langlift.studies.step import Input, Step, task_data
from langlift.tasks.learner import text_of
from langlift.tasks.task import TASKS
from langlift.training.recipes import CAUSAL

SAMPLE = 500
"""So many texts are cut into tokens to learn how long they are."""
ASSUMED_TOKENS = {"graph": 14.0, "corpus": 48.0, "task": 32.0}
"""Tokens of an example where the data is not built or not here."""
ASSUMED_EXAMPLES = {"graph": 5_000, "corpus": 10_000, "task": 1_000}
"""Examples of the dev split, or of a task, where the data is not here."""


@dataclass(frozen=True)
class Workload:
    """``trained`` tokens go forward and backward in ``steps``, ``read`` ones only forward.

    ``assumed`` says what was not there to be measured.
    """

    trained: float = 0.0
    read: float = 0.0
    steps: int = 0
    assumed: str = ""


@dataclass(frozen=True)
class Lengths:
    """Examples of each split, and their mean tokens; ``squared`` is the mean of the test examples' squares."""

    train: int
    dev: int
    test: int
    tokens: float
    squared: float
    assumed: str = ""


def workload_of(step: Step, base: str) -> Workload:
    """What a run will compute; of builds nothing is known."""
    settings = step.settings
    if step.kind in ("adapt", "family"):
        parts = [one for name, some in step.inputs.items() if name.startswith("data:") for one in some]
        lengths = [_text_lengths(one, base, int(settings["max_tokens"])) for one in parts]
        tokens = float(np.average([one.tokens for one in lengths], weights=[one.train for one in lengths]))
        assumed = next((one.assumed for one in lengths if one.assumed), "")
        steps, size = settings["steps"], settings["batch_size"] * settings.get("accumulation", 1)
        if settings.get("tokens"):
            steps = ceil(settings["tokens"] / (tokens * size))
        validations = 1 + ceil(steps / min(settings["validate_every"], ceil(steps / 4)))
        dev = min(sum(one.dev for one in lengths), settings["validation_examples"] * max(1, len(step.inputs) - 1))
        return Workload(steps * size * tokens, validations * dev * tokens, steps, assumed)
    if step.kind == "score":
        lengths_of_text = _score_lengths(step, base)
        # Of a masked model each token is masked in a copy of its own.
        each = lengths_of_text.tokens if settings["variant"] == CAUSAL else lengths_of_text.squared
        tokens = lengths_of_text.test * each
        return Workload(0.0, tokens, 0, lengths_of_text.assumed)
    if step.kind == "alignment":
        texts = step.texts("text", "other")
        pairs = parallel_sentences(texts[0], texts[-1])[: settings["sentences"]]
        counted = [_token_counts(base, _some([pair[side] for pair in pairs])).mean() for side in (0, 1)]
        return Workload(0.0, float(len(pairs) * sum(counted)))
    if step.kind in ("task", "fuse"):
        of_task = _task_lengths(step, base)
        train = min(of_task.train, settings["train_examples"] or of_task.train)
        epochs, dev = settings["epochs"], min(of_task.dev, settings.get("validation_examples") or of_task.dev)
        read = (epochs * dev + of_task.test) * of_task.tokens
        steps = ceil(epochs * train / settings["batch_size"])
        return Workload(epochs * train * of_task.tokens, read, steps, of_task.assumed)
    return Workload()


def requests_of(step: Step) -> tuple[int | None, int | None]:
    """How many prompts a run asks, and their tokens where the model is here; None where that cannot be known."""
    model, what = asked_model(step), task_data(step)
    if what is None:
        return None, None
    with progress_to(lambda *report: None):
        prompts = prompts_to_ask(step.settings["task"], what[0], asked_recipe(step), template_file(step), what[1])
    if model[1] is not None or not Path(model[0]).exists():
        return len(prompts), None
    tokens = LocalModel(model[0], asked_recipe(step)).tokens(_some(prompts))
    return len(prompts), round(len(prompts) * mean(tokens))


def _text_lengths(source: Any, base: str, most: int) -> Lengths:
    if not isinstance(source, Input):
        kind = "graph" if source.kind == "graph" else "corpus"
        if source.kind == "cut":
            return _text_lengths(source.inputs["of"][0], base, most)
        tokens, examples = ASSUMED_TOKENS[kind], ASSUMED_EXAMPLES[kind]
        return Lengths(10 * examples, examples, examples, tokens, tokens**2, f"a {kind} that is not built yet")
    return _lengths_of_file(source.path, base, most)


@cache
def _lengths_of_file(path: str, base: str, most: int) -> Lengths:
    texts = load_text_data(Path(path))
    counted = np.minimum(_token_counts(base, _some(texts.train)), most)
    return Lengths(
        len(texts.train), len(texts.dev), len(texts.test), float(counted.mean()), float((counted**2).mean())
    )


def _score_lengths(step: Step, base: str) -> Lengths:
    (source,) = step.inputs["text"]
    if not isinstance(source, Input):
        return _text_lengths(source, base, 512)
    path = Path(source.path)
    split = step.settings["split"] if path.is_file() else None
    texts = texts_to_score(path, split, step.settings["sentences"])
    counted = _token_counts(base, _some(texts))
    return Lengths(0, 0, len(texts), float(counted.mean()), float((counted.astype(float) ** 2).mean()))


def _task_lengths(step: Step, base: str) -> Lengths:
    if (what := task_data(step)) is None:
        examples, tokens = ASSUMED_EXAMPLES["task"], ASSUMED_TOKENS["task"]
        return Lengths(examples, examples // 8, examples // 4, tokens, tokens**2, "task data of the hub")
    data, train = what
    return _lengths_of_task(step.settings["task"], data, tuple(train), base)


@cache
def _lengths_of_task(task: str, data: str, train: tuple[str, ...], base: str) -> Lengths:
    with progress_to(lambda *report: None):
        splits = TASKS[task].learner.read(data, list(train), False)
    rows = [text_of(one) for one in _some(splits.train.inputs)]
    counted = _token_counts(base, rows)
    return Lengths(
        len(splits.train), len(splits.dev), len(splits.test), float(counted.mean()), float((counted**2).mean())
    )


def _token_counts(base: str, texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """The tokens of each text, special ones included; without the base's tokenizer, one for each four letters."""
    tokenizer = _tokenizer(base)
    if tokenizer is None:
        return np.array([max(3, len(text) // 4) for text in texts] or [3])
    return np.array([len(ids) for ids in tokenizer(list(texts), verbose=False)["input_ids"]] or [3])


@cache
def _tokenizer(base: str) -> Any | None:
    try:
        return load_tokenizer(base)
    except InputError:
        return None


def _some(texts: Sequence[Any]) -> list[Any]:
    if len(texts) <= SAMPLE:
        return list(texts)
    return [texts[int(i)] for i in np.linspace(0, len(texts) - 1, SAMPLE)]
