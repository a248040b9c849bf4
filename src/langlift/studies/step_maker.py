"""Makes the steps of a study from its settings and data; equal ones once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

from langlift.adapters.method import METHODS, readers
from langlift.backbones.loading import is_causal
from langlift.config.loading import Given, preset_settings, resolve
from langlift.errors import InputError
from langlift.language_facts import base_languages
from langlift.languages import Language
from langlift.studies.step import Dependency, Input, Inputs, Step, existing
from langlift.studies.study import Study
from langlift.studies.study_file import SECTIONS
from langlift.tasks.task import task_recipe
from langlift.training.recipes import CAUSAL

LANGUAGES_SHOWN = 3
NOT_FOR_DECODERS = ("train_head",)
"""Published settings that the training of a decoder does not have."""
Choice = Mapping[str, Any]
"""One combination of axes: name -> value."""


@dataclass
class Draft:
    """A plan in the making: its steps by hash, what is left out (reason -> languages), and errors."""

    steps: dict[str, Step] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def reasons(self) -> tuple[str, ...]:
        """Each reason why something is left out, with the languages."""
        found = []
        for reason, languages in self.left_out.items():
            more = f" and {len(languages) - LANGUAGES_SHOWN} more" if len(languages) > LANGUAGES_SHOWN else ""
            found.append(f"{', '.join(languages[:LANGUAGES_SHOWN])}{more}: {reason}")
        return tuple(found)


@dataclass
class StepMaker:
    """Makes the steps of one base, behaviour and seed."""

    study: Study
    draft: Draft
    base: str
    behaviour: str | None
    seed: int

    @cached_property
    def is_decoder(self) -> bool:
        """Whether the base is a decoder."""
        return is_decoder(self.base, self.study)

    def _leave_out(self, language: Language, reason: str) -> None:
        languages = self.draft.left_out.setdefault(reason, [])
        if str(language) not in languages:
            languages.append(str(language))

    def _choices(self, sections: Sequence[str], names: Sequence[str] = ()) -> Iterator[Choice]:
        """Every combination of the axes of some sections, and of axes given by name."""
        axes = [axis for section in sections for axis in self.study.axes.values() if axis.section == section]
        keys = [*(axis.name for axis in axes), *names]
        for values in product(*map(self.study.values, keys)):
            yield dict(zip(keys, values, strict=True))

    def _given(self, choice: Choice, section: str) -> list[Given]:
        """The settings of a section in a combination."""
        chosen = [(self.study.axes[name], value) for name, value in choice.items() if name in self.study.axes]
        return [(axis.line, axis.setting, value) for axis, value in chosen if axis.section == section]

    def _cell(self, choice: Choice, section: str, recipe: Any = None) -> dict[str, Any]:
        """The values of a section's axes for tables; None where the recipe's method does not read the setting."""
        axes = [self.study.axes[name] for name in choice if name in self.study.axes]
        return {
            axis.name: None if recipe and is_unread(recipe, axis.setting) else _shown(choice[axis.name])
            for axis in axes
            if axis.section == section
        }

    def _add(
        self,
        kind: str,
        settings: Mapping[str, Any],
        inputs: Inputs,
        cell: Mapping[str, Any],
        serving: Mapping[str, Any] | None = None,
    ) -> Step:
        published = "published" in (self.behaviour, self.study.preset) or None
        if "behaviour" in self.study.axes:
            cell = {**cell, "behaviour": self.behaviour}
        several = len(self.study.bases) > 1 or kind == "prompt"
        step = Step(kind, settings, inputs, cell, published, several, serving or {})
        return self.draft.steps.setdefault(step.hash, step)

    def _recipe(self, section: str, given: Sequence[Given], task: str | None = None) -> Any | None:
        """A recipe from the study's settings; errors are collected."""
        published = preset_settings("published", section) if self.behaviour == "published" else []
        settings = [one for one in self.study.settings.get(section, ()) if one[1] not in self.study.data]
        if section == "adapt" and self.is_decoder:
            published = [one for one in published if one[1] not in NOT_FOR_DECODERS]
            settings = [("the base", "objective", CAUSAL), *settings]  # unless the study says otherwise
        sources: dict[str, Any] = {
            "base": self.base,
            "preset": self.study.preset,
            "given": [*published, *settings, *given],
        }
        try:
            if task is not None:
                return task_recipe(task, **sources)
            return resolve(SECTIONS[section], section, **sources)
        except InputError as error:
            self.draft.errors.append(error.message)
            return None

    def _data(self, language: Language, name: str, choice: Choice) -> Dependency | None:
        """The data of one name for a language: as it is, built by a run, or reduced by one."""
        source = self.study.data[name].get(language)
        if source is None:
            self._leave_out(language, f"no data '{name}'")
            return None
        cell = {"base": None, "language": str(language), "data": name}
        found: Dependency
        if source.kind == "path":
            found = existing(source.paths[0])
        else:
            settings: dict[str, Any] = {"language": str(language), "sources": [*map(_source_name, source.paths)]}
            inputs = {"sources": tuple(map(_source_input, source.paths))}
            if source.kind == "corpus":
                inputs["exclude"] = self._evaluation_data(language)
                found = self._add("corpus", settings, inputs, cell)
            elif (recipe := self._recipe("graph", self._given(choice, "graph"))) is None:
                return None
            else:
                cell_of_graph = cell | self._cell(choice, "graph")
                found = self._add("graph", settings | asdict(recipe), inputs, cell_of_graph)
        if (max_bytes := choice.get("max_bytes")) is None:
            return found
        return self._add("cut", {"max_bytes": max_bytes}, {"of": (found,)}, cell | {"max_bytes": max_bytes})

    def _evaluation_data(self, language: Language) -> tuple[Input, ...]:
        """The data of scores and tasks on this machine, which corpora must not contain."""
        score = self.study.score
        sources = [] if score is None or isinstance(score.text, str) else [score.text.get(language)]
        sources += [task.data.get(language) for task in self.study.tasks.values()]
        paths = [path for source in sources if source is not None for path in source.paths]
        return tuple(existing(path) for path in dict.fromkeys(paths) if Path(path).exists())


def is_unread(recipe: Any, setting: str) -> bool:
    """Whether the recipe's method or objective does not read a setting."""
    if setting == "targeted_as_published":
        return bool(recipe.objective != "targeted")
    if setting == "masking_share":
        return bool(recipe.objective in ("targeted", CAUSAL))
    if setting == "train_head" and (recipe.objective == CAUSAL or METHODS[recipe.method].whole_model):
        return True
    if setting == "path":
        return True
    return bool(methods := readers(setting)) and recipe.method not in methods


def is_decoder(base: str, study: Study) -> bool:
    """Whether a base is a decoder, by its configuration; an unknown one is if the study trains only ``causal``."""
    known = _is_known_decoder(base)
    if known is not None:
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


def _shown(value: Any) -> Any:
    """An axis value in a cell: a list as one text."""
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else value


def _source_name(text: str) -> str:
    """A source without its folder: the name of a file may determine how it is read."""
    kind, colon, path = text.partition(":")
    return f"{kind}:{Path(path).name}" if colon and Path(path).is_absolute() else text


def _source_input(text: str) -> Input:
    """``KIND:PATH`` with the hash of the file; a hub source or ``cldr`` is its own identity."""
    path = text.partition(":")[2]
    return Input(text, existing(path if Path(path).is_absolute() else text).sha256)
