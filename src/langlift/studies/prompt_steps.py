"""The steps that prompt large models on the study's tasks."""

from dataclasses import asdict
from itertools import product
from pathlib import Path

from langlift.languages import Language
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.running import MAY_CHANGE
from langlift.prompting.template import load_template
from langlift.studies.step import UNSAFE, Dependency, Step, base_model, existing
from langlift.studies.step_maker import StepMaker
from langlift.studies.study import PROMPTED_USE, PromptedModel, Prompting
from langlift.tasks.task import TASKS

ANSWERS = "answers"
"""The folder of a study in which answers are kept, for all its runs."""
OF_SERVERS, OF_LOCAL = ("structured",), ("precision",)
"""Settings that only servers read, and only local models."""
TEMPLATE, KEY_VARIABLE = "template_file", "key_variable"


class PromptStepMaker(StepMaker):
    """A run for each task, language and number of examples, of one model, behaviour and seed."""

    def add_all(self, prompting: Prompting, model: PromptedModel) -> None:
        """Add all runs of the model."""
        for task, language in product(prompting.tasks, self.study.languages):
            if language not in self.study.tasks[task].data:
                self._leave_out(language, f"no data for {task}")
                continue
            source = prompting.template.get(task, {}).get(language)
            template = None if source is None else Path(source.paths[0])
            for shots in prompting.shots:
                self._prompt(model, task, language, shots, template)

    def _prompt(
        self, model: PromptedModel, task: str, language: Language, shots: int, template: Path | None
    ) -> None:
        given = [("prompt", "shots", shots), ("axes", "seeds", [self.seed])]
        recipe = self._recipe("prompt", given)
        if recipe is None:
            return
        same_for_all_seeds = not shots and not recipe.temperature
        if same_for_all_seeds and self.seed != self.study.values("seed")[0]:
            return
        unread = (*MAY_CHANGE, *(OF_LOCAL if model.model_name else OF_SERVERS), *(() if shots else ("balanced",)))
        settings = {
            "language": str(language),
            "task": task,
            "model_name": model.model_name,
            "template": load_template(task, template).source,
            **{key: value for key, value in asdict(recipe).items() if key not in unread},
        }
        data = self.study.tasks[task]
        inputs: dict[str, tuple[Dependency, ...]] = {
            # A server is identified by its URL.
            "model": (base_model(model.model) if model.model_name is None else existing(model.model),),
            "data": (existing(data.data[language].paths[0]),),
        }
        if language in data.train_data:
            inputs["train_data"] = tuple(map(existing, data.train_data[language].paths))
        cell = {
            "language": str(language),
            "base": model.name,
            "task": task,
            "use": PROMPTED_USE,
            "metric": TASKS[task].metric.name,
            "shots": shots,
            "seed": self.seed,
        }
        serving = {key: value for key, value in asdict(recipe).items() if key in MAY_CHANGE}
        serving |= {TEMPLATE: None if template is None else str(template), KEY_VARIABLE: model.key_variable}
        self._add("prompt", settings, inputs, cell, serving)


def answers_file(step: Step, runs: Path) -> Path:
    """Where a run's answers are kept, with those of all runs of its model, task and language."""
    name = "-".join((Path(str(step.cell["base"])).name, str(step.cell["task"]), str(step.cell["language"])))
    (model,) = step.inputs["model"]
    digest = model.hash if isinstance(model, Step) else model.sha256
    return runs.parent / ANSWERS / f"{UNSAFE.sub('_', name)}-{digest[:8]}.jsonl"


def prompted_model(step: Step) -> tuple[str, str | None, str | None]:
    """The model of a prompt run as ``langlift prompt`` takes it: model, model name, variable of the key."""
    return step.base("model"), step.settings["model_name"], step.serving[KEY_VARIABLE]


def template_file(step: Step) -> Path | None:
    """The template of a prompt run; None for the task's own."""
    found = step.serving[TEMPLATE]
    return None if found is None else Path(found)


def prompt_recipe(step: Step) -> PromptRecipe:
    """The recipe of a prompt run, including the settings that do not change results."""
    settings = {**step.settings, **step.serving}
    for key in ("language", "task", "model_name", "template", TEMPLATE, KEY_VARIABLE):
        del settings[key]
    return PromptRecipe(**settings)
