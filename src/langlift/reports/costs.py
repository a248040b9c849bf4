"""What runs cost, side by side: tokens, floating point operations and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.errors import InputError
from langlift.training.run_folder import is_finished, read_metrics


@dataclass(frozen=True)
class RunCost:
    """One run's training: ``flops`` are floating point operations, ``seconds`` the time it took.

    ``characters`` is about how much text was trained on, and ``vocabulary_size`` the base's; 0 where the run
    does not record it.
    """

    run: str
    vocabulary_size: int
    tokens: int
    characters: int
    flops: int
    seconds: float

    @property
    def flops_per_character(self) -> float | None:
        """Operations for each character of text, which vocabularies can be compared by, unlike tokens."""
        return self.flops / self.characters if self.characters else None


@dataclass(frozen=True)
class CostTable:
    """The costs of several runs. ``times_first`` has how many times the first run's operations each took.

    For each character of text where all runs record that, else in all.
    """

    runs: list[RunCost]
    per_character: bool
    times_first: list[float]


def cost_table(runs: Sequence[Path]) -> CostTable:
    """Read what finished runs of adapt, adapt-family, task and pretrain recorded.

    Raises:
        InputError: a folder is no finished run, or one from before costs were recorded; all are named.
    """
    mistakes: list[str] = []
    costs: list[RunCost] = []
    for run in runs:
        if not is_finished(run):
            mistakes.append(f"{run}: not a finished run (no metrics.json)")
            continue
        try:
            metrics = read_metrics(run)
        except InputError as error:
            mistakes.append(error.message)
            continue
        if not metrics.get("flops"):
            mistakes.append(f"{run}: records no floating point operations")
            continue
        costs.append(
            RunCost(
                run=str(run),
                vocabulary_size=metrics.get("vocabulary_size", 0),
                tokens=metrics["tokens"],
                characters=metrics.get("characters", 0),
                flops=metrics["flops"],
                seconds=metrics["seconds"],
            )
        )
    if mistakes:
        raise InputError("; ".join(mistakes), "name run folders of adapt, adapt-family, task, fuse or pretrain")
    each = [cost.flops_per_character for cost in costs]
    per_character = all(value is not None for value in each)
    values = [value or 0.0 for value in each] if per_character else [float(cost.flops) for cost in costs]
    return CostTable(costs, per_character, [value / values[0] for value in values])
