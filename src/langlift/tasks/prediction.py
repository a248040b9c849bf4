"""Label new text with a trained run: a stream of texts in, a stream of labels with probabilities out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file

from langlift.backbones.loading import default_device, load_masked_model, load_tokenizer
from langlift.errors import InputError
from langlift.heads.classification import SentenceClassifier
from langlift.tasks.runner import HEAD, HEAD_WEIGHTS
from langlift.tasks.sentence_classifier import SentenceEncoder, class_probabilities, new_classifier
from langlift.tasks.setups import load_trained
from langlift.training.run_folder import RECIPE, is_finished, read_metrics

TEXTS_AT_ONCE = 512
"""So many texts are sorted by length and labelled together; memory does not grow beyond them."""


@dataclass(frozen=True)
class Prediction:
    """The most probable label of a text, and the probability of every label."""

    text: str
    label: str
    probabilities: dict[str, float]


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier loaded from one seed of a ``langlift task topic`` run."""

    folder: Path
    labels: list[str]
    model: SentenceClassifier
    encode: SentenceEncoder

    def __call__(self, texts: Iterable[str]) -> Iterator[Prediction]:
        """Label texts one after the other, however many there are."""
        texts = iter(texts)
        while chunk := list(islice(texts, TEXTS_AT_ONCE)):
            for text, row in zip(chunk, class_probabilities(self.model, self.encode, chunk), strict=True):
                shares = {label: float(share) for label, share in zip(self.labels, row, strict=True)}
                yield Prediction(text, self.labels[int(row.argmax())], shares)


def load_classifier(
    run: Path, seed: int | None = None, base: str | None = None, trust_remote_code: bool = False
) -> TrainedClassifier:
    """Load a trained run: the folder of all seeds (then the one best on dev, or ``seed``), or of one seed.

    ``base`` stands in for the base model that the run recorded, where that has moved.

    Raises:
        InputError: the folder holds no finished run, the seed is not in it, or something in it is damaged.
    """
    folder = _seed_folder(run, seed).resolve()
    recorded, head = _recorded(folder / RECIPE), _recorded(folder / HEAD)
    try:
        method, max_tokens = recorded["task"]["method"], recorded["task"]["max_tokens"]
        inputs, recorded_base = recorded["inputs"], recorded["inputs"]["base"]
        labels, pooling = [str(label) for label in head["labels"]], head["pooling"]
    except (KeyError, TypeError):
        raise InputError(
            f"{folder}: {RECIPE} or {HEAD} is damaged", "train it again, or restore the file"
        ) from None
    full = method == "full"
    if full and base is not None:
        raise InputError("--base: this run trained the whole model and holds it itself", "leave --base out")
    source = str(folder) if full else base or recorded_base
    tokenizer = load_tokenizer(source, trust_remote_code)
    masked_model = load_masked_model(source, trust_remote_code, head_needed=False)
    if not full:
        load_trained(masked_model, "topic", folder, inputs)
    model = new_classifier(masked_model, len(labels), pooling)
    try:
        model.head.load_state_dict(load_file(folder / HEAD_WEIGHTS))
    except (OSError, SafetensorError, RuntimeError):
        raise InputError(
            f"{folder / HEAD_WEIGHTS}: missing, damaged or of another model", "train it again"
        ) from None
    encode = SentenceEncoder(tokenizer, masked_model, max_tokens)
    return TrainedClassifier(folder, labels, model.to(default_device()).eval(), encode)


def _seed_folder(run: Path, seed: int | None) -> Path:
    """The folder of one finished seed."""
    if (run / HEAD).is_file():
        if seed is not None:
            raise InputError(f"--seed {seed}: {run} is the folder of one seed", "leave --seed out")
        return run
    seeds = {
        int(folder.name.removeprefix("seed-")): folder
        for folder in run.glob("seed-*")
        if folder.name.removeprefix("seed-").isdecimal() and is_finished(folder)
    }
    if not seeds:
        raise InputError(
            f"{run}: holds no finished task run" if run.is_dir() else f"{run}: no such folder",
            "give the folder that 'langlift task topic --out' wrote",
        )
    if seed is not None and seed not in seeds:
        raise InputError(f"{run}: no finished seed {seed}", f"there are {', '.join(map(str, sorted(seeds)))}")
    if seed is not None:
        return seeds[seed]
    in_order = [seeds[number] for number in sorted(seeds)]
    return max(in_order, key=lambda folder: float(read_metrics(folder)["dev_macro_f1"]))


def _recorded(path: Path) -> Any:
    """What a run wrote down in YAML or JSON (which is YAML, too)."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        raise InputError(f"{path}: missing or damaged", "train it again, or restore the file") from None
