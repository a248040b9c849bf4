"""The whole analysis of a set of runs; reports only display it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from langlift.errors import InputError
from langlift.progress import ProgressBar
from langlift.studies.analysis.bootstrap import Differences, compare
from langlift.studies.analysis.correlations import Correlation, correlate
from langlift.studies.analysis.effects import AxisCurves, Regression, curves_of, numeric_axes, regress
from langlift.studies.analysis.measures import ALIGNMENT, SHARES, Measure, Results, results_of, sort_results
from langlift.studies.folder import StudyRun, read_runs
from langlift.training.run_folder import read_metrics


@dataclass(frozen=True)
class Similarity:
    """The alignment runs with one language or base to compare with: the results for each measure in ``SHARES``.

    Neurons are compared within a model only.

    ``layers`` is the mean CKA of each layer over languages and seeds, by condition, from the lowest layer; empty
    if only the last layer was measured.
    """

    compared_with: str
    results: Mapping[str, Results]
    layers: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Analysis:
    """Runs and their analysis; ``differences`` has one entry for each of ``results``, in the same order."""

    runs: list[StudyRun]
    unfinished: list[str]
    results: list[Results]
    differences: list[Differences]
    correlations: list[Correlation]
    regressions: list[Regression]
    curves: list[AxisCurves]
    alignments: list[Similarity]


def analyse(folders: Sequence[Path], axes: Sequence[str] = ()) -> Analysis:
    """Read study folders and run folders, and analyse their runs.

    ``axes`` are the settings to draw curves over (default: all numeric ones that vary).

    Raises:
        InputError: a folder is neither a study nor a run; no run is finished; an axis does not vary.
    """
    runs, unfinished = read_runs(folders)
    if not runs:
        raise InputError(
            f"no finished run among {len(unfinished)} of {', '.join(map(str, folders))}",
            "finish one first: langlift study run, or the run's own command with --resume",
        )
    all_results = sort_results(runs)
    known = {axis for results in all_results for axis in numeric_axes(results)}
    if missing := [axis for axis in axes if axis not in known]:
        available = ", ".join(sorted(known)) or "none"
        raise InputError(f"--axis {missing[0]}: not a number that varies between runs", f"available: {available}")
    differences = []
    with ProgressBar("comparing", len(all_results), "measures") as bar:
        for results in all_results:
            differences.append(Differences([], []) if results.measure.is_loss else compare(results))
            bar.advance()
    curves = [curves_of(results, axis) for results in all_results for axis in axes or numeric_axes(results)]
    return Analysis(
        runs=runs,
        unfinished=unfinished,
        results=all_results,
        differences=differences,
        correlations=correlate(all_results, runs),
        regressions=[one for results in all_results if (one := regress(results)) is not None],
        curves=[one for one in curves if one is not None],
        alignments=_similarities(runs),
    )


def _similarities(runs: Sequence[StudyRun]) -> list[Similarity]:
    by_other: dict[str, list[StudyRun]] = {}
    for run in runs:
        if run.kind == ALIGNMENT:
            by_other.setdefault(str(run.cell["with"]), []).append(run)
    found = []
    for other, some in by_other.items():
        results = {
            name: results_of(
                Measure(None, name),
                [replace(run, result={**run.result, "value": run.result[name]}) for run in some],
            )
            for name in SHARES
            if all(run.result[name] is not None for run in some)  # two models share no neurons
        }
        found.append(Similarity(other, results, _layers(results["cka"])))
    return found


def _layers(results: Results) -> dict[str, list[float]]:
    means = {}
    for condition in results.conditions:
        runs = [run for language in results.languages for run in results.runs(language, condition)]
        each = [[layer["cka"] for layer in read_metrics(run.folder)["by_layer"]] for run in runs]
        if len(set(map(len, each))) == 1 and len(each[0]) > 1:
            means[condition.label] = [mean(layer) for layer in zip(*each, strict=True)]
    return means
