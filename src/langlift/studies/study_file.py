"""study.yaml: what is compared, on which languages and data, and by what. Checked whole, all mistakes at once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from langlift.adapters.method import METHODS
from langlift.backbones.base_name import BaseName
from langlift.config.loading import Given, check_setting, preset_path, yaml_readable
from langlift.config.settings import MAX_SEED
from langlift.corpus.byte_size import parse_bytes
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import VARIANTS
from langlift.evaluation.sentence_vectors import LAYERS
from langlift.graph.recipe import GraphRecipe
from langlift.languages import Language, find_language
from langlift.prompting.recipe import PromptRecipe
from langlift.studies.prompt_block import OWN as PROMPT_KEYS
from langlift.studies.prompt_block import PromptBlockReader
from langlift.studies.study import BEHAVIOURS, USES, Aligning, Axis, Place, Scoring, Study, TaskUse
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import TASKS
from langlift.training.recipes import OBJECTIVES, AdaptRecipe, FamilyRecipe
from langlift.vocab.recipe import VocabRecipe

STUDY = "study.yaml"
KEYS = ("name", "preset", "base", "languages", "family", "data", "axes", "score", "alignment", "tasks")
SECTIONS: dict[str, type] = {
    "adapt": AdaptRecipe,
    "adapt-family": FamilyRecipe,
    "task": TaskRecipe,
    "graph": GraphRecipe,
    "vocab": VocabRecipe,
    "prompt": PromptRecipe,
}
"""The blocks of settings, and what they hold."""
NOT_AXES = ("method", "objective", "seed", "seeds", "path", "precision", "save_steps")
"""Settings that are axes of their own, or change no result."""
SHIPPED = Path(str(files("langlift"))) / "presets" / "studies"
"""Study files that come with langlift: a short one, and those of the papers."""
HINT = f"docs/studies.md explains study files; {SHIPPED / 'smoke.yaml'} is a short one"


def read_study(path: Path) -> Study:
    """Read a study file, the one in a study's folder, or one that comes with langlift, by its name (``smoke``).

    ``$NAME`` in a path is an environment variable, ``bundled:`` the folder of data that langlift brings;
    ``{language}`` stands for mlt_Latn, ``{iso639_3}`` for mlt and ``{iso639_1}`` for mt. Relative paths start at
    the file's folder.

    Raises:
        InputError: naming every mistake in the file, each with its line.
    """
    path = path / STUDY if path.is_dir() else path
    if not path.exists() and (shipped := SHIPPED / f"{path}.yaml").is_file():
        path = shipped
    reader = _Reader(path)
    with yaml_readable(path):
        reader.loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = reader.loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise InputError(f"{path}: must hold 'key: value' lines", HINT)
        found = {key: (place, node) for place, key, node in reader.pairs(root, "key")}
        study = reader.read(found)
    if reader.mistakes:
        raise InputError("; ".join(reader.mistakes), HINT)
    return study


class _Reader(PromptBlockReader):
    """Reads the parts of a study file one after the other."""

    def read(self, found: Mapping[str, tuple[str, yaml.Node]]) -> Study:
        self._known(found, (*KEYS, *SECTIONS), "key")
        # Models that are only asked need no base beside them.
        asked_alone = "prompt" in found and not found.keys() & {"data", "score", "alignment"}
        for needed in ("base", "languages"):
            if needed not in found and not (needed == "base" and asked_alone):
                self.mistakes.append(f"{self.path}: no {needed}")
        if not found.keys() & {"score", "alignment", "tasks"}:
            self.mistakes.append(f"{self.path}: neither score nor alignment nor tasks: nothing would be measured")
        bases = [self._base(place, text) for place, text in self._texts(found.get("base"), "base")]
        for place, text in self._texts(found.get("languages"), "languages"):
            self._language(place, text)
        family = self.text(*self._at(found, "family")) if "family" in found else None
        training = "adapt" if family is None else "adapt-family"
        for section in {"adapt", "adapt-family"} - {training}:
            if section in found:
                why = "without 'family:'" if family is None else "with 'family:'"
                self.mistakes.append(f"{found[section][0]}: {why} the settings are those of {training}:")
        preset = self._preset(found)
        data = self._data(*found["data"]) if "data" in found else {}
        blocks = {name: self._block(found[name][0], name, found[name][1]) for name in SECTIONS if name in found}
        asked = {key: blocks["prompt"].pop(key) for key in PROMPT_KEYS if key in blocks.get("prompt", {})}
        settings = {
            name: self._settings(name, block, tuple(data) if name == training else ())
            for name, block in blocks.items()
        }
        axes = self._axes(found.get("axes"), training, data)
        if "data" not in axes and data:
            axes["data"] = Axis("data", "", "", tuple(data), "default")
        axes.setdefault("method", Axis("method", "", "", (SECTIONS[training]().method,), "default"))
        axes.setdefault("seed", Axis("seed", "", "", (1,), "default"))
        score = self._score(*found["score"], data) if "score" in found else None
        alignment = self._alignment(*found["alignment"], bases) if "alignment" in found else None
        tasks = self._tasks(*found["tasks"]) if "tasks" in found else {}
        prompt = self._prompting(found["prompt"][0], asked, tasks) if "prompt" in found else None
        self._together(axes, tasks, family, found)
        name = self.text(*self._at(found, "name")) if "name" in found else self.path.stem
        return Study(
            name,
            self.path,
            tuple(bases),
            tuple(self.languages),
            family,
            data,
            axes,
            score,
            alignment,
            tasks,
            prompt,
            settings,
            preset,
        )

    def _at(self, found: Mapping[str, tuple[str, yaml.Node]], key: str) -> tuple[str, str, yaml.Node]:
        return found[key][0], key, found[key][1]

    def _preset(self, found: Mapping[str, tuple[str, yaml.Node]]) -> str | None:
        if "preset" not in found:
            return None
        text = self.text(*self._at(found, "preset"))  # as text: 2502.10140 is no number
        if text.endswith((".yaml", ".yml")):
            text = str(Path(self.path.parent, text).resolve())
        try:
            if text and not preset_path(text).is_file():
                self.mistakes.append(f"{found['preset'][0]}: {text}: no such file")
        except InputError as error:
            self.mistakes.append(f"{found['preset'][0]}: {error.message} ({error.hint})")
        return text or None

    def _settings(
        self, section: str, block: Mapping[str, tuple[str, yaml.Node]], data: Sequence[str]
    ) -> tuple[Given, ...]:
        """A block of settings; blocks of tasks, methods and data within it are checked when they are opened."""
        kind = SECTIONS[section]
        names = [one.name for one in fields(kind)]
        blocks = [*(TASKS if section == "task" else ()), *METHODS, *data]
        given: list[Given] = []
        for key, (where, value_node) in block.items():
            value = self.loader.construct_object(value_node, deep=True)
            if isinstance(value, dict) and key in blocks:
                given.append((where, key, value))
            elif key not in names or key == "seeds":
                self._known({key: (where, None)}, [n for n in names if n != "seeds"], "setting")
            else:
                given.append((where, key, self._checked(kind, where, key, value)))
        return tuple(given)

    def _checked(self, kind: type, place: str, name: str, value: Any) -> Any:
        try:
            checked = check_setting(kind, name, value)
        except ValueError as error:
            self.mistakes.append(f"{place}: {name} {error}")
            return value
        return list(checked) if isinstance(checked, tuple) else checked

    def _data(self, where: str, block: yaml.Node) -> dict[str, dict[Language, Place]]:
        data = {}
        for name, (place, node) in self._block(where, "data", block).items():
            if not re.fullmatch(r"\w[\w.-]*", name):
                self.mistakes.append(
                    f"{place}: a name of data is made of letters, digits, _, . and -, not '{name}'"
                )
            if name in METHODS or any(name in [one.name for one in fields(kind)] for kind in SECTIONS.values()):
                self.mistakes.append(f"{place}: data cannot be called '{name}', which is a method or a setting")
            data[name] = self._places(place, node, ("path", "graph", "corpus"))
        return data

    def _axes(
        self, found: tuple[str, yaml.Node] | None, training: str, data: Mapping[str, Any]
    ) -> dict[str, Axis]:
        axes = {}
        for name, (place, node) in (self._block(found[0], "axes", found[1]) if found else {}).items():
            content = self.loader.construct_object(node, deep=True)
            values = content if isinstance(content, list) else [content]
            if not values:
                self.mistakes.append(f"{place}: the axis '{name}' is empty")
                continue
            section, setting = self._meant(place, name, training)
            if section is None:
                continue
            checked = [self._axis_value(place, name, section, setting, value, data) for value in values]
            if len({str(value) for value in checked}) < len(checked):
                self.mistakes.append(f"{place}: the axis '{name}' has the same value twice")
            axes[name] = Axis(name, section, setting, tuple(checked), place)
        return axes

    def _meant(self, place: str, name: str, training: str) -> tuple[str | None, str]:
        """The section and setting that an axis names."""
        own = ("data", "method", "objective", "seed", "max_bytes", "behaviour")
        if name in own:
            return "", name
        head, dot, rest = name.partition(".")
        sections = {"adapt": training, "task": "task", "graph": "graph", "vocab": "vocab"}
        if dot and head in sections:
            section = sections[head]
            names = [one.name for one in fields(SECTIONS[section])]
            allowed = [n for n in names if n not in NOT_AXES or (n == "method" and head == "task")]
            if rest in allowed:
                return section, rest
            self._known({rest: (place, None)}, allowed, f"setting of {head} as an axis")
            return None, rest
        settings = {
            section: [one.name for one in fields(SECTIONS[section]) if one.name not in NOT_AXES]
            for section in (training, "task", "graph")
        }
        holding = [section for section, names in settings.items() if name in names]
        if len(holding) == 1:
            return holding[0], name
        if holding:
            says = " or ".join(f"{'adapt' if one == training else one}.{name}" for one in holding)
            self.mistakes.append(f"{place}: '{name}' is a setting of several steps: write {says}")
        else:
            known = [*own, *(n for names in settings.values() for n in names)]
            near = get_close_matches(name, known, n=1)
            hint = (
                f"did you mean {near[0]}?" if near else "data, method, objective, seed, max_bytes or any setting"
            )
            self.mistakes.append(f"{place}: unknown axis '{name}' ({hint})")
        return None, name

    def _axis_value(
        self, place: str, name: str, section: str, setting: str, value: Any, data: Mapping[str, Any]
    ) -> Any:
        if section == "vocab" and setting == "size" and value in (None, "none"):
            return "none"
        if section:
            return self._checked(SECTIONS[section], place, setting, value)
        if name == "data":
            parts = str(value).split("+")
            unknown = [part for part in parts if part not in data]
            if len(set(parts)) < len(parts):
                self.mistakes.append(f"{place}: data '{value}' names the same data twice")
            if unknown:
                known = ", ".join(data) or "nothing is"
                self.mistakes.append(f"{place}: data '{unknown[0]}' is not described under data: ({known})")
            return str(value)
        if name == "seed":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEED:
                self.mistakes.append(f"{place}: a seed is a whole number from 0, not {value!r}")
            return value
        if name == "max_bytes":
            try:
                return parse_bytes(str(value))
            except InputError as error:
                self.mistakes.append(f"{place}: max_bytes {error.message} ({error.hint})")
                return value
        choices = {"method": METHODS, "objective": OBJECTIVES, "behaviour": BEHAVIOURS}[name]
        if value not in choices:
            self.mistakes.append(f"{place}: {name} must be one of {', '.join(choices)}, not '{value}'")
        return value

    def _score(self, place: str, node: yaml.Node, data: Mapping[str, Mapping[Language, Place]]) -> Scoring:
        parts = {"text": (place, node)}
        if isinstance(node, yaml.MappingNode):
            parts = self._block(place, "score", node)
            self._known(parts, ("text", "variant", "sentences"), "key of score")
            if "text" not in parts:
                self.mistakes.append(f"{place}: score has no text")
        variants: tuple[str, ...] = ("default",)
        if "variant" in parts:
            variants = tuple(text for _, text in self._texts(parts["variant"], "variant"))
            for variant in variants:
                if variant not in VARIANTS:
                    self.mistakes.append(
                        f"{parts['variant'][0]}: unknown variant '{variant}' ({', '.join(VARIANTS)})"
                    )
        sentences = self._count(parts, "sentences")
        if "text" not in parts:
            return Scoring("", {}, variants, sentences)
        where, text = parts["text"]
        if isinstance(text, yaml.ScalarNode) and text.value in data:
            places = data[text.value]
            self._all_languages(where, f"the data '{text.value}'", places)
            if any(one.kind == "graph" for one in places.values()):
                self.mistakes.append(f"{where}: score needs text, and '{text.value}' is a graph")
            return Scoring(text.value, {}, variants, sentences)
        places = self._places(where, text, ("path",))
        self._all_languages(where, "score", places)
        return Scoring("", places, variants, sentences)

    def _alignment(self, place: str, node: yaml.Node, bases: Sequence[str]) -> Aligning:
        parts = self._block(place, "alignment", node)
        self._known(parts, ("text", "with", "layers", "sentences"), "key of alignment")
        missing = [key for key in ("text", "with") if key not in parts]
        if missing:
            self.mistakes.append(f"{place}: alignment has no {' and no '.join(missing)}")
        to, others = [], []
        for where, text in self._texts(parts.get("with"), "with"):
            names = BaseName(text).name, str(Path(self.path.parent, text).resolve())
            if base := next((name for name in names if name in bases), None):
                to.append(base)
                continue
            try:
                others.append(find_language(text))
            except InputError as error:
                self.mistakes.append(f"{where}: neither a base of this study nor a language: {error.message}")
                continue
            to.append(str(others[-1]))
        layers = "last"
        if "layers" in parts:
            layers = self.text(*self._at(parts, "layers"))
            if layers not in LAYERS:
                self.mistakes.append(f"{parts['layers'][0]}: layers must be {' or '.join(LAYERS)}, not '{layers}'")
        places = {}
        if "text" in parts:
            others = [one for one in dict.fromkeys(others) if one not in self.languages]
            places = self._places(*parts["text"], ("path",), [*self.languages, *others])
            self._all_languages(parts["text"][0], "alignment", places, others)
        return Aligning(places, tuple(dict.fromkeys(to)), layers, self._count(parts, "sentences"))

    def _count(self, parts: Mapping[str, tuple[str, yaml.Node]], key: str) -> int | None:
        if key not in parts:
            return None
        value = self.loader.construct_object(parts[key][1])
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.mistakes.append(f"{parts[key][0]}: {key} must be a whole number above 0")
            return None
        return value

    def _tasks(self, place: str, node: yaml.Node) -> dict[str, TaskUse]:
        tasks = {}
        found = self._block(place, "tasks", node)
        self._known(found, tuple(TASKS), "task")
        for name, (where, value) in found.items():
            parts = {"data": (where, value)}
            if isinstance(value, yaml.MappingNode):
                parts = self._block(where, "task", value)
                self._known(parts, ("data", "train_data", "use", "languages"), f"key of {name}")
            if "data" not in parts:
                self.mistakes.append(f"{where}: {name} has no data")
                continue
            use = tuple(text for _, text in self._texts(parts.get("use"), "use")) or ("alone", "stacked")
            for one in use:
                if one not in USES:
                    self.mistakes.append(f"{parts['use'][0]}: unknown use '{one}' ({', '.join(USES)})")
            languages = self._some_languages(parts.get("languages"))
            train = {}
            if "train_data" in parts:
                train = self._places(*parts["train_data"], ("path", "hub", "built"), languages)
            tasks[name] = TaskUse(self._places(*parts["data"], ("path", "hub"), languages), train, use)
        return tasks

    def _together(
        self,
        axes: Mapping[str, Axis],
        tasks: Mapping[str, TaskUse],
        family: str | None,
        found: Mapping[str, tuple[str, yaml.Node]],
    ) -> None:
        """What does not go together."""
        if "data" not in found:  # then only bases are measured
            training = [found[key][0] for key in ("family", "adapt", "adapt-family") if key in found]
            training += [
                axis.line
                for name, axis in axes.items()
                if axis.section.startswith("adapt") or name in ("objective", "max_bytes")
            ]
            self.mistakes += [f"{place}: no data to train on ('data:')" for place in dict.fromkeys(training)]
        fused = [name for name, task in tasks.items() if "fused" in task.use]
        if fused and "data" in axes and len([value for value in axes["data"].values if "+" not in value]) < 2:
            self.mistakes.append(
                f"{found['tasks'][0]}: {fused[0]}: fused needs adapters on two data sets or more (axes: data)"
            )
        if family is not None and fused:
            self.mistakes.append(f"{found['tasks'][0]}: {fused[0]}: fused does not go with 'family:'")
        for name, axis in axes.items():
            if axis.section == "vocab" and family is None:
                self.mistakes.append(f"{axis.line}: {name} is for families ('family:')")
        if "vocab" in found and family is None:
            self.mistakes.append(f"{found['vocab'][0]}: a vocabulary is for families ('family:')")
