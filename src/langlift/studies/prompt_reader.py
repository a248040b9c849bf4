"""Reads the block ``prompt:`` of a study file: which models are prompted, on which tasks, and how."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from langlift.prompting.server import is_url, url_parts
from langlift.prompting.template import load_template
from langlift.studies.source_reader import Block, Entry, SourceReader
from langlift.studies.study import ByLanguage, PromptedModel, Prompting
from langlift.tasks.task import PROMPTED

PROMPT_KEYS = ("model", "tasks", "shots", "template")
"""Keys of the block that are not settings, or may have several values."""
MODEL_KEYS = ("model", "model_name", "key_variable")


class PromptReader(SourceReader):
    """Reads the block, for the tasks of its study."""

    def _prompting(self, where: str, block: Block, tasks: Mapping[str, object]) -> Prompting:
        if "model" not in block:
            self._error(where, "prompt has no model")
        models = self._models(block["model"]) if "model" in block else []
        prompted = self._prompted_tasks(where, block, tasks)
        limited = self._limited(Prompting, block)
        shots = self._values(block["shots"][1]) if "shots" in block else []
        if len(set(map(str, shots))) < len(shots):
            self._error(block["shots"][0], "shots: the same number twice")
        return Prompting(tuple(models), prompted, self._templates(block, prompted), **limited)

    def _models(self, entry: Entry) -> list[PromptedModel]:
        where, node = entry
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        models = [model for item in items if (model := self._model(self.place(item), item)) is not None]
        if not items:
            self._error(where, "model is empty")
        if len(set(models)) < len(models):
            self._error(where, "the same model twice")
        return models

    def _model(self, where: str, node: yaml.Node) -> PromptedModel | None:
        """A name or folder of a local model, or ``{model: URL, model_name: NAME}``."""
        if not isinstance(node, yaml.MappingNode):
            text = self.text(where, "model", node)
            if is_url(text):
                self._error(where, "a server needs model_name: {model: URL, model_name: NAME}")
                return None
            return PromptedModel(self._base(where, text), None, None) if text else None
        block = self._block((where, node), "model", MODEL_KEYS, "key of a model")
        url, name, key_variable = (self._text(block, key) for key in MODEL_KEYS)
        if url is None or not is_url(url):
            self._error(where, "model_name and key_variable are for the URL of a server")
            return None
        with self._noting(where, hint=True):
            url_parts(url)
        if not name:
            self._error(where, "a server needs model_name, the name by which it knows the model")
        return PromptedModel(url, name, key_variable)

    def _prompted_tasks(self, where: str, block: Block, tasks: Mapping[str, object]) -> tuple[str, ...]:
        """The tasks that are listed, or all of the study that can be prompted."""
        allowed = ", ".join(PROMPTED)
        if "tasks" not in block:
            prompted = tuple(name for name in tasks if name in PROMPTED)
            if not prompted:
                self._error(where, f"none of the tasks can be prompted ({allowed})")
            return prompted
        listed = list(self._texts(block["tasks"], "tasks"))
        for line, name in listed:
            if name not in PROMPTED:
                self._error(line, f"'{name}' cannot be prompted ({allowed})")
            elif name not in tasks:
                self._error(line, f"{name} has no data under tasks:")
        return tuple(name for _, name in listed)

    def _templates(self, block: Block, prompted: Sequence[str]) -> dict[str, ByLanguage]:
        """A template file for a task, with placeholders for the language."""
        templates: dict[str, ByLanguage] = {}
        found = self._block(block.get("template"), "template", prompted, "prompted task")
        for task, (where, node) in found.items():
            if task not in prompted or task not in PROMPTED:
                continue
            templates[task] = self._sources((where, node), ("path",))
            for path in dict.fromkeys(Path(source.paths[0]) for source in templates[task].values()):
                if path.is_file():  # a missing one has its error already
                    with self._noting(where):
                        load_template(task, path)
        return templates
