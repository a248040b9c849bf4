"""How many tokens a run computes, measured on a sample of its data."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from langlift.backbones.loading import load_tokenizer
from langlift.corpus.text_data import load_text_data, texts_to_score
from langlift.errors import InputError
from langlift.evaluation.alignment import parallel_sentences
from langlift.progress import progress_to
from langlift.prompting.local import LocalModel
from langlift.prompting.running import prompts_to_ask
from langlift.studies.step import Dependency, Input, PromptCall, Step, is_scored
from langlift.tasks.learner import text_of
from langlift.tasks.task import TASKS
from langlift.training.recipes import CAUSAL

SAMPLE = 500
"""The number of texts that are tokenised to estimate their length."""
MAX_SCORED = 512


@dataclass(frozen=True)
class Workload:
    """``trained`` tokens are computed forward and backward in ``steps``, ``read`` ones only forward.

    ``assumed`` names what could not be measured.
    """

    trained: float = 0.0
    read: float = 0.0
    steps: int = 0
    assumed: str = ""


@dataclass(frozen=True)
class _Lengths:
    """Examples of each split, and the mean of their tokens and of the squares of these."""

    train: int
    dev: int
    test: int
    tokens: float
    squared: float
    assumed: str = ""


ASSUMED = {
    "graph": _Lengths(50_000, 5_000, 5_000, 14.0, 14.0**2, "a graph that is not built yet"),
    "corpus": _Lengths(100_000, 10_000, 10_000, 48.0, 48.0**2, "a corpus that is not built yet"),
    "flores": _Lengths(0, 0, 1_012, 42.0, 48.0**2, "FLORES sentences"),
    "task": _Lengths(1_000, 125, 250, 32.0, 32.0**2, "task data of the hub"),
}
"""For data that are not built yet, or not on this machine."""


def workload_of(step: Step) -> Workload:
    """The computation of a run that trains or measures a model."""
    settings, base = step.settings, step.base()
    if step.kind in ("adapt", "family"):
        parts = [one for name, some in step.inputs.items() if name.startswith("data:") for one in some]
        lengths = [_of_text(one, base, int(settings["max_tokens"])) for one in parts]
        tokens = float(np.average([one.tokens for one in lengths], weights=[one.train for one in lengths]))
        assumed = next((one.assumed for one in lengths if one.assumed), "")
        steps, size = settings["steps"], settings["batch_size"] * settings.get("accumulation", 1)
        if settings.get("tokens"):
            steps = ceil(settings["tokens"] / (tokens * size))
        validations = 1 + ceil(steps / min(settings["validate_every"], ceil(steps / 4)))
        dev = min(sum(one.dev for one in lengths), settings["validation_examples"] * max(1, len(step.inputs) - 1))
        return Workload(steps * size * tokens, validations * dev * tokens, steps, assumed)
    if step.kind == "score":
        (source,) = step.inputs["text"]
        if isinstance(source, Step):
            text = _of_text(source, base, MAX_SCORED)
        else:
            split = settings["split"] if Path(source.path).is_file() else None
            text = _of_scored(Path(source.path), split, settings["sentences"], base)
        # With a masked model, each token is masked in a separate copy.
        each = text.tokens if settings["variant"] == CAUSAL else text.squared
        return Workload(read=text.test * each, assumed=text.assumed)
    if step.kind == "alignment":
        texts = step.paths("text", "other")
        pairs = parallel_sentences(texts[0], texts[-1])[: settings["sentences"]]
        return Workload(read=sum(len(side) * _lengths(base, side).tokens for side in zip(*pairs, strict=True)))
    task = ASSUMED["task"]
    if (data := step.task_data()) is not None:
        columns = tuple(settings.get("columns", ()))
        task = _of_task(settings["task"], data[0], *data[1], base=base, columns=columns)
    train = min(task.train, settings["train_examples"] or task.train)
    epochs, dev = settings["epochs"], min(task.dev, settings.get("validation_examples") or task.dev)
    trained = max(epochs * train, settings["min_steps"] * settings["batch_size"])
    read = (epochs * dev + task.test) * task.tokens
    return Workload(trained * task.tokens, read, ceil(trained / settings["batch_size"]), task.assumed)


def requests_of(step: Step, call: PromptCall) -> tuple[int | None, int | None]:
    """The number of prompts of a run, and of their tokens for a local model; None if unknown."""
    if (data := step.task_data()) is None:
        return None, None
    with progress_to(lambda *report: None):
        prompts = prompts_to_ask(step.settings["task"], data[0], call.recipe, call.template, data[1])
    if call.model.model_name is not None or not Path(call.model.model).exists():
        return len(prompts), None
    tokens = LocalModel(call.model.model, call.recipe).tokens(_sample(prompts))
    return len(prompts), round(len(prompts) * mean(tokens))


def _of_text(source: Dependency, base: str, max_tokens: int) -> _Lengths:
    if isinstance(source, Input):
        return _of_file(source.path, base, max_tokens)
    if source.kind == "cut":
        return _of_text(source.inputs["of"][0], base, max_tokens)
    return ASSUMED["flores" if is_scored(source) else source.kind]


@cache
def _of_file(path: str, base: str, max_tokens: int) -> _Lengths:
    texts = load_text_data(Path(path))
    return _lengths(base, texts.train, len(texts.train), len(texts.dev), len(texts.test), max_tokens)


@cache
def _of_scored(path: Path, split: str | None, sentences: int | None, base: str) -> _Lengths:
    texts = texts_to_score(path, split, sentences)
    return _lengths(base, texts, test=len(texts))


@cache
def _of_task(task: str, data: str, *train: str, base: str, columns: tuple[int, ...]) -> _Lengths:
    with progress_to(lambda *report: None):
        splits = TASKS[task].learner.read(data, list(train), False, columns)
    texts = [text_of(one) for one in _sample(splits.train.inputs)]
    return _lengths(base, texts, len(splits.train), len(splits.dev), len(splits.test))


def _lengths(
    base: str, texts: Collection[str], train: int = 0, dev: int = 0, test: int = 0, max_tokens: int | None = None
) -> _Lengths:
    """Of a sample, with special tokens; without the base's tokenizer, one token for four characters."""
    sample, tokenizer = _sample(texts), _tokenizer(base)
    if tokenizer is None:
        counts = [max(3, len(text) // 4) for text in sample]
    else:
        counts = [len(ids) for ids in tokenizer(sample, verbose=False)["input_ids"]]
    tokens = np.minimum(counts or [3], max_tokens or np.inf).astype(float)
    return _Lengths(train, dev, test, float(tokens.mean()), float((tokens**2).mean()))


@cache
def _tokenizer(base: str) -> Any | None:
    try:
        return load_tokenizer(base)
    except InputError:
        return None


def _sample(texts: Collection[Any]) -> list[Any]:
    if len(texts) <= SAMPLE:
        return list(texts)
    numbers = set(np.linspace(0, len(texts) - 1, SAMPLE).astype(int).tolist())
    return [text for number, text in enumerate(texts) if number in numbers]
