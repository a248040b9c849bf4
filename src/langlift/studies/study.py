"""A study: what is compared, on which languages and data, and by what."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from langlift.config.loading import Given
from langlift.languages import Language

USES = ("alone", "stacked", "fused", "full")
"""How a task is trained: a task adapter alone on the base, on a language adapter, on several fused ones, or the
whole base model without any adapter."""
BEHAVIOURS = ("corrected", "published")


@dataclass(frozen=True)
class Place:
    """A data set for one language: paths or sources, and whether they are used, or a graph or corpus is built."""

    kind: str
    paths: tuple[str, ...]
    line: str


@dataclass(frozen=True)
class TaskUse:
    """A task of a study: its data and perhaps other training data by language, and how it is trained."""

    data: Mapping[Language, Place]
    train_data: Mapping[Language, Place]
    use: tuple[str, ...]


@dataclass(frozen=True)
class Scoring:
    """What pseudo-perplexity is measured on: a name of ``data`` or places of its own; how, and of how much."""

    on: str
    places: Mapping[Language, Place]
    variants: tuple[str, ...]
    sentences: int | None


@dataclass(frozen=True)
class Aligning:
    """Parallel sentences, and what their vectors are compared ``to``: languages (by code) and base models.

    ``places`` has the text of the study's languages, and of those compared with.
    """

    places: Mapping[Language, Place]
    to: tuple[str, ...]
    layers: str
    sentences: int | None


@dataclass(frozen=True)
class PromptedModel:
    """A model that is asked: a causal model here, or the base URL of a server that knows it as ``model_name``."""

    model: str
    model_name: str | None
    key_variable: str | None

    @property
    def name(self) -> str:
        """For people and tables."""
        return self.model_name or self.model


@dataclass(frozen=True)
class Prompting:
    """Models that are asked, about which of the study's tasks, with how many examples, by whose templates."""

    models: tuple[PromptedModel, ...]
    tasks: tuple[str, ...]
    shots: tuple[int, ...]
    templates: Mapping[str, Mapping[Language, Place]]


@dataclass(frozen=True)
class Axis:
    """One axis: ``name`` as written; the ``section`` and ``setting`` it sets (none: data, method, seed ...)."""

    name: str
    section: str
    setting: str
    values: tuple[Any, ...]
    line: str


@dataclass(frozen=True)
class Study:
    """A study as written: all of it is checked, but for what only reading the data can tell."""

    name: str
    path: Path
    bases: tuple[str, ...]
    languages: tuple[Language, ...]
    family: str | None
    data: Mapping[str, Mapping[Language, Place]]
    axes: Mapping[str, Axis]
    score: Scoring | None
    alignment: Aligning | None
    tasks: Mapping[str, TaskUse]
    prompt: Prompting | None
    settings: Mapping[str, tuple[Given, ...]]
    preset: str | None

    @property
    def training(self) -> str:
        """The section of settings that adapters, or the family's model, are trained by."""
        return "adapt" if self.family is None else "adapt-family"

    def values(self, name: str) -> tuple[Any, ...]:
        """The values of an axis; nothing (None) of one that the study does not have."""
        return self.axes[name].values if name in self.axes else (None,)


def study_text(study: Study) -> str:
    """The study as a file that gives the same study from any folder: paths whole, languages by code."""

    def places(some: Mapping[Language, Place]) -> dict[str, Any]:
        return {str(language): list(place.paths) for language, place in some.items()}

    content: dict[str, Any] = {"name": study.name}
    if study.preset is not None:
        content["preset"] = study.preset
    content |= {"base": list(study.bases)} if study.bases else {}
    content |= {"languages": [str(language) for language in study.languages]}
    if study.family is not None:
        content["family"] = study.family
    content["data"] = {name: places(some) for name, some in study.data.items()}
    content["axes"] = {name: list(axis.values) for name, axis in study.axes.items()}
    if study.score is not None:
        content["score"] = {
            "text": study.score.on or places(study.score.places),
            "variant": list(study.score.variants),
            **({"sentences": study.score.sentences} if study.score.sentences else {}),
        }
    if study.alignment is not None:
        content["alignment"] = {
            "text": places(study.alignment.places),
            "with": list(study.alignment.to),
            "layers": study.alignment.layers,
            **({"sentences": study.alignment.sentences} if study.alignment.sentences else {}),
        }
    content["tasks"] = {
        name: {
            "data": places(task.data),
            **({"train_data": places(task.train_data)} if task.train_data else {}),
            "use": list(task.use),
        }
        for name, task in study.tasks.items()
    }
    if study.prompt is not None:
        content["prompt"] = {
            "model": [
                {key: text for key, text in vars(one).items() if text} if one.model_name else one.model
                for one in study.prompt.models
            ],
            "tasks": list(study.prompt.tasks),
            "shots": list(study.prompt.shots),
            "template": {task: places(some) for task, some in study.prompt.templates.items()},
        }
    for section, given in study.settings.items():
        content[section] = content.get(section, {}) | {key: value for _, key, value in given}
    return yaml.safe_dump({k: v for k, v in content.items() if v != {}}, sort_keys=False, allow_unicode=True)
