"""A plan under construction: runs are added once, with settings and data as the study gives them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from langlift.config.loading import Given, preset_settings, resolve
from langlift.corpus.building import MAX_BYTES
from langlift.errors import InputError
from langlift.languages import Language
from langlift.studies.step import SCORED, Dependency, Inputs, PromptCall, Step, data_source, existing, is_unread
from langlift.studies.study import DataSource, Study, is_decoder
from langlift.studies.study_file import SECTIONS
from langlift.tasks.task import task_recipe
from langlift.training.recipes import CAUSAL

NOT_FOR_DECODERS = ("train_head",)
"""Published settings that the training of a decoder does not have."""
CORPUS_FOR_TRAIN = 1.02 / 0.8
"""Bytes of a corpus for each byte of its train split, which is a random 80 % of the documents."""
Choice = Mapping[str, Any]
"""One combination of axes: name -> value."""


@dataclass
class Draft:
    """A plan under construction, for one base (or prompted model), behaviour and seed.

    ``steps`` are by hash; ``left_out`` has the languages for each reason. They and ``errors`` are common to all.
    """

    study: Study
    base: str = ""
    behaviour: str | None = None
    seed: int = 0
    steps: dict[str, Step] = field(default_factory=dict)
    left_out: dict[str, dict[str, None]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @cached_property
    def is_decoder(self) -> bool:
        """Whether the base is a decoder."""
        return is_decoder(self.base, self.study)

    def _leave_out(self, language: Language, reason: str) -> None:
        self.left_out.setdefault(reason, {})[str(language)] = None

    def _choices(self, sections: Sequence[str], names: Sequence[str] = ()) -> Iterator[Choice]:
        """Every combination of the axes of some sections, and of axes given by name."""
        keys = [*(axis.name for section in sections for axis in self.study.axes_of(section)), *names]
        for values in product(*map(self.study.values, keys)):
            yield dict(zip(keys, values, strict=True))

    def _given(self, choice: Choice, section: str) -> list[Given]:
        return [(axis.line, axis.setting, choice[axis.name]) for axis in self.study.axes_of(section)]

    def _cell(self, choice: Choice, section: str, recipe: Any = None) -> dict[str, Any]:
        """The values of a section's axes for tables; None where the recipe's method does not read the setting."""
        return {
            axis.name: None if recipe and is_unread(recipe, axis.setting) else _shown(choice[axis.name])
            for axis in self.study.axes_of(section)
        }

    def _add(
        self,
        kind: str,
        settings: Mapping[str, Any],
        inputs: Inputs,
        cell: Mapping[str, Any],
        call: PromptCall | None = None,
    ) -> Step:
        published = "published" in (self.behaviour, self.study.preset) or None
        if "behaviour" in self.study.axes:
            cell = {**cell, "behaviour": self.behaviour}
        several = len(self.study.bases) > 1 or kind == "prompt"
        step = Step(kind, settings, inputs, cell, published, several, call)
        return self.steps.setdefault(step.hash, step)

    def _recipe(self, section: str, given: Sequence[Given], task: str | None = None) -> Any | None:
        """A recipe from the study's settings; errors are collected."""
        published = preset_settings("published", section) if self.behaviour == "published" else []
        settings = [one for one in self.study.settings.get(section, ()) if one[1] not in self.study.data]
        if section == "adapt" and self.is_decoder:
            published = [one for one in published if one[1] not in NOT_FOR_DECODERS]
            settings = [("the base", "objective", CAUSAL), *settings]  # unless the study overrides it
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
            self.errors.append(error.message)
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
            settings, inputs = _to_build(language, source)
            if source.kind == "corpus":
                inputs = {**inputs, "exclude": self._evaluation_data(language)}
                largest = max((size for size in self.study.values("max_bytes") if size), default=0)
                if (budget := round(largest * CORPUS_FOR_TRAIN)) > MAX_BYTES:
                    settings["max_bytes"] = budget
                found = self._add("corpus", settings, inputs, cell)
            elif (recipe := self._recipe("graph", self._given(choice, "graph"))) is None:
                return None
            else:
                cell_of_graph = cell | self._cell(choice, "graph")
                found = self._add("graph", settings | asdict(recipe), inputs, cell_of_graph)
        if (max_bytes := choice.get("max_bytes")) is None:
            return found
        return self._add("cut", {"max_bytes": max_bytes}, {"of": (found,)}, cell | {"max_bytes": max_bytes})

    def _scored(self, language: Language) -> Dependency | None:
        """The sentences to score: a file or folder, or FLORES, which a run downloads; None if they are in data."""
        score = self.study.score
        if score is None or isinstance(score.text, str):
            return None
        source = score.text[language]
        if source.kind == "path":
            return existing(source.paths[0])
        cell = {"base": None, "language": str(language), "data": SCORED}
        return self._add("corpus", *_to_build(language, source), cell)

    def _evaluation_data(self, language: Language) -> tuple[Dependency, ...]:
        """The data of scores, and of tasks on this machine, which corpora must not contain."""
        scored = self._scored(language)
        sources = [task.data.get(language) for task in self.study.tasks.values()]
        paths = [path for source in sources if source is not None for path in source.paths]
        found = [existing(path) for path in dict.fromkeys(paths) if Path(path).exists()]
        return (*([] if scored is None else [scored]), *(one for one in found if one != scored))


def _shown(value: Any) -> Any:
    """An axis value in a cell: a list as one text."""
    return ",".join(map(str, value)) or "none" if isinstance(value, list) else value


def _to_build(language: Language, source: DataSource) -> tuple[dict[str, Any], Inputs]:
    """Settings, with only the names of files (which may determine how they are read), and inputs."""
    parts = [(text, *text.partition(":")[::2]) for text in source.paths]
    names = [f"{kind}:{Path(path).name}" if Path(path).is_absolute() else text for text, kind, path in parts]
    return {"language": str(language), "sources": names}, {"sources": tuple(map(data_source, source.paths))}
