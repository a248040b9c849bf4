"""The base models that come with langlift: one table, light enough for the start of the command line."""

from dataclasses import dataclass
from pathlib import Path

NANO, MINI = "langlift-nano", "langlift-mini"
DEFAULT_BASE = MINI
"""The base model that hints and examples recommend."""


@dataclass(frozen=True)
class BundledModel:
    """The location of a bundled model, and its default preset."""

    folder: Path
    preset: str


_FOLDERS = Path(__file__).parent / "bundled"
BUNDLED = {
    NANO: BundledModel(_FOLDERS / NANO, preset="nano"),
    MINI: BundledModel(_FOLDERS / MINI, preset="mini"),
}
"""The bundled models by name; the names are accepted wherever a model is expected."""
