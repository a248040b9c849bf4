"""The steps that ask large models about the study's tasks."""

from dataclasses import asdict
from itertools import product
from pathlib import Path

from langlift.languages import Language
from langlift.prompting.forms import placeholders_of
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.running import MAY_CHANGE
from langlift.prompting.template import load_template
from langlift.studies.single_runs import PROMPTED
from langlift.studies.step import UNSAFE, Input, Source, Step, base_model, existing
from langlift.studies.step_maker import Corner, StepMaker
from langlift.studies.study import PromptedModel, Prompting
from langlift.tasks.task import TASKS

ANSWERS = "answers"
"""The folder of a study in which answers are kept, for all its runs and those to come."""
OF_SERVERS, OF_LOCAL = ("structured",), ("precision",)
"""Settings that only servers read, and only models here."""
TEMPLATE, KEY_VARIABLE = "template_file", "key_variable"


class AskingSteps(StepMaker):
    """A run for each prompted model, task, language, number of shots and seed."""

    def ask(self, behaviour: str | None, seed: int) -> None:
        """All runs of one behaviour and seed."""
        prompting = self.study.prompt
        if prompting is None:
            return
        for model, task, language in product(prompting.models, prompting.tasks, self.study.languages):
            if language not in self.study.tasks[task].data:
                self._leave_out(language, f"no data for {task}")
                continue
            for shots in prompting.shots:
                self._prompt(Corner(model.name, behaviour, seed), prompting, model, task, language, shots)

    def _prompt(
        self,
        corner: Corner,
        prompting: Prompting,
        model: PromptedModel,
        task: str,
        language: Language,
        shots: int,
    ) -> None:
        given = [("prompt", "shots", shots), ("axes", "seeds", [corner.seed])]
        recipe = self._recipe(corner, "prompt", given)
        if recipe is None:
            return
        same_for_all_seeds = not shots and not recipe.temperature
        if same_for_all_seeds and corner.seed != self.study.values("seed")[0]:
            return
        unread = (*MAY_CHANGE, *(OF_LOCAL if model.model_name else OF_SERVERS), *(() if shots else ("balanced",)))
        places = prompting.templates.get(task, {})
        template = Path(places[language].paths[0]) if language in places else None
        settings = {
            "language": str(language),
            "task": task,
            "model_name": model.model_name,
            "template": load_template(task, template, placeholders_of(task)).source,
            **{key: value for key, value in asdict(recipe).items() if key not in unread},
        }
        data = self.study.tasks[task]
        inputs: dict[str, tuple[Source, ...]] = {
            # A server is known by its URL.
            "model": (base_model(model.model) if model.model_name is None else existing(model.model),),
            "data": (existing(data.data[language].paths[0]),),
        }
        if language in data.train_data:
            inputs["train_data"] = tuple(map(existing, data.train_data[language].paths))
        cell = {
            "language": str(language),
            "base": model.name,
            "task": task,
            "use": PROMPTED,
            "metric": TASKS[task].metric.name,
            "shots": shots,
            "seed": corner.seed,
        }
        serving = {key: value for key, value in asdict(recipe).items() if key in MAY_CHANGE}
        serving |= {TEMPLATE: None if template is None else str(template), KEY_VARIABLE: model.key_variable}
        self._add(corner, "prompt", settings, inputs, cell, serving)


def answers_file(step: Step, runs: Path) -> Path:
    """Where a run's answers are kept: with those of all runs of its model, task and language."""
    cell = step.cell
    name = "-".join((Path(str(cell["base"])).name, str(cell["task"]), str(cell["language"])))
    return runs.parent / ANSWERS / f"{UNSAFE.sub('_', name)}-{_model(step).sha256[:8]}.jsonl"


def asked_model(step: Step) -> tuple[str, str | None, str | None]:
    """A prompt run's model as ``langlift prompt`` takes it: model, name, variable of the key."""
    return _model(step).path, step.settings["model_name"], step.serving[KEY_VARIABLE]


def _model(step: Step) -> Input:
    (model,) = step.inputs["model"]
    if isinstance(model, Step):
        raise TypeError("a prompted model is one that is there")
    return model


def template_file(step: Step) -> Path | None:
    """The template of a prompt run, None for the task's own."""
    found = step.serving[TEMPLATE]
    return None if found is None else Path(found)


def asked_recipe(step: Step) -> PromptRecipe:
    """The recipe of a prompt run, with the settings that change no result."""
    own = ("language", "task", "model_name", "template")
    serving = {key: value for key, value in step.serving.items() if key not in (TEMPLATE, KEY_VARIABLE)}
    return PromptRecipe(**{**{key: value for key, value in step.settings.items() if key not in own}, **serving})
