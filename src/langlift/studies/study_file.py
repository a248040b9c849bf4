"""Reads study files and reports all errors at once, each with its line."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from langlift.adapters.method import METHODS
from langlift.backbones.base_name import BaseName
from langlift.config.loading import Given, preset_path, yaml_readable
from langlift.config.yaml_reader import YamlLoader
from langlift.corpus.byte_size import parse_bytes
from langlift.errors import InputError
from langlift.graph.recipe import GraphRecipe
from langlift.languages import Language
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.server import is_url, url_parts
from langlift.prompting.template import load_template
from langlift.studies.source_reader import Block, Entry, SourceReader
from langlift.studies.step import SCORED
from langlift.studies.study import (
    BEHAVIOURS,
    Alignment,
    Axis,
    ByLanguage,
    PromptedModel,
    Prompting,
    Scoring,
    Study,
    StudyTask,
)
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import PROMPTED, TASKS
from langlift.training.recipes import AdaptRecipe, FamilyRecipe
from langlift.vocab.recipe import VocabRecipe

STUDY = "study.yaml"
KEYS = ("name", "preset", "base", "languages", "family", "data", "axes", "score", "alignment", "tasks", "keep")
SECTIONS: dict[str, type] = {
    "adapt": AdaptRecipe,
    "adapt-family": FamilyRecipe,
    "task": TaskRecipe,
    "graph": GraphRecipe,
    "vocab": VocabRecipe,
    "prompt": PromptRecipe,
}
"""The blocks of settings, and the recipes they belong to."""
SETTINGS = {section: [one.name for one in fields(kind)] for section, kind in SECTIONS.items()}
OWN_AXES = ("data", "method", "objective", "seed", "max_bytes", "behaviour")
PROMPT_KEYS = ("model", "tasks", "shots", "template")
"""Keys of ``prompt:`` that are not settings, or may have several values."""
MODEL_KEYS = ("model", "model_name", "key_variable")
NOT_AXES = ("method", "objective", "seed", "seeds", "path", "precision", "save_steps")
"""Settings that are axes of their own, or do not change results."""
SHIPPED = Path(str(files("langlift"))) / "presets" / "studies"
"""Study files included in langlift: a short one, and those of the papers."""
HINT = f"docs/studies.md explains study files; {SHIPPED / 'smoke.yaml'} is a short one"


def read_study(path: Path) -> Study:
    """Read a study file, the one in a study's folder, or an included one by name (``smoke``).

    ``$NAME`` in a path is an environment variable, and ``bundled:`` the folder of data included in langlift.
    ``{language}`` stands for mlt_Latn, ``{iso639_3}`` for mlt and ``{iso639_1}`` for mt. Relative paths are
    relative to the file's folder.

    Raises:
        InputError: all errors in the file, each with its line.
    """
    path = path / STUDY if path.is_dir() else path
    if not path.exists() and (shipped := SHIPPED / f"{path}.yaml").is_file():
        path = shipped
    if not path.exists():
        raise InputError(
            f"{path}: no such study file",
            f"shipped: {', '.join(sorted(one.stem for one in SHIPPED.glob('*.yaml')))}",
        )
    reader = _StudyReader(path)
    with yaml_readable(path):
        reader.loader = YamlLoader(path.read_text(encoding="utf-8"))
        root = reader.loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path}: must contain 'key: value' lines", HINT)
        study = reader.read(reader._block((str(path), root), "key", (*KEYS, *SECTIONS), "key"))
    if reader.mistakes:
        needs = f"the first lines of {path} say what it needs" if path.parent == SHIPPED else HINT
        raise InputError("; ".join(reader.mistakes), needs)
    return study


class _StudyReader(SourceReader):
    """The parts of a study file, in their order."""

    def read(self, content: Block) -> Study:
        prompts_only = "prompt" in content and not content.keys() & {"data", "score", "alignment"}
        for key in ("languages",) if prompts_only else ("base", "languages"):
            if key not in content:
                self._error(str(self.path), f"no {key}")
        if not content.keys() & {"score", "alignment", "tasks"}:
            self._error(str(self.path), "no score, alignment or tasks: nothing would be measured")
        bases = [self._base(place, text) for place, text in self._texts(content.get("base"), "base")]
        self.languages = self._languages(content.get("languages"))
        family = self._text(content, "family")
        training, other = ("adapt", "adapt-family") if "family" not in content else ("adapt-family", "adapt")
        if other in content:
            why = "without" if "family" not in content else "with"
            self._error(content[other][0], f"{why} 'family:' the settings are those of {training}:")
        preset = self._preset(content)
        data = self._data(content.get("data"))
        blocks = {name: dict(self._block(content[name], name)) for name in SECTIONS if name in content}
        prompt_block = {key: blocks["prompt"].pop(key) for key in PROMPT_KEYS if key in blocks.get("prompt", {})}
        settings = {
            name: self._settings(name, block, tuple(data) if name == training else ())
            for name, block in blocks.items()
        }
        axes = self._axes(content.get("axes"), training, data)
        defaults = {"data": tuple(data), "method": (SECTIONS[training]().method,), "seed": (1,)}
        for name, values in defaults.items():
            if values:
                axes.setdefault(name, Axis(name, "", "", values, "default"))
        tasks = self._tasks(content.get("tasks"))
        study = Study(
            name=self._text(content, "name") if "name" in content else self.path.stem,  # type: ignore[arg-type]
            path=self.path,
            bases=tuple(bases),
            languages=tuple(self.languages),
            family=family,
            data=data,
            axes=axes,
            score=self._score(content["score"], data) if "score" in content else None,
            alignment=self._alignment(content["alignment"], bases) if "alignment" in content else None,
            tasks=tasks,
            prompt=self._prompting(content["prompt"], prompt_block, tasks) if "prompt" in content else None,
            settings=settings,
            preset=preset,
            **self._limited(Study, content),
        )
        self._check_combinations(study, content)
        return study

    def _preset(self, blocks: Block) -> str | None:
        text = self._text(blocks, "preset")  # as text: 2502.10140 is not a number
        if text and text.endswith((".yaml", ".yml")):
            text = str(Path(self.path.parent, text).resolve())
        if text:
            with self._noting(blocks["preset"][0], hint=True):
                if not preset_path(text).is_file():
                    self._error(blocks["preset"][0], f"{text}: no such file")
        return text or None

    def _settings(self, section: str, block: Block, data: Sequence[str]) -> tuple[Given, ...]:
        """A block of settings; blocks of tasks, methods and data within it are checked when they are used."""
        names = [name for name in SETTINGS[section] if name != "seeds"]
        given: list[Given] = []
        for key, (place, node) in block.items():
            value = self._value(node)
            if isinstance(value, dict) and key in (*(TASKS if section == "task" else ()), *METHODS, *data):
                given.append((place, key, value))
            elif key in names:
                given.append((place, key, self._setting(section, place, key, value)))
            else:
                self._check_known(place, key, names, "setting")
        return tuple(given)

    def _setting(self, section: str, place: str, name: str, value: Any) -> Any:
        checked = self._checked(SECTIONS[section], place, name, value)
        if checked is None:
            return value
        return list(checked) if isinstance(checked, tuple) else checked

    def _data(self, entry: Entry | None) -> dict[str, ByLanguage]:
        data: dict[str, ByLanguage] = {}
        for name, (place, node) in self._block(entry, "data").items():
            if not re.fullmatch(r"\w[\w.-]*", name):
                self._error(place, f"names of data may contain letters, digits, _, . and -, not '{name}'")
            if name in METHODS or any(name in names for names in SETTINGS.values()):
                self._error(place, f"data cannot be called '{name}', which is a method or a setting")
            data[name] = self._sources((place, node), ("path", "graph", "corpus"))
        return data

    def _axes(self, entry: Entry | None, training: str, data: Mapping[str, Any]) -> dict[str, Axis]:
        axes = {}
        for name, (place, node) in self._block(entry, "axes", kind="axis").items():
            value = self._value(node)
            if not (values := value if isinstance(value, list) else [value]):
                self._error(place, f"the axis '{name}' is empty")
            elif (axis := self._axis(place, name, training)) is not None:
                checked = [self._axis_value(axis, value, data) for value in values]
                if len({str(value) for value in checked}) < len(checked):
                    self._error(place, f"the axis '{name}' has the same value twice")
                axes[name] = replace(axis, values=tuple(checked))
        return axes

    def _axis(self, place: str, name: str, training: str) -> Axis | None:
        """The axis of this name, without its values; None after an error."""
        if name in OWN_AXES:
            return Axis(name, "", "", (), place)
        sections = {"adapt": training, "task": "task", "graph": "graph", "vocab": "vocab"}
        targets = {
            f"{h}.{one}": (s, one) for h, s in sections.items() for one in SETTINGS[s] if one not in NOT_AXES
        }
        # task.method and the settings of a vocabulary are always written with their step.
        alone = {full: one for full, (_, one) in targets.items() if not full.startswith("vocab.")}
        targets["task.method"] = ("task", "method")
        found = [name] if name in targets else [full for full, one in alone.items() if one == name]
        if len(found) == 1:
            return Axis(name, *targets[found[0]], (), place)
        if found:
            self._error(place, f"several steps have a setting '{name}': write {' or '.join(found)}")
            return None
        near = get_close_matches(name, [*OWN_AXES, *alone.values(), *targets], n=1)
        hint = f"did you mean {near[0]}?" if near else "data, method, objective, seed, max_bytes or any setting"
        self._error(place, f"unknown axis '{name}' ({hint})")
        return None

    def _axis_value(self, axis: Axis, value: Any, data: Mapping[str, Any]) -> Any:
        place, name = axis.line, axis.name
        if (axis.section, axis.setting) == ("vocab", "size") and value in (None, "none"):
            return "none"
        if axis.section:
            return self._setting(axis.section, place, axis.setting, value)
        if name == "data":
            parts = str(value).split("+")
            if len(set(parts)) < len(parts):
                self._error(place, f"data '{value}' names the same data twice")
            if unknown := [part for part in parts if part not in data]:
                known = ", ".join(data) or "nothing is"
                self._error(place, f"data '{unknown[0]}' is not defined under data: ({known})")
            return str(value)
        if name == "max_bytes":
            with self._noting(place, "max_bytes ", hint=True):
                return parse_bytes(str(value))
            return value
        if name == "behaviour" and value not in BEHAVIOURS:
            self._error(place, f"behaviour must be one of {', '.join(BEHAVIOURS)}, not '{value}'")
        return value if name == "behaviour" else self._setting("adapt", place, name, value)

    def _score(self, entry: Entry, data: Mapping[str, ByLanguage]) -> Scoring:
        block = self._block(entry, "score", ("text", "variant", "sentences"), "key of score", main="text")
        limited = self._limited(Scoring, block)
        if not self._has(entry, "score", block, "text"):
            return Scoring("")
        place, node = block["text"]
        if isinstance(node, yaml.ScalarNode) and node.value in data:
            sources = data[node.value]
            self._check_all_languages(place, f"the data '{node.value}'", sources)
            if any(source.kind == "graph" for source in sources.values()):
                self._error(place, f"score needs text, and '{node.value}' is a graph")
            return Scoring(node.value, **limited)
        sources = self._sources(block["text"], ("path", SCORED))
        self._check_all_languages(place, "score", sources)
        return Scoring(sources, **limited)

    def _alignment(self, entry: Entry, bases: Sequence[str]) -> Alignment:
        known = ("text", "with", "layers", "sentences")
        block = self._block(entry, "alignment", known, "key of alignment")
        self._has(entry, "alignment", block, "text", "with")
        compared_with: list[str] = []
        others: list[Language] = []
        for place, text in self._texts(block.get("with"), "with"):
            names = BaseName(text).name, str(Path(self.path.parent, text).resolve())
            if base := next((name for name in names if name in bases), None):
                compared_with.append(base)
            elif language := self._language(place, text, "neither a base of this study nor a language: "):
                compared_with.append(str(language))
                if language not in (*self.languages, *others):
                    others.append(language)
        sources = {}
        if "text" in block:
            sources = self._sources(block["text"], ("path",), [*self.languages, *others])
            self._check_all_languages(block["text"][0], "alignment", sources, others)
        return Alignment(sources, tuple(dict.fromkeys(compared_with)), **self._limited(Alignment, block))

    def _tasks(self, entry: Entry | None) -> dict[str, StudyTask]:
        tasks = {}
        known = ("data", "train_data", "use", "languages")
        for name, task_entry in self._block(entry, "tasks", TASKS, "task").items():
            block = self._block(task_entry, "task", known, f"key of {name}", main="data")
            if not self._has(task_entry, name, block, "data"):
                continue
            languages = self._languages(block["languages"], self.languages) if "languages" in block else None
            train: ByLanguage = {}
            if "train_data" in block:
                train = self._sources(block["train_data"], ("path", "hub", "several"), languages)
            data = self._sources(block["data"], ("path", "hub"), languages)
            tasks[name] = StudyTask(data, train, **self._limited(StudyTask, block))
        return tasks

    def _prompting(self, entry: Entry, block: Block, tasks: Mapping[str, object]) -> Prompting:
        self._has(entry, "prompt", block, "model")
        items = self._items(block.get("model"), "model")
        models = dict.fromkeys(model for item in items if (model := self._model(*item)) is not None)
        prompted = self._prompted_tasks(entry[0], block, tasks)
        templates = self._templates(block, prompted)
        return Prompting(tuple(models), prompted, templates, **self._limited(Prompting, block))

    def _model(self, place: str, node: yaml.Node) -> PromptedModel | None:
        """A name or folder of a local model, or ``{model: URL, model_name: NAME}``."""
        if not isinstance(node, yaml.MappingNode):
            text = self.text(place, "model", node)
            if is_url(text):
                self._error(place, "a server needs model_name: {model: URL, model_name: NAME}")
                return None
            return PromptedModel(self._base(place, text), None, None) if text else None
        block = self._block((place, node), "model", MODEL_KEYS, "key of a model")
        url, name, key_variable = (self._text(block, key) for key in MODEL_KEYS)
        if url is None or not is_url(url):
            self._error(place, "model_name and key_variable are for the URL of a server")
            return None
        with self._noting(place, hint=True):
            url_parts(url)
        if not name:
            self._error(place, "a server needs model_name, the name by which it knows the model")
        return PromptedModel(url, name, key_variable)

    def _prompted_tasks(self, place: str, block: Block, tasks: Mapping[str, object]) -> tuple[str, ...]:
        """The tasks that are listed, or all of the study that can be prompted."""
        allowed = ", ".join(PROMPTED)
        listed = self._texts(block.get("tasks"), "tasks")
        for line, name in listed:
            if name not in PROMPTED:
                self._error(line, f"'{name}' cannot be prompted ({allowed})")
            elif name not in tasks:
                self._error(line, f"{name} has no data under tasks:")
        prompted = [name for _, name in listed] or [name for name in tasks if name in PROMPTED]
        if not prompted:
            self._error(place, f"none of the tasks can be prompted ({allowed})")
        return tuple(prompted)

    def _templates(self, block: Block, prompted: Sequence[str]) -> dict[str, ByLanguage]:
        """A template file for a task, with placeholders for the language."""
        templates: dict[str, ByLanguage] = {}
        found = self._block(block.get("template"), "template", prompted, "prompted task")
        for task, (place, node) in found.items():
            if task not in prompted or task not in PROMPTED:
                continue
            templates[task] = self._sources((place, node), ("path",))
            for path in {Path(source.paths[0]) for source in templates[task].values()}:
                if path.is_file():  # a missing file has been reported already
                    with self._noting(place):
                        load_template(task, path)
        return templates

    def _check_combinations(self, study: Study, blocks: Block) -> None:
        if "data" not in blocks:  # then only bases are measured
            training = [blocks[key][0] for key in ("family", "adapt", "adapt-family") if key in blocks]
            training += [
                axis.line
                for axis in study.axes.values()
                if axis.section.startswith("adapt") or axis.name in ("objective", "max_bytes")
            ]
            self.mistakes += [f"{place}: no data to train on ('data:')" for place in dict.fromkeys(training)]
        if fused := [name for name, task in study.tasks.items() if "fused" in task.use]:
            place = blocks["tasks"][0]
            if "data" in study.axes and sum("+" not in value for value in study.values("data")) < 2:
                self._error(place, f"{fused[0]}: fused needs adapters on at least two data sets (axes: data)")
            if study.family is not None:
                self._error(place, f"{fused[0]}: fused cannot be combined with 'family:'")
        if study.family is None:
            for axis in study.axes.values():
                if axis.section == "vocab":
                    self._error(axis.line, f"{axis.name} is for families ('family:')")
            if "vocab" in blocks:
                self._error(blocks["vocab"][0], "a vocabulary is for families ('family:')")
