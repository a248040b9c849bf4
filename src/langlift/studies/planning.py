"""Plan the runs of a study: every combination of the axes, with shared runs only once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from langlift.adapters.method import FUSIBLE, METHODS, is_whole_model
from langlift.config.loading import Given, preset_settings, resolve
from langlift.corpus.building import MAX_BYTES
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD
from langlift.languages import Language
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.running import MAY_CHANGE
from langlift.prompting.template import load_template
from langlift.studies.step import (
    ALL_EXAMPLES,
    SCORED,
    TRAIN_EXAMPLES,
    Dependency,
    Input,
    Inputs,
    PromptCall,
    Step,
    base_model,
    data_source,
    existing,
    is_unread,
    read_settings,
)
from langlift.studies.study import PROMPTED_USE, DataSource, PromptedModel, Prompting, Study, is_decoder
from langlift.studies.study_file import HINT, SECTIONS
from langlift.tasks.task import TASKS, task_recipe
from langlift.training.recipes import CAUSAL

NOT_FOR_DECODERS = ("train_head",)
"""Published settings that the training of a decoder does not have."""
CORPUS_FOR_TRAIN = 1.02 / 0.8
"""Bytes of a corpus for each byte of its train split, which is a random 80 % of the documents."""
WHOLE_MODEL = next(name for name, method in METHODS.items() if method.whole_model)
LANGUAGES_SHOWN = 3
OF_SERVERS, OF_LOCAL = ("structured",), ("precision",)
"""Settings of prompting that only servers read, and only local models."""
Values = Mapping[str, Any]
"""Settings, one combination of axes, or a cell: name -> value."""


@dataclass(frozen=True)
class StudyPlan:
    """The runs of a study, each after its dependencies, and the combinations left out, with the reason."""

    study: Study
    steps: tuple[Step, ...]
    left_out: tuple[str, ...]


def plan_study(study: Study) -> StudyPlan:
    """All runs of a study.

    Raises:
        InputError: all settings that cannot be combined; data that cannot be read.
    """
    plan = _Planner(study)
    behaviours = sorted(study.values("behaviour"), key=str)  # a run that both share is listed as corrected
    for base, behaviour, seed in product(study.bases, behaviours, study.values("seed")):
        replace(plan, base=base, behaviour=behaviour, seed=seed).add_runs()
    if study.prompt is not None:
        for behaviour, seed, model in product(behaviours, study.values("seed"), study.prompt.model):
            replace(plan, base=model.name, behaviour=behaviour, seed=seed).add_prompts(model, study.prompt)
    left_out = []
    for reason, languages in plan.left_out.items():
        more = f" and {len(languages) - LANGUAGES_SHOWN} more" if len(languages) > LANGUAGES_SHOWN else ""
        left_out.append(f"{', '.join(list(languages)[:LANGUAGES_SHOWN])}{more}: {reason}")
    if plan.errors:
        raise InputError("; ".join(dict.fromkeys(plan.errors)), HINT)
    if not plan.steps:
        raise InputError(f"{study.path}: no run: every combination is left out", "; ".join(left_out))
    return StudyPlan(study, tuple(plan.steps.values()), tuple(left_out))


@dataclass
class _Planner:
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

    @cached_property
    def _base(self) -> Input:
        return base_model(self.base)

    def add_runs(self) -> None:
        """Add the runs of a base."""
        study = self.study
        if study.family is not None and self.is_decoder:
            self.errors.append(f"{self.base}: a decoder, and 'family:' is for masked language models")
            return
        for language in study.languages:
            self._evaluate(language, None)
        names = ("max_bytes", "objective", "method", "data")
        choices = list(self._choices(("graph", study.training, "vocab"), names)) if study.data else []
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

    def _train(self, language: Language | None, choice: Values) -> Step | None:
        """The run that trains an adapter, or the family's model."""
        study, section, data = self.study, self.study.training, choice["data"]
        own = study.settings.get(section, ())
        given: list[Given] = [
            (line, name, value)
            for line, block, settings in own
            if block == data and isinstance(settings, dict)
            for name, value in settings.items()
        ]
        seed = None if any(name == "seed" for _, name, _ in own) else self.seed
        for name, value in (("method", choice["method"]), ("objective", choice["objective"]), ("seed", seed)):
            if value is not None:
                given.append((study.axes[name].line, name, value))
        recipe = self._recipe(section, [*given, *self._given(choice, section)])
        if recipe is None:
            return None
        languages = study.languages if language is None else (language,)
        if (recipe.objective == CAUSAL) != self.is_decoder:
            kind = "masked language models" if self.is_decoder else "decoders"
            for one in languages:
                self._leave_out(one, f"{recipe.objective} with {Path(self.base).name}: it is for {kind}")
            return None
        inputs: dict[str, tuple[Dependency, ...]] = {"base": (self._base,)}
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
        settings = read_settings(recipe)
        if language is not None:
            return self._add("adapt", settings | {"language": str(language)}, inputs, cell)
        cell |= self._cell(choice, "vocab")
        if (vocabulary := self._vocabulary(choice, inputs)) is not None:
            inputs["vocabulary"] = (vocabulary,)
        return self._add("family", settings | {"family": study.family}, inputs, cell)

    def _vocabulary(self, choice: Values, inputs: Inputs) -> Step | None:
        """The run that builds the family's vocabulary, if it has one of its own."""
        given, cell = self._given(choice, "vocab"), self._cell(choice, "vocab")
        if not cell and "vocab" not in self.study.settings:
            return None
        if ("size", "none") in [(name, value) for _, name, value in given]:
            return None
        if (recipe := self._recipe("vocab", given)) is None:
            return None
        corpora = tuple(one for name, some in inputs.items() if name != "base" for one in some)
        settings = {"family": self.study.family, **asdict(recipe)}
        cell = {"language": self.study.family, "base": self.base, **cell}
        return self._add("vocab", settings, {"base": inputs["base"], "corpora": corpora}, cell)

    def _fuse(self, language: Language, adapters: Mapping[str, Step]) -> None:
        """The tasks on the fusion of adapters that differ only in their data (the keys)."""
        cell = {**next(iter(adapters.values())).cell, "data": ",".join(adapters)}
        inputs: Inputs = {"base": (self._base,), "adapters": tuple(adapters.values())}
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
        inputs: Inputs = {"base": (self._base,)}
        cell: dict[str, Any] = {"method": None, "data": None, "objective": None}
        if trained is not None:
            inputs = {"trained": (trained,), **inputs}
            cell |= trained.cell
        cell |= {"language": str(language), "base": self.base}
        self._score(language, inputs, cell)
        self._align(language, inputs, cell)
        for name, task in self.study.tasks.items():
            for use in task.use if self._has_data(language, name) else ():
                if use != "fused" and (use == "stacked") == (trained is not None):
                    self._task(language, name, use, inputs, cell)

    def _has_data(self, language: Language, task: str) -> bool:
        found = language in self.study.tasks[task].data
        if not found:
            self._leave_out(language, f"no data for {task}")
        return found

    def _score(self, language: Language, inputs: Inputs, cell: Values) -> None:
        """Pseudo-perplexity in every variant; for a decoder, perplexity."""
        score, split = self.study.score, None
        if score is None:
            return
        text: Dependency | None
        if isinstance(score.text, str):
            text, split = self._data(language, score.text, {}), "test"
        else:
            text = self._scored(language)
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

    def _align(self, language: Language, inputs: Inputs, cell: Values) -> None:
        """The model's vectors compared with its own for a translation, or with those of another base."""
        alignment = self.study.alignment
        if alignment is None:
            return
        texts = {str(one): source.paths[0] for one, source in alignment.text.items()}
        for other in alignment.compared_with:
            if other == str(language) or (other == self.base and "trained" not in inputs):
                continue
            bases = [self.base] if other in texts else [self.base, other]
            if decoder := next((one for one in bases if is_decoder(one, self.study)), None):
                self._leave_out(language, f"alignment of {Path(decoder).name}: it is for masked language models")
                continue
            compared: Inputs = {"other_base": (base_model(other),)}
            if other in texts:
                compared = {"other": (existing(texts[other]),)}
            settings: dict[str, Any] = {"language": str(language), "layers": alignment.layers}
            settings["sentences"] = alignment.sentences or None
            own = {"task": None, "metric": "cka", "with": other, "seed": cell.get("seed")}
            all_inputs = {**inputs, "text": (existing(texts[str(language)]),), **compared}
            self._add("alignment", settings, all_inputs, {**cell, **own})

    def _task(self, language: Language, name: str, use: str, inputs: Inputs, cell: Values) -> None:
        """A task on a model, for every combination of its settings."""
        on_adapter = use in ("stacked", "fused") and not is_whole_model(cell["method"])
        given: list[Given] = [("use", "method", WHOLE_MODEL)] if use == "full" else []
        given.append((self.study.axes["seed"].line, "seeds", [self.seed]))
        for choice in self._choices(("task",)):
            recipe = self._recipe("task", [*self._given(choice, "task"), *given], task=name)
            if recipe is None:
                continue
            if is_whole_model(recipe.method) and on_adapter:
                self._leave_out(language, f"{name} ({use}): the whole model cannot be trained on an adapter")
                continue
            settings = {key: one for key, one in read_settings(recipe).items() if key not in TASKS[name].unused}
            own = {"task": name, "use": use, "metric": TASKS[name].metric.name, "seed": self.seed}
            own |= self._cell(choice, "task", recipe)
            for axis in self.study.axes_of("task"):
                if axis.setting == TRAIN_EXAMPLES and not own[axis.name]:  # as a number it is below all others
                    own[axis.name] = ALL_EXAMPLES
                if axis.setting == "method" and use == "full":  # whatever the axis says, no adapter is trained
                    own[axis.name] = None
            self._add(
                "fuse" if use == "fused" else "task",
                {"language": str(language), "task": name, **settings},
                {**inputs, **self._task_data(language, name)},
                {**cell, **own},
            )

    def _task_data(self, language: Language, name: str) -> Inputs:
        task = self.study.tasks[name]
        inputs: dict[str, tuple[Dependency, ...]] = {"data": (existing(task.data[language].paths[0]),)}
        if language in task.train_data:
            inputs["train_data"] = tuple(map(existing, task.train_data[language].paths))
        return inputs

    def add_prompts(self, model: PromptedModel, prompting: Prompting) -> None:
        """Add a run of a prompted model for each task, language and number of examples."""
        # A server is identified by its URL.
        inputs: Inputs = {"model": ((existing if model.model_name else base_model)(model.model),)}
        for task, language, shots in product(prompting.tasks, self.study.languages, prompting.shots):
            if not self._has_data(language, task):
                continue
            recipe = self._recipe("prompt", [("prompt", "shots", shots), ("axes", "seeds", [self.seed])])
            if recipe is None:
                continue
            same_for_all_seeds = not shots and not recipe.temperature
            if same_for_all_seeds and self.seed != self.study.values("seed")[0]:
                continue
            source = prompting.template.get(task, {}).get(language)
            template = None if source is None else Path(source.paths[0])
            unread = [*(OF_LOCAL if model.model_name else OF_SERVERS), *(() if shots else ("balanced",))]
            if not recipe.columns or "columns" in TASKS[task].unused:
                unread.append("columns")
            read = {key: value for key, value in asdict(recipe).items() if key not in unread}
            settings = {
                "language": str(language),
                "task": task,
                "model_name": model.model_name,
                "template": load_template(task, template).source,
                **{key: value for key, value in read.items() if key not in MAY_CHANGE},
            }
            cell = {
                "language": str(language),
                "base": model.name,
                "task": task,
                "use": PROMPTED_USE,
                "metric": TASKS[task].metric.name,
                "shots": shots,
                "seed": self.seed,
            }
            call = PromptCall(model, PromptRecipe(**read), template)
            self._add("prompt", settings, {**inputs, **self._task_data(language, task)}, cell, call)

    def _leave_out(self, language: Language, reason: str) -> None:
        self.left_out.setdefault(reason, {})[str(language)] = None

    def _choices(self, sections: Sequence[str], names: Sequence[str] = ()) -> Iterator[Values]:
        """Every combination of the axes of some sections, and of axes given by name."""
        keys = [*(axis.name for section in sections for axis in self.study.axes_of(section)), *names]
        for values in product(*map(self.study.values, keys)):
            yield dict(zip(keys, values, strict=True))

    def _given(self, choice: Values, section: str) -> list[Given]:
        return [(axis.line, axis.setting, choice[axis.name]) for axis in self.study.axes_of(section)]

    def _cell(self, choice: Values, section: str, recipe: Any = None) -> dict[str, Any]:
        """The values of a section's axes for tables; None where the recipe's method does not read the setting."""
        return {
            axis.name: None if recipe and is_unread(recipe, axis.setting) else _shown(choice[axis.name])
            for axis in self.study.axes_of(section)
        }

    def _add(
        self, kind: str, settings: Values, inputs: Inputs, cell: Values, call: PromptCall | None = None
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

    def _data(self, language: Language, name: str, choice: Values) -> Dependency | None:
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


def _has_triples(source: Dependency | None) -> bool:
    """Whether data are triples: a graph to build, or a built folder whose sentences have heads and tails."""
    if isinstance(source, Step):
        return source.kind == "graph" or (source.kind == "cut" and _has_triples(source.inputs["of"][0]))
    if source is None or not (first := Path(source.path, "train.jsonl")).is_file():
        return False
    with first.open(encoding="utf-8") as lines:
        return '"head"' in next(lines, "")
