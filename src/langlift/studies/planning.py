"""From a study to its runs: every combination of the axes, what several have in common once."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from langlift.config.loading import Given, default_preset, preset_settings, resolve
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD
from langlift.languages import Language
from langlift.studies.choices import Choice, is_unread
from langlift.studies.step import Input, Source, Step, base_model, existing
from langlift.studies.study import Place, Study, TaskUse
from langlift.studies.study_file import HINT, SECTIONS
from langlift.tasks.known import TASKS

SHOWN = 3
"""So many languages are named where something is left out."""


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
        for behaviour in study.values("behaviour"):
            for seed in study.values("seed"):
                planner.add(_Corner(base, behaviour, seed))
    if planner.mistakes:
        raise InputError("; ".join(dict.fromkeys(planner.mistakes)), HINT)
    if not planner.steps:
        raise InputError(
            f"{study.path}: no run: every combination is left out", "; ".join(planner.told_left_out())
        )
    return StudyPlan(study, tuple(planner.steps.values()), tuple(planner.told_left_out()))


@dataclass(frozen=True)
class _Corner:
    base: str
    behaviour: str | None
    seed: int

    @property
    def published(self) -> bool | None:
        return True if self.behaviour == "published" else None


class _Planner:
    """Makes steps; one that is there already is used again."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.steps: dict[str, Step] = {}
        self.left_out: dict[str, list[str]] = {}
        self.mistakes: list[str] = []

    def add(self, corner: _Corner) -> None:
        """All runs with one base, behaviour and seed."""
        study = self.study
        subjects: Sequence[Language | None] = study.languages if study.family is None else [None]
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

    def _add(self, corner: _Corner, kind: str, settings: Any, inputs: Any, cell: dict[str, Any]) -> Step:
        if self.study.axes.keys() & {"behaviour"}:
            cell["behaviour"] = corner.behaviour
        several = len(self.study.bases) > 1
        published = corner.published or self.study.preset == "published" or None
        step = Step(kind, settings, inputs, cell, published, several)
        return self.steps.setdefault(step.hash, step)

    def _recipe(
        self, corner: _Corner, section: str, given: Sequence[Given], task: str | None = None
    ) -> Any | None:
        """A recipe of the study's settings; mistakes are kept and told at the end."""
        study = self.study
        published = preset_settings("published", section) if corner.published else []
        settings = [one for one in study.settings.get(section, ()) if one[1] not in study.data]
        try:
            return resolve(
                SECTIONS[section],
                section,
                preset=default_preset(corner.base, study.preset),
                task=task,
                given=[*published, *settings, *given],
            )
        except InputError as error:
            self.mistakes.append(error.message)
            return None

    def _text(
        self, corner: _Corner, language: Language, name: str, graph: Choice, max_bytes: int | None
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

    def _corpus(self, corner: _Corner, language: Language, place: Place, where: dict[str, Any]) -> Step:
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

    def _adapter(
        self,
        corner: _Corner,
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
        corner: _Corner,
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

    def _measure(self, corner: _Corner, language: Language, trained: Step | None, cell: dict[str, Any]) -> None:
        """Score and task runs of a trained model, or of the base alone."""
        model: dict[str, tuple[Source, ...]] = {"base": (base_model(corner.base),)}
        if trained is not None:
            model = {"trained": (trained,), "base": (base_model(corner.base),)}
        where = {"method": None, "data": None, "objective": None, **cell}
        where |= {"language": str(language), "base": corner.base}
        self._score(corner, language, model, where, trained)
        self._align(corner, language, model, where, trained)
        for name, task in self.study.tasks.items():
            if language not in task.data:
                self._leave_out(language, f"no data for {name}")
                continue
            uses = [use for use in task.use if (use == "stacked") == (trained is not None) and use != "fused"]
            for use in uses:
                self._task(corner, language, name, task, use, model, where)

    def _score(
        self,
        corner: _Corner,
        language: Language,
        model: Mapping[str, tuple[Source, ...]],
        where: Mapping[str, Any],
        trained: Step | None,
    ) -> None:
        scoring = self.study.score
        if scoring is None:
            return
        if scoring.on:
            text, split = self._text(corner, language, scoring.on, Choice(), None), "test"
        else:
            text, split = existing(scoring.places[language].paths[0]), None
        if text is None:
            return
        for variant in scoring.variants:
            variant = "published" if corner.published and variant == "default" else variant
            settings = {
                "language": str(language),
                "split": split,
                "sentences": scoring.sentences,
                "variant": variant,
                "precision": "auto",
            }
            metric = "per_character" if variant == WITHIN_WORD else "pseudo_perplexity"
            cell = {**where, "task": None, "metric": metric}
            cell["seed"] = trained.cell["seed"] if trained is not None else None
            if len(scoring.variants) > 1:
                cell["variant"] = variant
            self._add(corner, "score", settings, {**model, "text": (text,)}, cell)

    def _align(
        self,
        corner: _Corner,
        language: Language,
        model: Mapping[str, tuple[Source, ...]],
        where: Mapping[str, Any],
        trained: Step | None,
    ) -> None:
        """The model's vectors of the language's sentences beside its own of a translation, or another base's."""
        aligning = self.study.alignment
        if aligning is None:
            return
        texts = {str(one): existing(place.paths[0]) for one, place in aligning.places.items()}
        for other in aligning.to:
            if other == str(language) or (other == corner.base and trained is None):
                continue
            inputs = {**model, "text": (texts[str(language)],)}
            inputs |= {"other": (texts[other],)} if other in texts else {"other_base": (base_model(other),)}
            settings = {"language": str(language), "layers": aligning.layers, "sentences": aligning.sentences}
            cell = {**where, "task": None, "metric": "cka", "with": other}
            cell["seed"] = trained.cell["seed"] if trained is not None else None
            self._add(corner, "alignment", settings, inputs, cell)

    def _task(
        self,
        corner: _Corner,
        language: Language,
        name: str,
        task: TaskUse,
        use: str,
        model: Mapping[str, tuple[Source, ...]],
        where: Mapping[str, Any],
        kind: str = "task",
    ) -> None:
        for choice in self._choices("task"):
            fixed = [("use", "method", "full")] if use == "full" else []
            seeds = [(self.study.axes["seed"].line, "seeds", [corner.seed])]
            recipe = self._recipe(corner, "task", [*choice.settings("task"), *fixed, *seeds], task=name)
            if recipe is None:
                continue
            adapter = use in ("stacked", "fused") and where["method"] != "full"
            if recipe.method == "full" and adapter:
                self._leave_out(language, f"{name} ({use}): the whole model does not train on top of an adapter")
                continue
            unused = TASKS[name].unused
            settings = {
                key: value
                for key, value in asdict(recipe).items()
                if key not in unused and not is_unread(recipe, key)
            }
            inputs = {**model, "data": (existing(task.data[language].paths[0]),)}
            if language in task.train_data:
                inputs["train_data"] = tuple(map(existing, task.train_data[language].paths))
            cell = {
                **where,
                "task": name,
                "use": use,
                "metric": TASKS[name].metric,
                "seed": corner.seed,
                **choice.cell("task", recipe),
            }
            self._add(corner, kind, {"language": str(language), "task": name, **settings}, inputs, cell)

    def _fuse(self, corner: _Corner, language: Language, members: Sequence[tuple[str, Step]]) -> None:
        """The tasks on the fusion of adapters that differ in their data alone."""
        for name, task in self.study.tasks.items():
            if "fused" not in task.use or language not in task.data:
                continue
            first = members[0][1]
            if len(members) < 2:
                self._leave_out(language, "fusion needs two adapters, and there is one")
                continue
            if first.cell["method"] in ("lora", "full"):
                self._leave_out(language, f"{first.cell['method']} has no adapter that can be fused")
                continue
            model: dict[str, tuple[Source, ...]] = {
                "base": (base_model(corner.base),),
                "adapters": tuple(step for _, step in members),
            }
            where = {**first.cell, "data": ",".join(data for data, _ in members)}
            self._task(corner, language, name, task, "fused", model, where, kind="fuse")


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


def _has_triples(source: Source | None) -> bool:
    """Whether data holds triples: a graph to build, or a built folder whose sentences have heads and tails."""
    if isinstance(source, Step):
        return source.kind == "graph" or (source.kind == "cut" and _has_triples(source.inputs["of"][0]))
    if source is None or not (first := Path(source.path, "train.jsonl")).is_file():
        return False
    with first.open(encoding="utf-8") as lines:
        return '"head"' in next(lines, "")
