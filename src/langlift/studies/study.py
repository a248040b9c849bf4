"""The description of a study: what is compared, on which languages and data, and how it is evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from langlift.backbones.loading import is_causal
from langlift.config.loading import Given, preset_settings
from langlift.config.settings import setting
from langlift.errors import InputError
from langlift.evaluation.alignment import LAYERS
from langlift.evaluation.pseudo_perplexity import VARIANTS
from langlift.language_facts import base_languages
from langlift.languages import Language
from langlift.training.recipes import CAUSAL

USES = ("alone", "stacked", "fused", "full")
"""How a task is trained: as a task adapter on the base, on a language adapter or on several fused ones; or by
training the whole base model."""
PROMPTED_USE = "prompted"
"""The use of a task by a large model that is only prompted."""
BEHAVIOURS = ("corrected", "published")
KEEP = ("models", "adapters")
"""What finished runs keep besides metrics and predictions: everything trained, or no whole models."""


@dataclass(frozen=True)
class DataSource:
    """Data for one language: a ``path`` that is used as it is, or the sources of a ``graph`` or ``corpus``."""

    kind: str
    paths: tuple[str, ...]


ByLanguage = Mapping[Language, DataSource]


@dataclass(frozen=True)
class StudyTask:
    """A task of a study: its data, other training data (zero-shot), and how it is trained."""

    data: ByLanguage
    train_data: ByLanguage
    use: tuple[str, ...] = setting(("alone", "stacked"), "how it is trained", choices=USES, min_items=1)


@dataclass(frozen=True)
class Scoring:
    """The data on which pseudo-perplexity is measured: a name in ``data`` or separate data."""

    text: str | ByLanguage
    variant: tuple[str, ...] = setting(("default",), "how it is computed", choices=VARIANTS, min_items=1)
    sentences: int = setting(0, "size of a random sample, always the same one (0: all)", minimum=1)


@dataclass(frozen=True)
class Alignment:
    """Parallel sentences, and the languages (by code) and bases that their vectors are compared with.

    ``text`` includes the languages that are compared with.
    """

    text: ByLanguage
    compared_with: tuple[str, ...]
    layers: str = setting("last", "whose vectors are compared", choices=LAYERS)
    sentences: int = setting(0, "only the first ones (0: all)", minimum=1)


@dataclass(frozen=True)
class PromptedModel:
    """A causal model on this machine, or the base URL of a server that knows it as ``model_name``."""

    model: str
    model_name: str | None
    key_variable: str | None

    @property
    def name(self) -> str:
        """The name for tables."""
        return self.model_name or self.model


@dataclass(frozen=True)
class Prompting:
    """The models that are prompted, the tasks, numbers of examples, and template files by task."""

    model: tuple[PromptedModel, ...]
    tasks: tuple[str, ...]
    template: Mapping[str, ByLanguage]
    shots: tuple[int, ...] = setting((0,), "numbers of examples", minimum=0, min_items=1)


@dataclass(frozen=True)
class Axis:
    """An axis: ``section`` and ``setting`` are what it sets; both are empty for data, method, objective, ..."""

    name: str
    section: str
    setting: str
    values: tuple[Any, ...]
    line: str


@dataclass(frozen=True)
class Study:
    """A study file's content, checked as far as that is possible without reading the data."""

    name: str
    path: Path
    bases: tuple[str, ...]
    languages: tuple[Language, ...]
    family: str | None
    data: Mapping[str, ByLanguage]
    axes: Mapping[str, Axis]
    score: Scoring | None
    alignment: Alignment | None
    tasks: Mapping[str, StudyTask]
    prompt: Prompting | None
    settings: Mapping[str, tuple[Given, ...]]
    preset: str | None
    keep: str = setting(KEEP[0], "what finished runs keep", choices=KEEP)

    @property
    def training(self) -> str:
        """The section of the settings that adapters, or the family's model, are trained with."""
        return "adapt" if self.family is None else "adapt-family"

    def axes_of(self, section: str) -> list[Axis]:
        """The axes that set a setting of a section."""
        return [axis for axis in self.axes.values() if axis.section == section]

    def values(self, name: str) -> tuple[Any, ...]:
        """The values of an axis; ``(None,)`` if the study does not have it."""
        return self.axes[name].values if name in self.axes else (None,)


def is_decoder(base: str, study: Study) -> bool:
    """Whether a base is a decoder, by its configuration; an unknown one is if the study trains only ``causal``."""
    if (known := _is_known_decoder(base)) is not None:
        return known
    if "objective" in study.axes:
        return study.values("objective") == (CAUSAL,)
    preset = [] if study.preset is None else preset_settings(study.preset, study.training)
    given = [value for _, key, value in [*preset, *study.settings.get(study.training, ())] if key == "objective"]
    return given[-1:] == [CAUSAL]


@cache
def _is_known_decoder(base: str) -> bool | None:
    """None if the configuration cannot be read, or the architecture is not supported."""
    if base in base_languages():  # all masked models; nothing has to be downloaded
        return False
    try:
        return is_causal(base)
    except InputError:
        return None


def study_text(study: Study) -> str:
    """The study as a file that can be read from any folder: with absolute paths and language codes."""
    alignment = study.alignment
    content = {
        "name": study.name,
        "preset": study.preset,
        "base": study.bases,
        "languages": study.languages,
        "family": study.family,
        "data": study.data,
        "axes": {name: axis.values for name, axis in study.axes.items()},
        "score": study.score,
        "alignment": alignment and {"with": alignment.compared_with, **vars(alignment), "compared_with": None},
        "tasks": study.tasks,
        "prompt": study.prompt,
        "keep": study.keep,
    }
    content = _plain(content)
    for section, given in study.settings.items():
        content[section] = content.get(section, {}) | {key: value for _, key, value in given}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    """The value in types of YAML; a mapping without what is empty."""
    if isinstance(value, Language):
        return str(value)
    if isinstance(value, DataSource):
        return list(value.paths)
    if isinstance(value, PromptedModel) and value.model_name is None:
        return value.model
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items() if one}
    if is_dataclass(value):
        return _plain(vars(value))
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
