"""The costs of runs side by side: tokens, floating point operations and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.errors import InputError
from langlift.training.run_folder import is_finished, read_metrics


@dataclass(frozen=True)
class RunCost:
    """The training of one run: ``flops`` are floating point operations, ``seconds`` its time.

    ``characters`` is the approximate amount of text, and ``vocabulary_size`` the base's; 0 if not recorded.
    """

    run: str
    vocabulary_size: int
    tokens: int
    characters: int
    flops: int
    seconds: float


@dataclass(frozen=True)
class CostTable:
    """The costs of several runs; ``times_first`` are their operations relative to those of the first run.

    They are per character of text (which, unlike tokens, is comparable between vocabularies) if all runs recorded
    it, else in total.
    """

    runs: list[RunCost]
    per_character: bool
    times_first: list[float]


def cost_table(runs: Sequence[Path]) -> CostTable:
    """Read what finished runs of adapt, adapt-family, task and pretrain recorded.

    Raises:
        InputError: all folders that are not finished runs, or did not record operations.
    """
    errors: list[str] = []
    costs: list[RunCost] = []
    for run in runs:
        try:
            costs.append(_cost(run))
        except InputError as error:
            errors.append(error.message)
    if errors:
        raise InputError("; ".join(errors), "name run folders of adapt, adapt-family, task, fuse or pretrain")
    per_character = all(cost.characters for cost in costs)
    values = [cost.flops / cost.characters if per_character else float(cost.flops) for cost in costs]
    return CostTable(costs, per_character, [value / values[0] for value in values])


def _cost(run: Path) -> RunCost:
    if not is_finished(run):
        raise InputError(f"{run}: not a finished run (no metrics.json)")
    metrics = read_metrics(run)
    if not metrics.get("flops"):
        raise InputError(f"{run}: records no floating point operations")
    numbers = {key: metrics.get(key, 0) for key in ("vocabulary_size", "characters", "tokens", "flops", "seconds")}
    return RunCost(str(run), **numbers)
