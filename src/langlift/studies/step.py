"""One run of a study: what is done, with which settings, to what; and the hash that is its identity."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Union

from langlift.backbones.loading import model_location
from langlift.files import sha256_of

DATA = "data"
"""The folder within a run's folder of what was built: a corpus, a graph, a cut data set, a vocabulary."""
BUILDS = ("corpus", "graph", "cut", "vocab")
"""The kinds of runs that make something for others in ``DATA``; the others make it in their folder itself."""
IN_NAME = ("task", "use", "language", "method", "data", "objective", "variant", "with")
"""What of a cell stands in a run's name, in this order; other axes and the seed come after."""
NOT_IN_NAME = ("base", "metric", "seed")
PLAIN = "mlm"
"""The objective that a name does not mention."""
UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class Input:
    """Something that is there before the study: a file, a folder, a model or a set of the hub, by its hash."""

    path: str
    sha256: str


Source = Union["Step", Input]


@dataclass(frozen=True)
class Step:
    """One run. ``kind`` is the verb, ``settings`` all that decides the result beside the ``inputs``.

    ``cell`` says where the run stands among the axes, for people and tables; ``serving`` is how a model is asked
    (how many prompts at once, ...) as far as that changes no result. Neither is part of the hash.
    """

    kind: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, tuple[Source, ...]]
    cell: Mapping[str, Any]
    published: bool | None = None
    several_bases: bool = field(default=False, compare=False)
    serving: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of kind, settings and inputs: the same for the same work, in every study, on every machine."""
        inputs = {
            name: [one.hash if isinstance(one, Step) else one.sha256 for one in some]
            for name, some in self.inputs.items()
        }
        content = {"kind": self.kind, "settings": self.settings, "inputs": inputs}
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def name(self) -> str:
        """The name of the run's folder, such as ``adapt-mlt_Latn-seq_bn-text-1-ab12cd34``."""
        cell = {key: value for key, value in self.cell.items() if value not in (None, PLAIN)}
        names = [*(("base",) if self.several_bases else ()), *IN_NAME]
        parts = [Path(str(cell[key])).name for key in names if key in cell]
        parts += [f"{key}={value}" for key, value in cell.items() if key not in (*IN_NAME, *NOT_IN_NAME)]
        parts += [str(cell["seed"])] if "seed" in cell else []
        text = UNSAFE.sub("_", "-".join([self.kind, *parts]).replace("=", "."))
        return f"{text[:120]}-{self.hash[:8]}"

    @property
    def needs(self) -> list["Step"]:
        """The runs that this one builds on, each once."""
        found = [one for some in self.inputs.values() for one in some if isinstance(one, Step)]
        return list({one.hash: one for one in found}.values())

    def texts(self, *names: str) -> list[Path]:
        """The files among some inputs, which are there already."""
        found = (one for name in names for one in self.inputs.get(name, ()))
        return [Path(one.path) for one in found if isinstance(one, Input)]

    def made_in(self, runs: Path) -> Path:
        """The folder of what the run makes."""
        folder = self.folder_in(runs)
        return folder / DATA if self.kind in BUILDS else folder

    def folder_in(self, runs: Path) -> Path:
        """The run's folder; it keeps the name that it got first, though the study may have more axes by now."""
        mine = runs / self.name
        others = () if mine.exists() else sorted(runs.glob(f"{self.kind}-*-{self.hash[:8]}"))
        return next(iter(others), mine)


def task_data(step: Step) -> tuple[str, list[str]] | None:
    """The task data and other training data of a run; None where some of it is not on this machine."""
    (data,) = (str(path) for path in step.texts("data"))
    train = [str(path) for path in step.texts("train_data")]
    return (data, train) if all(Path(path).exists() for path in (data, *train)) else None


def existing(path: str) -> Input:
    """A file or folder of the user's, or the id of a data set, with the hash of its content."""
    return Input(path, _hash_of(path, _state(Path(path))))


def base_model(name: str) -> Input:
    """A base model: of a folder, the hash of its files; a hub id stands for itself."""
    location = model_location(name)
    return Input(name, _hash_of(location, _state(Path(location))))


def _state(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of every file, so that a file that changed is read again."""
    if not path.exists():
        return ()
    return tuple((str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in _files(path))


@cache
def _hash_of(path: str, state: tuple[tuple[str, int, int], ...]) -> str:
    if not state:
        return hashlib.sha256(path.encode()).hexdigest()
    if Path(path).is_file():
        return sha256_of([Path(path)])
    digest = hashlib.sha256()
    for file, size, _ in state:
        digest.update(f"{Path(file).relative_to(path)}\0{size}\0".encode())
        digest.update(bytes.fromhex(sha256_of([Path(file)])))
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for one in sorted(path.rglob("*")):
        if one.is_file() and not any(part.startswith(".") for part in one.relative_to(path).parts):
            yield one
