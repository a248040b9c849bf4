"""Everything that a set of runs shows, computed once; reports only draw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from langlift.errors import InputError
from langlift.progress import ProgressBar
from langlift.studies.analysis.alignments import Aligned, alignments
from langlift.studies.analysis.bootstrap import Differences, compare
from langlift.studies.analysis.correlations import Correlation, correlate
from langlift.studies.analysis.curves import AxisCurves, curves_of, numeric_axes
from langlift.studies.analysis.measures import Results, sort_results
from langlift.studies.analysis.regression import Regression, regress
from langlift.studies.single_runs import read_runs
from langlift.studies.store import StudyRun


@dataclass(frozen=True)
class Analysis:
    """Runs, and what they show; ``differences`` has one entry for each of ``results``, in their order."""

    runs: list[StudyRun]
    unfinished: list[str]
    results: list[Results]
    differences: list[Differences]
    correlations: list[Correlation]
    regressions: list[Regression]
    curves: list[AxisCurves]
    alignments: list[Aligned]


def analyse(folders: Sequence[Path], axes: Sequence[str] = ()) -> Analysis:
    """Read study folders and run folders and compute what they show.

    ``axes`` are settings to draw curves over; without any, all that are numbers and vary.

    Raises:
        InputError: a folder is no study and no run; no run is finished; no run varies over an axis.
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
        said = ", ".join(sorted(known)) or "none"
        raise InputError(f"--axis {missing[0]}: not a number that varies between runs", f"there is: {said}")
    differences = []
    with ProgressBar("comparing", len(all_results), "measures") as bar:
        for results in all_results:
            differences.append(Differences([], []) if results.measure.is_loss else compare(results))
            bar.advance()
    curves = [
        found
        for results in all_results
        for axis in axes or numeric_axes(results)
        if (found := curves_of(results, axis)) is not None
    ]
    return Analysis(
        runs=runs,
        unfinished=unfinished,
        results=all_results,
        differences=differences,
        correlations=correlate(all_results, runs),
        regressions=[one for results in all_results if (one := regress(results)) is not None],
        curves=curves,
        alignments=alignments(runs),
    )
