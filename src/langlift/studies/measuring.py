"""The steps that measure a model: scores, alignment, tasks."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langlift.adapters.method import is_whole_model
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD
from langlift.languages import Language
from langlift.studies.choices import Choice, is_unread
from langlift.studies.decoders import is_decoder
from langlift.studies.step import Source, Step, base_model, existing
from langlift.studies.step_maker import Corner, StepMaker
from langlift.studies.study import TaskUse
from langlift.tasks.task import TASKS
from langlift.training.recipes import CAUSAL

Model = Mapping[str, tuple[Source, ...]]
"""The inputs that a measured model is made of: its base, and what was trained on it."""


class MeasuringSteps(StepMaker):
    """What is measured of a trained model, or of a base alone."""

    def _measure(self, corner: Corner, language: Language, trained: Step | None, cell: dict[str, Any]) -> None:
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
        corner: Corner,
        language: Language,
        model: Model,
        where: Mapping[str, Any],
        trained: Step | None,
    ) -> None:
        """Pseudo-perplexity in every variant; of a decoder, perplexity."""
        scoring = self.study.score
        if scoring is None:
            return
        if scoring.on:
            text, split = self._text(corner, language, scoring.on, Choice(), None), "test"
        else:
            text, split = existing(scoring.places[language].paths[0]), None
        if text is None:
            return
        if self.is_decoder(corner):
            self._score_decoder(corner, language, {**model, "text": (text,)}, where, trained, split)
            return
        for variant in scoring.variants:
            variant = "published" if corner.published and variant == "default" else variant
            settings = {**_scoring(language, split, scoring.sentences), "variant": variant}
            metric = "per_character" if variant == WITHIN_WORD else "pseudo_perplexity"
            cell = {**where, "task": None, "metric": metric, "seed": _seed(trained)}
            if len(scoring.variants) > 1:
                cell["variant"] = variant
            self._add(corner, "score", settings, {**model, "text": (text,)}, cell)

    def _score_decoder(
        self,
        corner: Corner,
        language: Language,
        inputs: Model,
        where: Mapping[str, Any],
        trained: Step | None,
        split: str | None,
    ) -> None:
        """Ordinary perplexity, once: it looks at nothing but what comes before, also within words."""
        scoring = self.study.score
        variants = [one for one in scoring.variants if one != "published"] if scoring is not None else []
        if scoring is None or not variants:
            name = Path(corner.base).name
            self._leave_out(language, f"the score 'published' with {name}: it is for masked language models")
            return
        unit = "token" if "default" in variants else "character"
        settings = {**_scoring(language, split, scoring.sentences), "variant": CAUSAL, "unit": unit}
        metric = "perplexity" if unit == "token" else "perplexity_per_character"
        cell = {**where, "task": None, "metric": metric, "seed": _seed(trained)}
        self._add(corner, "score", settings, inputs, cell)

    def _align(
        self,
        corner: Corner,
        language: Language,
        model: Model,
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
            bases = [corner.base] if other in texts else [corner.base, other]
            if decoder := next((one for one in bases if is_decoder(one, self.study)), None):
                self._leave_out(language, f"alignment of {Path(decoder).name}: it is for masked language models")
                continue
            inputs = {**model, "text": (texts[str(language)],)}
            inputs |= {"other": (texts[other],)} if other in texts else {"other_base": (base_model(other),)}
            settings = {"language": str(language), "layers": aligning.layers, "sentences": aligning.sentences}
            cell = {**where, "task": None, "metric": "cka", "with": other, "seed": _seed(trained)}
            self._add(corner, "alignment", settings, inputs, cell)

    def _task(
        self,
        corner: Corner,
        language: Language,
        name: str,
        task: TaskUse,
        use: str,
        model: Model,
        where: Mapping[str, Any],
        kind: str = "task",
    ) -> None:
        """A task on a model, for every choice of its settings."""
        for choice in self._choices("task"):
            fixed = [("use", "method", "full")] if use == "full" else []
            seeds = [(self.study.axes["seed"].line, "seeds", [corner.seed])]
            recipe = self._recipe(corner, "task", [*choice.settings("task"), *fixed, *seeds], task=name)
            if recipe is None:
                continue
            adapter = use in ("stacked", "fused") and not is_whole_model(where["method"])
            if is_whole_model(recipe.method) and adapter:
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
                "metric": TASKS[name].metric.name,
                "seed": corner.seed,
                **choice.cell("task", recipe),
            }
            if cell.get("train_examples") == 0:  # as a number it would stand below every other
                cell["train_examples"] = "all examples"
            self._add(corner, kind, {"language": str(language), "task": name, **settings}, inputs, cell)


def _scoring(language: Language, split: str | None, sentences: int | None) -> dict[str, Any]:
    return {"language": str(language), "split": split, "sentences": sentences, "precision": "auto"}


def _seed(trained: Step | None) -> Any:
    """The seed of what was trained; a base alone has none."""
    return None if trained is None else trained.cell["seed"]
