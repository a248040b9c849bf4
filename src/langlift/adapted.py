"""A finished run as an object that takes strings: fill gaps, measure surprise, classify, tag and parse."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any, Self, overload

from transformers import PreTrainedModel

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import default_device, is_causal
from langlift.checkpoints.adapter_folder import load_language_model
from langlift.checkpoints.layouts import CONFIG_FILE
from langlift.errors import InputError
from langlift.evaluation.gap_filling import WordGuess, most_likely_words
from langlift.evaluation.pseudo_perplexity import WordSurprise, word_surprises
from langlift.hub_folders import refuse_path, run_in_repository
from langlift.studies.folder import read_recipe
from langlift.tasks.dependencies import Parse
from langlift.tasks.ner import FoundEntities
from langlift.tasks.pos import TaggedSentence
from langlift.tasks.prediction import TrainedTask, is_task_run, load_trained_task, seed_folder
from langlift.tasks.runner import HEAD
from langlift.tasks.sentences import Prediction
from langlift.tasks.task import task_called
from langlift.training.run_folder import RECIPE, is_finished
from langlift.vocab.overlap import canonical_tokens


class Adapted:
    """A finished run, or a base model, ready for strings and lists of strings.

    Language models (runs of ``adapt``, ``adapt-family`` and ``pretrain``, and plain models) have ``fill`` and
    ``surprise``; runs of ``task`` and ``fuse`` have ``classify``, ``tag`` or ``parse``. The model is loaded on
    first use. Calls are thread-safe: one thread runs at a time. They raise an InputError if a text is empty (for
    ``fill``, also if it has no gap or several), or if the run does not have the method.

        model = Adapted.load("runs/maltese")
        model.fill("Il-qattus ___ fuq is-sodda.")
    """

    def __init__(self, path: str, base: BaseName) -> None:
        self.path, self._base = path, base
        self._turn = RLock()

    @classmethod
    def load(cls, path: str | Path, base: BaseName | str | None = None) -> Self:
        """Open a run's folder, a model folder, a hub id (of a run, an adapter or a model), or a bundled model.

        ``base`` replaces the base model recorded by the run, for example if it has moved;
        ``BaseName(trust_remote_code=True)`` keeps the recorded one and allows it to run its own code.

        Raises:
            InputError: there is no such folder, it contains neither a run nor a model, or its run is not finished.
        """
        name = BaseName(str(run_in_repository(path) or path)).name
        folder = Path(name)
        if folder.is_dir() and (folder / RECIPE).is_file() and not is_finished(folder):
            raise InputError(
                f"{folder}: the run is not finished", "run the same command with --resume to continue"
            )
        refuse_path(name, "run or model", "give the folder that --out named, a bundled model or a hub id")
        marks = (RECIPE, CONFIG_FILE, "config.json", "model")
        if folder.exists() and not is_task_run(folder) and not any((folder / one).exists() for one in marks):
            raise InputError(f"{folder}: neither a run nor a model", "give the folder that --out named")
        return cls(name, BaseName.of(base))

    def __repr__(self) -> str:
        return f"<Adapted {self.path}: {', '.join(self.methods) or 'a decoder, no methods'}>"

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The names of the supported methods; empty for a decoder. Does not load the model."""
        folder = Path(self.path)
        if is_task_run(folder):
            head = json.loads((seed_folder(folder) / HEAD).read_text(encoding="utf-8"))
            return (task_called(str(head["task"])).verb,)
        if (folder / "config.json").is_file():
            decoder = is_causal(replace(self._base, name=self.path))
        else:
            settings = read_recipe(folder) if (folder / RECIPE).is_file() else {}
            own = settings.get(str(settings.get("command"))) or {}
            decoder = dict(own).get("objective") == "causal"
        return () if decoder else ("fill", "surprise")

    @overload
    def fill(self, texts: str, top: int = 5) -> list[WordGuess]: ...
    @overload
    def fill(self, texts: list[str], top: int = 5) -> list[list[WordGuess]]: ...
    def fill(self, texts: str | list[str], top: int = 5) -> list[WordGuess] | list[list[WordGuess]]:
        """The ``top`` most likely words for the gap ``___`` of each text, best first."""
        return self._answers(
            "fill", texts, lambda some: [most_likely_words(*self._language_model, text, top) for text in some]
        )

    @overload
    def surprise(self, texts: str) -> list[WordSurprise]: ...
    @overload
    def surprise(self, texts: list[str]) -> list[list[WordSurprise]]: ...
    def surprise(self, texts: str | list[str]) -> list[WordSurprise] | list[list[WordSurprise]]:
        """The surprisal of each word of each text, in bits: high for words that the model did not expect."""
        return self._answers("surprise", texts, lambda some: word_surprises(*self._language_model[:2], some))

    @overload
    def classify(self, texts: str) -> Prediction: ...
    @overload
    def classify(self, texts: list[str]) -> list[Prediction]: ...
    def classify(self, texts: str | list[str]) -> Prediction | list[Prediction]:
        """Each text's label (topic, sentiment, ...), with the probability of every label."""
        return self._answers("classify", texts, self._labelled)

    @overload
    def tag(self, texts: str) -> FoundEntities | TaggedSentence: ...
    @overload
    def tag(self, texts: list[str]) -> list[FoundEntities | TaggedSentence]: ...
    def tag(self, texts: str | list[str]) -> Any:
        """Each text's words with their named entities, or with their parts of speech."""
        return self._answers("tag", texts, self._labelled)

    @overload
    def parse(self, texts: str) -> Parse: ...
    @overload
    def parse(self, texts: list[str]) -> list[Parse]: ...
    def parse(self, texts: str | list[str]) -> Parse | list[Parse]:
        """Each text's words with their heads and relations."""
        return self._answers("parse", texts, self._labelled)

    @cached_property
    def _trained(self) -> TrainedTask:
        return load_trained_task(Path(self.path), base=self._base)

    @cached_property
    def _language_model(self) -> tuple[PreTrainedModel, Any, Any]:
        """The model with its adapter, its tokenizer, and the canonical form of each token."""
        loaded = load_language_model(self.path, self._base, masked_only=True)
        tokenizer = loaded.tokenizer
        return loaded.model.to(default_device()).eval(), tokenizer, canonical_tokens(tokenizer)

    def _labelled(self, texts: Sequence[str]) -> list[Any]:
        return list(self._trained(map(self._trained.task.learner.input_of, texts)))

    def _answers(self, method: str, texts: str | list[str], answers: Callable[[list[str]], list[Any]]) -> Any:
        some = [texts] if isinstance(texts, str) else list(texts)
        if empty := [number for number, text in enumerate(some, start=1) if not text.strip()]:
            raise InputError(f"text {empty[0]} is empty", "give a text that contains words")
        with self._turn:
            if method not in self.methods:
                methods = " and ".join(self.methods) or "do neither, being a decoder"
                raise InputError(
                    f"{self.path}: cannot {method}, it can {methods}",
                    "runs of langlift adapt have fill and surprise; runs of langlift task classify, tag or parse",
                )
            found = answers(some) if some else []
        return found[0] if isinstance(texts, str) else found
