"""The limits that advice depends on, with their reasons and origins: ``facts/diagnosis_limits.yaml``."""

from dataclasses import dataclass
from importlib.resources import files

import yaml


@dataclass(frozen=True)
class Threshold:
    """A limit. ``origin`` is ``published``, ``measured`` (here, with langlift-nano) or ``rule of thumb``."""

    name: str
    value: float
    meaning: str
    reason: str
    origin: str


_TABLE = yaml.safe_load((files("langlift") / "facts" / "diagnosis_limits.yaml").read_text(encoding="utf-8"))
THRESHOLDS = [Threshold(name, **limit) for name, limit in _TABLE.items()]
LIMITS = {limit.name: limit.value for limit in THRESHOLDS}
