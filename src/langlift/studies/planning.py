"""From a study to its runs: every combination of the axes; what several combinations share is run once."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from langlift.adapters.method import FUSIBLE, METHODS, is_whole_model
from langlift.config.loading import Given
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD
from langlift.languages import Language
from langlift.studies.prompt_steps import PromptStepMaker
from langlift.studies.step import Dependency, Inputs, Step, base_model, existing
from langlift.studies.step_maker import Choice, Draft, StepMaker, is_decoder, is_unread
from langlift.studies.study import Study
from langlift.studies.study_file import HINT
from langlift.tasks.task import TASKS
from langlift.training.recipes import CAUSAL

WHOLE_MODEL = next(name for name, method in METHODS.items() if method.whole_model)


@dataclass(frozen=True)
class StudyPlan:
    """The runs of a study, each after those it depends on, and what is left out, with the reason."""

    study: Study
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]


def plan_study(study: Study) -> StudyPlan:
    """All runs of a study.

    Raises:
        InputError: all settings that cannot be combined; data that cannot be read.
    """
    draft = Draft()
    behaviours = sorted(study.values("behaviour"), key=str)  # a run that both share is listed as corrected
    for base, behaviour, seed in product(study.bases, behaviours, study.values("seed")):
        _StepMaker(study, draft, base, behaviour, seed).add_all()
    if study.prompt is not None:
        for behaviour, seed, model in product(behaviours, study.values("seed"), study.prompt.model):
            PromptStepMaker(study, draft, model.name, behaviour, seed).add_all(study.prompt, model)
    if draft.errors:
        raise InputError("; ".join(dict.fromkeys(draft.errors)), HINT)
    if not draft.steps:
        raise InputError(f"{study.path}: no run: every combination is left out", "; ".join(draft.reasons()))
    return StudyPlan(study, tuple(draft.steps.values()), draft.reasons())


class _StepMaker(StepMaker):
    """Everything that is trained and evaluated with one base, behaviour and seed."""

    def add_all(self) -> None:
        study = self.study
        if study.family is not None and self.is_decoder:
            self.draft.errors.append(f"{self.base}: a decoder, and 'family:' is for masked language models")
            return
        for language in study.languages:
            self._evaluate(language, None)
        if not study.data:
            return
        names = ("max_bytes", "objective", "method", "data")
        choices = list(self._choices(("graph", study.training, "vocab"), names))
        if study.family is not None:
            for choice in choices:
                if (step := self._train(None, choice)) is not None:
                    for language in study.languages:
                        self._evaluate(language, step)
            return
        for language in study.languages:
            differ_in_data: dict[str, dict[str, Step]] = {}
            for choice in choices:
                if (step := self._train(language, choice)) is None:
                    continue
                self._evaluate(language, step)
                if "+" not in choice["data"]:
                    others = repr({name: value for name, value in choice.items() if name != "data"})
                    differ_in_data.setdefault(others, {})[choice["data"]] = step
            for adapters in differ_in_data.values():
                self._fuse(language, adapters)

    def _train(self, language: Language | None, choice: Choice) -> Step | None:
        """The run that trains an adapter, or the family's model."""
        study, section, data = self.study, self.study.training, choice["data"]
        given: list[Given] = [
            (line, name, value)
            for line, block, settings in study.settings.get(section, ())
            if block == data and isinstance(settings, dict)
            for name, value in settings.items()
        ]
        given.append((study.axes["method"].line, "method", choice["method"]))
        if choice["objective"] is not None:
            given.append((study.axes["objective"].line, "objective", choice["objective"]))
        if not any(name == "seed" for _, name, _ in study.settings.get(section, ())):
            given.append((study.axes["seed"].line, "seed", self.seed))
        recipe = self._recipe(section, [*given, *self._given(choice, section)])
        if recipe is None:
            return None
        languages = study.languages if language is None else (language,)
        if (recipe.objective == CAUSAL) != self.is_decoder:
            kind = "masked language models" if self.is_decoder else "decoders"
            for one in languages:
                self._leave_out(one, f"{recipe.objective} with {Path(self.base).name}: it is for {kind}")
            return None
        inputs: dict[str, tuple[Dependency, ...]] = {"base": (base_model(self.base),)}
        for one in languages:
            parts = [self._data(one, name, choice) for name in data.split("+")]
            if None in parts:
                return None
            if recipe.objective == "targeted" and not any(map(_has_triples, parts)):
                self._leave_out(one, f"targeted on '{data}', which has no triples")
                return None
            inputs[f"data:{one}"] = tuple(part for part in parts if part is not None)
        builds_graph = "graph" in {study.data[name][one].kind for name in data.split("+") for one in languages}
        cell = {
            "language": str(language or study.family),
            "base": self.base,
            "method": choice["method"],
            "data": data,
            "objective": recipe.objective,
            "task": None,
            "metric": "validation_loss",
            "seed": recipe.seed,
            **self._cell(choice, section, recipe),
            **({} if choice["max_bytes"] is None else {"max_bytes": choice["max_bytes"]}),
            **{name: value if builds_graph else None for name, value in self._cell(choice, "graph").items()},
        }
        settings = {key: value for key, value in asdict(recipe).items() if not is_unread(recipe, key)}
        if language is not None:
            return self._add("adapt", settings | {"language": str(language)}, inputs, cell)
        if "vocab" in study.settings or self._cell(choice, "vocab"):
            cell |= self._cell(choice, "vocab")
            if (vocabulary := self._vocabulary(choice, inputs)) is not None:
                inputs["vocabulary"] = (vocabulary,)
        return self._add("family", settings | {"family": study.family}, inputs, cell)

    def _vocabulary(self, choice: Choice, inputs: Inputs) -> Step | None:
        given = self._given(choice, "vocab")
        if any(name == "size" and value == "none" for _, name, value in given):
            return None
        if (recipe := self._recipe("vocab", given)) is None:
            return None
        corpora = tuple(one for name, some in inputs.items() if name != "base" for one in some)
        cell = {"language": self.study.family, "base": self.base, **self._cell(choice, "vocab")}
        settings = {"family": self.study.family, **asdict(recipe)}
        return self._add("vocab", settings, {"base": inputs["base"], "corpora": corpora}, cell)

    def _fuse(self, language: Language, adapters: Mapping[str, Step]) -> None:
        """The tasks on the fusion of adapters that differ only in their data (the keys)."""
        cell = {**next(iter(adapters.values())).cell, "data": ",".join(adapters)}
        inputs: Inputs = {"base": (base_model(self.base),), "adapters": tuple(adapters.values())}
        for name, task in self.study.tasks.items():
            if "fused" not in task.use or language not in task.data:
                continue
            if len(adapters) < 2:
                self._leave_out(language, "fusion needs two adapters, and there is only one")
            elif cell["method"] not in FUSIBLE:
                self._leave_out(language, f"adapters of {cell['method']} cannot be fused")
            else:
                self._task(language, name, "fused", inputs, cell)

    def _evaluate(self, language: Language, trained: Step | None) -> None:
        """Scores, alignment and tasks of a trained model, or of the base."""
        inputs: Inputs = {"base": (base_model(self.base),)}
        cell: dict[str, Any] = {"method": None, "data": None, "objective": None}
        if trained is not None:
            inputs = {"trained": (trained,), **inputs}
            cell |= trained.cell
        cell |= {"language": str(language), "base": self.base}
        self._score(language, inputs, cell)
        self._align(language, inputs, cell)
        for name, task in self.study.tasks.items():
            if language not in task.data:
                self._leave_out(language, f"no data for {name}")
                continue
            for use in task.use:
                if use != "fused" and (use == "stacked") == (trained is not None):
                    self._task(language, name, use, inputs, cell)

    def _score(self, language: Language, inputs: Inputs, cell: Mapping[str, Any]) -> None:
        """Pseudo-perplexity in every variant; for a decoder, perplexity."""
        score, split = self.study.score, None
        if score is None:
            return
        text: Dependency | None
        if isinstance(score.text, str):
            text, split = self._data(language, score.text, {}), "test"
        else:
            text = existing(score.text[language].paths[0])
        if text is None:
            return
        measures: list[tuple[dict[str, str], str]]
        if not self.is_decoder:
            published = {"default": "published"} if self.behaviour == "published" else {}
            variants = [published.get(variant, variant) for variant in score.variant]
            measures = [
                ({"variant": one}, "per_character" if one == WITHIN_WORD else "pseudo_perplexity")
                for one in variants
            ]
        elif "default" in score.variant:
            measures = [({"variant": CAUSAL, "unit": "token"}, "perplexity")]
        elif WITHIN_WORD in score.variant:
            measures = [({"variant": CAUSAL, "unit": "character"}, "perplexity_per_character")]
        else:
            name = Path(self.base).name
            self._leave_out(language, f"the score 'published' with {name}: it is for masked language models")
            return
        for variant, metric in measures:
            settings = {"language": str(language), "split": split, "sentences": score.sentences or None}
            settings |= {"precision": "auto", **variant}
            own = {"task": None, "metric": metric, "seed": cell.get("seed")}
            if len(score.variant) > 1 and not self.is_decoder:
                own["variant"] = variant["variant"]
            self._add("score", settings, {**inputs, "text": (text,)}, {**cell, **own})

    def _align(self, language: Language, inputs: Inputs, cell: Mapping[str, Any]) -> None:
        """The model's vectors compared with its own for a translation, or with those of another base."""
        alignment = self.study.alignment
        if alignment is None:
            return
        texts = {str(one): existing(source.paths[0]) for one, source in alignment.text.items()}
        for other in alignment.compared_with:
            if other == str(language) or (other == self.base and "trained" not in inputs):
                continue
            bases = [self.base] if other in texts else [self.base, other]
            if decoder := next((one for one in bases if is_decoder(one, self.study)), None):
                self._leave_out(language, f"alignment of {Path(decoder).name}: it is for masked language models")
                continue
            compared = {"other": (texts[other],)} if other in texts else {"other_base": (base_model(other),)}
            settings: dict[str, Any] = {"language": str(language), "layers": alignment.layers}
            settings["sentences"] = alignment.sentences or None
            own = {"task": None, "metric": "cka", "with": other, "seed": cell.get("seed")}
            all_inputs = {**inputs, "text": (texts[str(language)],), **compared}
            self._add("alignment", settings, all_inputs, {**cell, **own})

    def _task(self, language: Language, name: str, use: str, inputs: Inputs, cell: Mapping[str, Any]) -> None:
        """A task on a model, for every combination of its settings."""
        task = self.study.tasks[name]
        on_adapter = use in ("stacked", "fused") and not is_whole_model(cell["method"])
        given: list[Given] = [("use", "method", WHOLE_MODEL)] if use == "full" else []
        given.append((self.study.axes["seed"].line, "seeds", [self.seed]))
        inputs = {**inputs, "data": (existing(task.data[language].paths[0]),)}
        if language in task.train_data:
            inputs["train_data"] = tuple(map(existing, task.train_data[language].paths))
        for choice in self._choices(("task",)):
            recipe = self._recipe("task", [*self._given(choice, "task"), *given], task=name)
            if recipe is None:
                continue
            if is_whole_model(recipe.method) and on_adapter:
                self._leave_out(language, f"{name} ({use}): the whole model cannot be trained on an adapter")
                continue
            settings = {
                key: value
                for key, value in asdict(recipe).items()
                if key not in TASKS[name].unused and not is_unread(recipe, key)
            }
            own = {"task": name, "use": use, "metric": TASKS[name].metric.name, "seed": self.seed}
            own |= self._cell(choice, "task", recipe)
            if own.get("train_examples") == 0:  # as a number it would be below all others
                own["train_examples"] = "all examples"
            kind = "fuse" if use == "fused" else "task"
            self._add(kind, {"language": str(language), "task": name, **settings}, inputs, {**cell, **own})


def _has_triples(source: Dependency | None) -> bool:
    """Whether data are triples: a graph to build, or a built folder whose sentences have heads and tails."""
    if isinstance(source, Step):
        return source.kind == "graph" or (source.kind == "cut" and _has_triples(source.inputs["of"][0]))
    if source is None or not (first := Path(source.path, "train.jsonl")).is_file():
        return False
    with first.open(encoding="utf-8") as lines:
        return '"head"' in next(lines, "")
