"""From a study to its runs: every combination of the axes, what several have in common once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from langlift.adapters.method import FUSIBLE
from langlift.config.loading import Given
from langlift.errors import InputError
from langlift.languages import Language
from langlift.studies.asking import AskingSteps
from langlift.studies.choices import Choice, is_unread
from langlift.studies.measuring import MeasuringSteps
from langlift.studies.step import Source, Step, base_model
from langlift.studies.step_maker import Corner
from langlift.studies.study import Study
from langlift.studies.study_file import HINT
from langlift.training.recipes import CAUSAL


@dataclass(frozen=True)
class StudyPlan:
    """The runs of a study, each after those that it needs, and what was left out, with the reason."""

    study: Study
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]


def plan_study(study: Study) -> StudyPlan:
    """All runs of a study.

    Raises:
        InputError: settings that do not go together, all of them at once; data that cannot be hashed.
    """
    planner = _Planner(study)
    for base in study.bases:
        for behaviour in sorted(study.values("behaviour"), key=str):  # what both share stands there as corrected
            for seed in study.values("seed"):
                planner.add(Corner(base, behaviour, seed))
    for behaviour in sorted(study.values("behaviour"), key=str):
        for seed in study.values("seed"):
            planner.ask(behaviour, seed)
    if planner.mistakes:
        raise InputError("; ".join(dict.fromkeys(planner.mistakes)), HINT)
    if not planner.steps:
        raise InputError(
            f"{study.path}: no run: every combination is left out", "; ".join(planner.told_left_out())
        )
    return StudyPlan(study, tuple(planner.steps.values()), tuple(planner.told_left_out()))


class _Planner(MeasuringSteps, AskingSteps):
    """All runs of a study."""

    def add(self, corner: Corner) -> None:
        """All runs with one base, behaviour and seed."""
        study = self.study
        subjects: Sequence[Language | None] = study.languages if study.family is None else [None]
        if study.family is not None and self.is_decoder(corner):
            self.mistakes.append(f"{corner.base}: a decoder, and 'family:' is for masked language models")
            return
        for measured in study.languages:
            self._measure(corner, measured, None, {})
        for language in subjects if study.data else ():
            trained: dict[tuple[Any, ...], list[tuple[str, Step]]] = {}
            combinations = product(
                self._choices("graph"),
                self._choices(study.training),
                self._choices("vocab"),
                study.values("max_bytes"),
                study.values("objective"),
                study.values("method"),
                study.values("data"),
            )
            for graph, choice, vocab, max_bytes, objective, method, data in combinations:
                step = self._adapter(corner, language, graph, choice, vocab, max_bytes, objective, method, data)
                if step is None:
                    continue
                for one in [language] if language is not None else study.languages:
                    self._measure(corner, one, step, dict(step.cell))
                if "+" not in data:
                    key = (graph, choice, vocab, max_bytes, objective, method)
                    trained.setdefault(tuple(map(repr, key)), []).append((data, step))
            if language is not None:
                for members in trained.values():
                    self._fuse(corner, language, members)

    def _adapter(
        self,
        corner: Corner,
        language: Language | None,
        graph: Choice,
        choice: Choice,
        vocab: Choice,
        max_bytes: int | None,
        objective: str | None,
        method: str,
        data: str,
    ) -> Step | None:
        """The run that trains an adapter, or the family's model."""
        study = self.study
        fixed: list[Given] = [(study.axes["method"].line, "method", method)]
        if objective is not None:
            fixed.append((study.axes["objective"].line, "objective", objective))
        if not any(key == "seed" for _, key, _ in study.settings.get(study.training, ())):
            fixed.append((study.axes["seed"].line, "seed", corner.seed))
        own = [
            (line, name, value)
            for line, block, settings in study.settings.get(study.training, ())
            if block == data and isinstance(settings, dict)
            for name, value in settings.items()
        ]
        recipe = self._recipe(corner, study.training, [*own, *fixed, *choice.settings(study.training)])
        if recipe is None:
            return None
        languages = [language] if language is not None else list(study.languages)
        if (recipe.objective == CAUSAL) != self.is_decoder(corner):
            kind = "masked language models" if self.is_decoder(corner) else "decoders"
            for one in languages:
                self._leave_out(one, f"{recipe.objective} with {Path(corner.base).name}: it is for {kind}")
            return None
        sources: dict[str, tuple[Source, ...]] = {}
        for one in languages:
            parts = [self._text(corner, one, name, graph, max_bytes) for name in data.split("+")]
            if None in parts:
                return None
            if recipe.objective == "targeted" and not any(map(_has_triples, parts)):
                self._leave_out(one, f"targeted on '{data}', which has no triples")
                return None
            sources[f"data:{one}"] = tuple(part for part in parts if part is not None)
        cell = {
            "language": str(language) if language is not None else study.family,
            "base": corner.base,
            "method": method,
            "data": data,
            "objective": recipe.objective,
            "task": None,
            "metric": "validation_loss",
            "seed": recipe.seed,
            **choice.cell(study.training, recipe),
            **({"max_bytes": max_bytes} if max_bytes is not None else {}),
            **self._graph_cell(graph, languages, data),
        }
        inputs: dict[str, tuple[Source, ...]] = {"base": (base_model(corner.base),), **sources}
        settings = {key: value for key, value in asdict(recipe).items() if not is_unread(recipe, key)}
        if language is not None:
            return self._add(corner, "adapt", settings | {"language": str(language)}, inputs, cell)
        if "vocab" in study.settings or vocab.values:
            cell |= vocab.cell("vocab")
            if (vocabulary := self._vocabulary(corner, vocab, inputs, sources)) is not None:
                inputs["vocabulary"] = (vocabulary,)
        return self._add(corner, "family", settings | {"family": study.family}, inputs, cell)

    def _graph_cell(self, graph: Choice, languages: Sequence[Language], data: str) -> dict[str, Any]:
        """The axes of graphs, None where no part of the data is a graph that the study builds."""
        kinds = {self.study.data[name][one].kind for name in data.split("+") for one in languages}
        return {key: value if "graph" in kinds else None for key, value in graph.cell("graph").items()}

    def _vocabulary(
        self,
        corner: Corner,
        vocab: Choice,
        inputs: Mapping[str, tuple[Source, ...]],
        sources: Mapping[str, tuple[Source, ...]],
    ) -> Step | None:
        given = vocab.settings("vocab")
        if any(key == "size" and value == "none" for _, key, value in given):
            return None
        recipe = self._recipe(corner, "vocab", given)
        if recipe is None:
            return None
        corpora = tuple(one for some in sources.values() for one in some)
        cell = {"language": self.study.family, "base": corner.base, **vocab.cell("vocab")}
        settings = {"family": self.study.family, **asdict(recipe)}
        return self._add(corner, "vocab", settings, {"base": inputs["base"], "corpora": corpora}, cell)

    def _fuse(self, corner: Corner, language: Language, members: Sequence[tuple[str, Step]]) -> None:
        """The tasks on the fusion of adapters that differ in their data alone."""
        for name, task in self.study.tasks.items():
            if "fused" not in task.use or language not in task.data:
                continue
            first = members[0][1]
            if len(members) < 2:
                self._leave_out(language, "fusion needs two adapters, and there is one")
                continue
            if first.cell["method"] not in FUSIBLE:
                self._leave_out(language, f"{first.cell['method']} has no adapter that can be fused")
                continue
            model: dict[str, tuple[Source, ...]] = {
                "base": (base_model(corner.base),),
                "adapters": tuple(step for _, step in members),
            }
            where = {**first.cell, "data": ",".join(data for data, _ in members)}
            self._task(corner, language, name, task, "fused", model, where, kind="fuse")


def _has_triples(source: Source | None) -> bool:
    """Whether data holds triples: a graph to build, or a built folder whose sentences have heads and tails."""
    if isinstance(source, Step):
        return source.kind == "graph" or (source.kind == "cut" and _has_triples(source.inputs["of"][0]))
    if source is None or not (first := Path(source.path, "train.jsonl")).is_file():
        return False
    with first.open(encoding="utf-8") as lines:
        return '"head"' in next(lines, "")
