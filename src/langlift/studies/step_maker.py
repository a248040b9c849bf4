"""Makes the steps of a study, each once, from its settings and data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from langlift.config.loading import Given, preset_settings, resolve
from langlift.errors import InputError
from langlift.languages import Language
from langlift.studies.choices import Choice
from langlift.studies.decoders import is_decoder
from langlift.studies.step import Input, Source, Step, existing
from langlift.studies.study import Place, Study
from langlift.studies.study_file import SECTIONS
from langlift.tasks.task import task_recipe
from langlift.training.recipes import CAUSAL

SHOWN = 3
"""So many languages are named where something is left out."""
NOT_FOR_DECODERS = ("train_head",)
"""Published settings that a decoder's training does not have."""


@dataclass(frozen=True)
class Corner:
    """What all runs of one base, behaviour and seed have in common."""

    base: str
    behaviour: str | None
    seed: int

    @property
    def published(self) -> bool | None:
        """Whether published behaviour is on; None where that is no question."""
        return True if self.behaviour == "published" else None


class StepMaker:
    """Makes steps; one that is there already is used again."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.steps: dict[str, Step] = {}
        self.left_out: dict[str, list[str]] = {}
        self.mistakes: list[str] = []

    def is_decoder(self, corner: Corner) -> bool:
        """Whether the corner's base is one."""
        return is_decoder(corner.base, self.study)

    def told_left_out(self) -> list[str]:
        """The reasons, each once, with the languages."""
        told = []
        for reason, languages in self.left_out.items():
            more = f" and {len(languages) - SHOWN} more" if len(languages) > SHOWN else ""
            told.append(f"{', '.join(languages[:SHOWN])}{more}: {reason}")
        return told

    def _leave_out(self, language: Language, reason: str) -> None:
        languages = self.left_out.setdefault(reason, [])
        if str(language) not in languages:
            languages.append(str(language))

    def _choices(self, section: str) -> list[Choice]:
        axes = [axis for axis in self.study.axes.values() if axis.section == section]
        return [
            Choice({axis.name: (axis, value) for axis, value in zip(axes, values, strict=True)})
            for values in product(*(axis.values for axis in axes))
        ]

    def _add(
        self,
        corner: Corner,
        kind: str,
        settings: Any,
        inputs: Any,
        cell: dict[str, Any],
        serving: Mapping[str, Any] | None = None,
    ) -> Step:
        if self.study.axes.keys() & {"behaviour"}:
            cell["behaviour"] = corner.behaviour
        several = len(self.study.bases) > 1 or kind == "prompt"
        published = corner.published or self.study.preset == "published" or None
        step = Step(kind, settings, inputs, cell, published, several, serving or {})
        return self.steps.setdefault(step.hash, step)

    def _recipe(self, corner: Corner, section: str, given: Sequence[Given], task: str | None = None) -> Any | None:
        """A recipe of the study's settings; mistakes are kept and told at the end."""
        study = self.study
        published = preset_settings("published", section) if corner.published else []
        settings = [one for one in study.settings.get(section, ()) if one[1] not in study.data]
        if section == "adapt" and self.is_decoder(corner):
            published = [one for one in published if one[1] not in NOT_FOR_DECODERS]
            settings = [("the base", "objective", CAUSAL), *settings]  # where the study says nothing else
        try:
            sources: dict[str, Any] = {
                "base": corner.base,
                "preset": study.preset,
                "given": [*published, *settings, *given],
            }
            if task is not None:
                return task_recipe(task, **sources)
            return resolve(SECTIONS[section], section, **sources)
        except InputError as error:
            self.mistakes.append(error.message)
            return None

    def _text(
        self, corner: Corner, language: Language, name: str, graph: Choice, max_bytes: int | None
    ) -> Source | None:
        """The data of one name for a language: as it is, or a run that builds it, or one that cuts it."""
        place = self.study.data[name].get(language)
        if place is None:
            self._leave_out(language, f"no data '{name}'")
            return None
        where = {"base": None, "language": str(language), "data": name}
        source: Source
        if place.kind == "graph":
            recipe = self._recipe(corner, "graph", graph.settings("graph"))
            if recipe is None:
                return None
            settings = {"language": str(language), "sources": _names(place), **asdict(recipe)}
            inputs = {"sources": tuple(map(_source_file, place.paths))}
            source = self._add(corner, "graph", settings, inputs, where | graph.cell("graph"))
        elif place.kind == "corpus":
            source = self._corpus(corner, language, place, where)
        else:
            source = existing(place.paths[0])
        if max_bytes is None:
            return source
        return self._add(
            corner, "cut", {"max_bytes": max_bytes}, {"of": (source,)}, where | {"max_bytes": max_bytes}
        )

    def _corpus(self, corner: Corner, language: Language, place: Place, where: dict[str, Any]) -> Step:
        """A corpus built without the sentences that the study evaluates on."""
        study = self.study
        evaluation = [] if study.score is None else list(study.score.places.get(language, _NOWHERE).paths)
        for task in study.tasks.values():
            evaluation += task.data.get(language, _NOWHERE).paths
        inputs = {
            "sources": tuple(map(_source_file, place.paths)),
            "exclude": tuple(existing(path) for path in dict.fromkeys(evaluation) if Path(path).exists()),
        }
        settings = {"language": str(language), "sources": _names(place)}
        return self._add(corner, "corpus", settings, inputs, where)


_NOWHERE = Place("path", (), "")


def _names(place: Place) -> list[str]:
    """The sources without the folders they lie in: what a file is called may decide how it is read."""
    found = []
    for text in place.paths:
        kind, colon, path = text.partition(":")
        found.append(f"{kind}:{Path(path).name}" if colon and Path(path).is_absolute() else text)
    return found


def _source_file(text: str) -> Input:
    """``KIND:PATH`` with the hash of the file; a source of the hub, or cldr, stands for itself."""
    path = text.partition(":")[2]
    if path and Path(path).is_absolute():
        return Input(text, existing(path).sha256)
    return Input(text, existing(text).sha256)
