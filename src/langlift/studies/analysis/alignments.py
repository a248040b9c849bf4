"""Runs that compare vectors, by what they were compared with: each measure by language and condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from langlift.studies.analysis.measures import ALIGNMENT, SHARES, Measure, Results, results_of
from langlift.studies.store import StudyRun
from langlift.training.run_folder import read_metrics


@dataclass(frozen=True)
class Aligned:
    """All runs compared ``to`` one language or base; ``results`` of each measure of ``SHARES``, by its name.

    ``layers`` has the mean CKA of each layer over languages and seeds, by condition, lowest layer first; it is
    empty where only the last layer was measured.
    """

    to: str
    results: Mapping[str, Results]
    layers: Mapping[str, Sequence[float]]


def alignments(runs: Sequence[StudyRun]) -> list[Aligned]:
    """The alignment runs among ``runs``."""
    by_other: dict[str, list[StudyRun]] = {}
    for run in runs:
        if run.kind == ALIGNMENT:
            by_other.setdefault(str(run.cell["with"]), []).append(run)
    found = []
    for to, some in by_other.items():
        results = {
            name: results_of(
                Measure(None, name),
                [replace(run, result={**run.result, "value": run.result[name]}) for run in some],
            )
            for name in SHARES
        }
        found.append(Aligned(to, results, _layers(results["cka"])))
    return found


def _layers(results: Results) -> dict[str, list[float]]:
    means = {}
    for condition in results.conditions:
        runs = [run for language in results.languages for run in results.runs(language, condition)]
        each = [[layer["cka"] for layer in read_metrics(run.folder)["by_layer"]] for run in runs]
        if len(set(map(len, each))) == 1 and len(each[0]) > 1:
            means[condition.label] = [mean(layer) for layer in zip(*each, strict=True)]
    return means
