"""A planned run: its kind, settings and inputs, and the hash that identifies it."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, Union

from langlift.adapters.method import METHODS, is_whole_model, readers
from langlift.backbones.loading import model_location
from langlift.files import read_json, sha256_of
from langlift.prompting.recipe import PromptRecipe
from langlift.studies.study import PromptedModel
from langlift.training.recipes import CAUSAL, AdaptRecipe

RUN = "run.json"
"""The record of a finished run, with its hash."""
DATA = "data"
"""The subfolder of a run for what it built: a corpus, a graph, a reduced data set or a vocabulary."""
BUILDS = ("corpus", "graph", "cut", "vocab")
"""The kinds of runs that build something for other runs, in ``DATA``. All others write to their folder itself."""
TRAIN_EXAMPLES, ALL_EXAMPLES = "train_examples", "all examples"
"""The setting of how many examples a task and its baselines are trained on; and what stands for 0 in cells."""
SCORED = "flores"
"""The source of sentences that are only scored."""
IN_NAME = ("task", "use", "language", "method", "data", "objective", "variant", "with")
"""Entries of a cell that are part of a run's name, in this order; other axes and the seed follow."""
NOT_IN_NAME = ("base", "metric", "seed")
DEFAULT_OBJECTIVE = AdaptRecipe().objective
"""The objective that names do not mention."""
UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Input:
    """Something that exists before the study: a file, a folder, a model or a data set of the hub; and its hash."""

    path: str
    sha256: str


Dependency = Union["Step", Input]
Inputs = Mapping[str, tuple[Dependency, ...]]


@dataclass(frozen=True)
class PromptCall:
    """How ``langlift prompt`` is called, including what does not change the result (prompts sent at once, ...)."""

    model: PromptedModel
    recipe: PromptRecipe
    template: Path | None


@dataclass(frozen=True)
class Step:
    """One run: ``kind`` is the verb; ``settings`` and ``inputs`` determine the result.

    ``cell`` is its value on every axis, for tables; ``call`` is for runs that prompt. Neither is part of the hash.
    """

    kind: str
    settings: Mapping[str, Any]
    inputs: Inputs
    cell: Mapping[str, Any]
    published: bool | None = None
    several_bases: bool = field(default=False, compare=False)
    call: PromptCall | None = field(default=None, compare=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of kind, settings and inputs: the same for the same work in every study, on every machine."""
        inputs = {
            name: [one.hash if isinstance(one, Step) else one.sha256 for one in some]
            for name, some in self.inputs.items()
        }
        content = {"kind": self.kind, "settings": self.settings, "inputs": inputs}
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def name(self) -> str:
        """The name of the run's folder, such as ``adapt-mlt_Latn-seq_bn-text-1-ab12cd34``."""
        cell = {key: value for key, value in self.cell.items() if value not in (None, DEFAULT_OBJECTIVE)}
        names = [*(("base",) if self.several_bases else ()), *IN_NAME]
        parts = [Path(str(cell[key])).name for key in names if key in cell]
        parts += [f"{key}={value}" for key, value in cell.items() if key not in (*IN_NAME, *NOT_IN_NAME)]
        parts += [str(cell["seed"])] if "seed" in cell else []
        text = UNSAFE.sub("_", "-".join([self.kind, *parts]).replace("=", "."))
        return f"{text[:120]}-{self.hash[:8]}"

    @property
    def needs(self) -> list["Step"]:
        """The runs that this one depends on, each once."""
        found = [one for some in self.inputs.values() for one in some if isinstance(one, Step)]
        return list({one.hash: one for one in found}.values())

    def paths(self, *names: str) -> list[Path]:
        """The paths among some inputs: those that are not results of other runs."""
        found = (one for name in names for one in self.inputs.get(name, ()))
        return [Path(one.path) for one in found if isinstance(one, Input)]

    def base(self, name: str = "base") -> str:
        """The name or folder of the base model (or of ``other_base``)."""
        return str(self.paths(name)[0])

    def task_data(self) -> tuple[str, list[str]] | None:
        """The task's data and its other training data; None if some of it is not on this machine."""
        (data,), train = self.paths("data"), self.paths("train_data")
        return (
            (str(data), list(map(str, train))) if all(on_disk(path).exists() for path in (data, *train)) else None
        )

    @property
    def trains_model(self) -> bool:
        """Whether it trains a whole model, not an adapter."""
        return self.kind in ("adapt", "family", "task") and is_whole_model(self.settings["method"])

    def models_in(self, runs: Path) -> list[Path]:
        """The files with the weights of the whole model that it trained, if there are any."""
        return [*self.folder_in(runs).rglob("model*.safetensors")] if self.trains_model else []

    def output_in(self, runs: Path) -> Path:
        """The folder of the run's result."""
        folder = self.folder_in(runs)
        return folder / DATA if self.kind in BUILDS else folder

    def folder_in(self, runs: Path) -> Path:
        """The run's folder, which keeps its first name even if the study has got more axes since."""
        mine = runs / self.name
        if mine.exists() or not runs.is_dir():
            return mine
        folders = _folders_by_hash(runs, runs.stat().st_mtime_ns)
        found = runs / folders.get((self.kind, self.hash[:8]), self.name)
        return found if read_json(found / RUN).get("hash", self.hash) == self.hash else mine


@lru_cache(maxsize=1)
def _folders_by_hash(runs: Path, changed: int) -> dict[tuple[str, str], str]:
    """The names of runs' folders by kind and beginning of the hash, listed again when ``changed``."""
    names = sorted((path.name for path in runs.iterdir()), reverse=True)
    return {(name.partition("-")[0], name.rpartition("-")[2]): name for name in names}


def is_scored(step: Step) -> bool:
    """Whether a run builds sentences that are only scored."""
    return step.kind == "corpus" and str(step.settings["sources"][0]).startswith(SCORED)


def read_settings(recipe: Any) -> dict[str, Any]:
    """The settings of a recipe that its method and objective read."""
    return {name: value for name, value in asdict(recipe).items() if not is_unread(recipe, name)}


def is_unread(recipe: Any, setting: str) -> bool:
    """Whether the recipe's method or objective does not read a setting."""
    if setting == "targeted_as_published":
        return bool(recipe.objective != "targeted")
    if setting == "masking_share":
        return bool(recipe.objective in ("targeted", CAUSAL))
    if setting == "train_head" and (recipe.objective == CAUSAL or METHODS[recipe.method].whole_model):
        return True
    if setting == "columns":  # guessed from the data
        return not recipe.columns
    if setting == "path":
        return True
    return bool(methods := readers(setting)) and recipe.method not in methods


def existing(path: str) -> Input:
    """A file or folder with the hash of its content; or the id of a data set, which is its own identity."""
    if (folder := on_disk(path)) == Path(path):
        return Input(path, _hash_of(path, _state(folder)))
    content = _hash_of(str(folder), _state(folder)) + path.rpartition(":")[2]
    return Input(path, hashlib.sha256(content.encode()).hexdigest())


def on_disk(path: str | Path) -> Path:
    """The path of data; of ``FOLDER:CONFIG``, a configuration of a folder in the hub's format, the folder."""
    folder, colon, _ = str(path).rpartition(":")
    return Path(folder) if colon and Path(folder).is_dir() and not Path(path).exists() else Path(path)


def data_source(text: str) -> Input:
    """``KIND:PATH`` with the hash of the file; a hub source or ``cldr`` is its own identity."""
    path = text.partition(":")[2]
    return Input(text, existing(path if Path(path).is_absolute() else text).sha256)


def base_model(name: str) -> Input:
    """A base model: a folder with the hash of its files; a hub id is its own identity."""
    location = model_location(name)
    return Input(name, _hash_of(location, _state(Path(location))))


def _state(path: Path) -> tuple[tuple[Path, int, int], ...]:
    """Path, size and time of every file, so that a changed file is read again."""
    if path.is_file():
        files = [path]
    else:
        found = (one for one in sorted(path.rglob("*")) if one.is_file())
        files = [one for one in found if not any(p.startswith(".") for p in one.relative_to(path).parts)]
    return tuple((one, one.stat().st_size, one.stat().st_mtime_ns) for one in files)


@cache
def _hash_of(path: str, state: tuple[tuple[Path, int, int], ...]) -> str:
    if not state:
        return hashlib.sha256(path.encode()).hexdigest()
    if Path(path).is_file():
        return sha256_of([Path(path)])
    digest = hashlib.sha256()
    for file, size, _ in state:
        digest.update(f"{file.relative_to(path)}\0{size}\0".encode())
        digest.update(bytes.fromhex(sha256_of([file])))
    return digest.hexdigest()
