"""Runs as a table for pandas."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from langlift.studies.folder import read_runs

if TYPE_CHECKING:
    from pandas import DataFrame


def runs_frame(*folders: str | Path) -> "DataFrame":
    """All finished runs of study folders and run folders as a table, one row each (each seed of a task).

    Columns: ``name`` and ``kind``; the run's value on each axis, such as ``language``, ``method``, ``task`` and
    ``seed``; ``value`` (the main number, in the unit of ``metric``) and ``before``; each trivial baseline as
    ``baseline_NAME``; the costs ``tokens``, ``flops``, ``seconds`` and ``peak_memory_bytes``; and ``folder``.

    Raises:
        InputError: a folder contains neither a study nor a run.
    """
    from pandas import DataFrame

    rows: list[dict[str, Any]] = []
    for run in read_runs([Path(folder) for folder in folders])[0]:
        numbers = {name: value for name, value in run.result.items() if not isinstance(value, dict)}
        baselines = {f"baseline_{name}": value for name, value in (run.result.get("baseline") or {}).items()}
        rows.append(
            {"name": run.name, "kind": run.kind, **run.cell, **numbers, **baselines, **run.cost}
            | {"folder": str(run.folder)}
        )
    return DataFrame(rows)
