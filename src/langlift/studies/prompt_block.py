"""The block ``prompt:`` of a study file: which models are asked, about what, and how."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from langlift.config.loading import check_setting
from langlift.errors import InputError
from langlift.languages import Language
from langlift.prompting.forms import placeholders_of
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.server import is_url, url_parts
from langlift.prompting.template import load_template
from langlift.studies.places import PlacesReader
from langlift.studies.study import Place, PromptedModel, Prompting, TaskUse
from langlift.tasks.task import PROMPTED

OWN = ("model", "tasks", "shots", "template")
"""Keys of the block that are no settings, or of which one study may have several values."""
OF_MODEL = ("model", "model_name", "key_variable")

Parts = Mapping[str, tuple[str, yaml.Node]]


class PromptBlockReader(PlacesReader):
    """Reads the block, for the tasks of its study."""

    def _prompting(self, place: str, parts: Parts, tasks: Mapping[str, TaskUse]) -> Prompting:
        models = self._models(*parts["model"]) if "model" in parts else []
        if "model" not in parts:
            self.mistakes.append(f"{place}: prompt has no model")
        asked = self._asked_tasks(place, parts.get("tasks"), tasks)
        shots = self._shots(parts.get("shots"))
        templates = self._templates(*parts["template"], asked) if "template" in parts else {}
        return Prompting(tuple(models), tuple(asked), tuple(shots), templates)

    def _models(self, place: str, node: yaml.Node) -> list[PromptedModel]:
        """Texts name models here; ``{model: URL, model_name: NAME}`` one of a server."""
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        models = [one for item in items if (one := self._model(self.place(item), item)) is not None]
        if not items:
            self.mistakes.append(f"{place}: model is empty")
        if len(set(models)) < len(models):
            self.mistakes.append(f"{place}: the same model twice")
        return models

    def _model(self, place: str, node: yaml.Node) -> PromptedModel | None:
        if not isinstance(node, yaml.MappingNode):
            text = self.text(place, "model", node)
            if is_url(text):
                self.mistakes.append(f"{place}: a server needs model_name: {{model: URL, model_name: NAME}}")
                return None
            return PromptedModel(self._base(place, text), None, None) if text else None
        parts = self._block(place, "model", node)
        self._known(parts, OF_MODEL, "key of a model")
        texts = {key: self.text(parts[key][0], key, parts[key][1]) for key in OF_MODEL if key in parts}
        url = texts.get("model", "")
        if not is_url(url):
            self.mistakes.append(f"{place}: model_name and key_variable go with the URL of a server")
            return None
        try:
            url_parts(url)
        except InputError as error:
            self.mistakes.append(f"{place}: {error.message} ({error.hint})")
        if not texts.get("model_name"):
            self.mistakes.append(f"{place}: a server needs model_name, the name by which it knows the model")
        return PromptedModel(url, texts.get("model_name"), texts.get("key_variable"))

    def _asked_tasks(
        self, place: str, found: tuple[str, yaml.Node] | None, tasks: Mapping[str, TaskUse]
    ) -> list[str]:
        """The tasks named, or all of the study that can be asked."""
        if found is None:
            asked = [name for name in tasks if name in PROMPTED]
            if not asked:
                self.mistakes.append(f"{place}: none of the tasks can be asked by prompts ({', '.join(PROMPTED)})")
            return asked
        asked = []
        for where, name in self._texts(found, "tasks"):
            if name not in PROMPTED:
                self.mistakes.append(f"{where}: '{name}' cannot be asked by prompts ({', '.join(PROMPTED)})")
            elif name not in tasks:
                self.mistakes.append(f"{where}: {name} has no data under tasks:")
            asked.append(name)
        return asked

    def _shots(self, found: tuple[str, yaml.Node] | None) -> list[int]:
        if found is None:
            return [0]
        place, node = found
        content = self.loader.construct_object(node, deep=True)
        values = content if isinstance(content, list) else [content]
        shots = []
        for value in values:
            try:
                shots.append(check_setting(PromptRecipe, "shots", value))
            except ValueError as error:
                self.mistakes.append(f"{place}: shots {error}")
        if not values or len(set(shots)) < len(shots):
            self.mistakes.append(f"{place}: shots: {'the same number twice' if values else 'is empty'}")
        return shots

    def _templates(self, place: str, node: yaml.Node, asked: list[str]) -> dict[str, dict[Language, Place]]:
        """A file for a task, in which ``{language}`` and the like stand for the language."""
        found = self._block(place, "template", node)
        self._known(found, asked, "task to be asked")
        templates = {}
        for task, (where, value) in found.items():
            if task not in asked or task not in PROMPTED:
                continue
            templates[task] = self._places(where, value, ("path",))
            for path in dict.fromkeys(one.paths[0] for one in templates[task].values()):
                if not Path(path).is_file():
                    continue  # told already
                try:
                    load_template(task, Path(path), placeholders_of(task))
                except InputError as error:
                    self.mistakes.append(f"{where}: {error.message}")
        return templates
