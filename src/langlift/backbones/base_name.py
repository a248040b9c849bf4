"""Names of base models: bundled models, folders, hub ids, and aliases of known models. Does not import torch."""

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Self

from langlift.bundled_models import BUNDLED, DEFAULT_BASE
from langlift.errors import InputError
from langlift.hub_folders import refuse_path

ALIASES = {
    "xlm-r": "FacebookAI/xlm-roberta-base",
    "xlm-r-large": "FacebookAI/xlm-roberta-large",
    "mbert": "google-bert/bert-base-multilingual-cased",
    "distilmbert": "distilbert/distilbert-base-multilingual-cased",
    "mmbert": "jhu-clsp/mmBERT-base",
    "mmbert-small": "jhu-clsp/mmBERT-small",
    "glot500": "cis-lmu/glot500-base",
    "afro-xlmr": "Davlan/afro-xlmr-base",
    "labse": "sentence-transformers/LaBSE",
    "me5-small": "intfloat/multilingual-e5-small",
    "me5-base": "intfloat/multilingual-e5-base",
}
"""Alias -> hub id."""


@dataclass(frozen=True)
class BaseName:
    """Which base model: a bundled model, a folder, a hub id, or an alias, which is replaced by its hub id.

    A folder with the name of an alias takes precedence. ``trust_remote_code`` allows Python code that comes with
    the model to run. An empty name is false and stands for the base model that a run recorded.
    """

    name: str = ""
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if not Path(self.name).is_dir():
            object.__setattr__(self, "name", ALIASES.get(self.name.lower(), self.name))

    @classmethod
    def of(cls, base: Self | str | None) -> Self:
        """A ``BaseName`` as it is; a plain string (``None``: the empty name) without trust."""
        return base if isinstance(base, cls) else cls(str(base or ""))

    def __str__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        return bool(self.name)

    def or_else(self, name: str) -> Self:
        """This name, or ``name`` with the same trust if this one is empty."""
        return self if self else replace(self, name=name)


def similar_name(name: str) -> str | None:
    """The bundled model, alias or aliased hub id closest to a misspelt name; ``None`` if none is close."""
    names = (*BUNDLED, *ALIASES, *ALIASES.values())
    known = {one.rpartition("/")[2]: one for one in names} | {one: one for one in names}  # also without the owner
    near = [] if name in names else get_close_matches(name, known, n=1, cutoff=0.75)
    return known[near[0]] if near else None


def model_location(base: BaseName | str) -> str:
    """Resolve a model's name to a folder or hub id.

    InputError if it looks like a path and is not a model folder, or is a bundled model that is not there.
    """
    name = BaseName.of(base).name
    if name in BUNDLED:
        folder = BUNDLED[name].folder
        if not (folder / "config.json").is_file():
            raise InputError(f"{name}: does not come with this version of langlift", model_hint())
        return str(folder)
    path = Path(name).expanduser()
    if path.exists():
        if not (path / "config.json").is_file():
            raise InputError(f"{name}: not a model folder (no config.json)", model_hint())
        return str(path)
    if name not in ALIASES.values():
        refuse_path(name, "model folder", model_hint())
    return name


def model_hint() -> str:
    """What may be given as a base model."""
    others = "a folder written by save_pretrained, or a hub id such as FacebookAI/xlm-roberta-base"
    return f"give '{DEFAULT_BASE}', {others}"
