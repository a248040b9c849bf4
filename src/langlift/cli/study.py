"""``langlift study``."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langlift.cli.options import argument, command, flag, note, option, print_json, print_table
from langlift.errors import InputError

if TYPE_CHECKING:
    from langlift.studies.planning import StudyPlan

app = typer.Typer(help="Experiments of many runs, described in one file.", rich_markup_mode=None)

File = Annotated[Path, argument("STUDY", "Study file, folder of a study, or shipped study such as smoke.")]


@app.command("plan")
@command("studies.pricing:PlanPrice")
def plan(
    *,
    file: File,
    out: Path | None = option("--out FOLDER", "Study folder, whose finished runs are left out.", None),
    gpu: list[str] | None = option("--gpu NAME", "Also estimate hours on this GPU, such as A100.", None),
    price: float | None = option("--price", "Price of an hour on the GPU, in any currency.", None, min=0),
    full: bool = flag("--full", "Show every run, not only sums by kind, language and method."),
    no_calibrate: bool = flag("--no-calibrate", "Do not time this machine, which takes about 30 seconds."),
) -> Iterator[Any]:
    """Summarise the runs of a study and their estimated costs, without starting any."""
    from langlift.cli.study_display import show_plan
    from langlift.studies.pricing import gpus_by_name, price_plan

    if price is not None and not gpu:
        raise InputError("--price is that of an hour on a GPU, and none is named", "add --gpu, such as --gpu A100")
    gpus = gpus_by_name(gpu or ())
    planned, finished, remarks = _planned(file, file if file.is_dir() and out is None else out)
    priced = price_plan(planned, finished, gpus, not no_calibrate, price)
    priced.remarks.extend(remarks)
    yield priced
    show_plan(priced, full)


def _planned(file: Path, folder: Path | None) -> tuple["StudyPlan", set[str], list[str]]:
    """A study's plan, whose data are there; the hashes of the runs finished in a folder; and remarks."""
    from langlift.studies.checking import check_data, hub_remarks
    from langlift.studies.cutting import larger_than_data
    from langlift.studies.folder import RUNS, is_done
    from langlift.studies.planning import plan_study
    from langlift.studies.study_file import read_study

    planned = plan_study(read_study(file))
    check_data(planned)
    runs = None if folder is None else folder / RUNS
    finished = {step.hash for step in planned.steps if runs is not None and is_done(runs, step)}
    from_hub = hub_remarks(step for step in planned.steps if step.hash not in finished)
    return planned, finished, [*larger_than_data(planned.steps, runs), *from_hub]


@app.command("run")
@command("studies.running:StudyResult", training=True)
def run(
    *,
    file: File,
    out: Path | None = option("--out FOLDER", "Study folder; contains nothing but the study.", None),
    ray: str | None = option("--ray ADDRESS", "Run on this Ray cluster (local: this machine).", None),
    workers: int | None = option("--workers", "--ray local: runs at once. [default: one per core]", None, min=1),
    cpus: float = option("--cpus", "--ray: cores per run.", 1, min=0),
    gpus: float = option("--gpus", "--ray: GPUs per run.", 0, min=0),
    set_aside: bool = flag("--set-aside", "Move runs that are no longer part of the study to set-aside/."),
    as_json: bool,
) -> None:
    """Execute all unfinished runs of a study; after an interruption, run the same command again."""
    from langlift.cli.study_display import watching
    from langlift.studies.running import ray_engine, run_study, study_of

    path, folder = study_of(file, out)
    planned, finished, remarks = _planned(path, folder)
    for remark in remarks:
        note(remark)
    engine = None if ray is None else ray_engine(ray, workers, cpus, gpus)
    with watching(planned, len(finished)) as watcher:
        result = run_study(planned, folder, watcher, engine, set_aside)
    if as_json:
        print_json(result)
    else:
        for reason in result.left_out:
            note(f"left out: {reason}")
        for remark in result.remarks:
            note(remark)
        for failure in result.failures:
            note(f"{'skipped' if failure.skipped else 'failed'}: {failure.run}: {failure.error}")
        done = result.finished_before + result.finished_now
        note(f"{done} of {result.runs} runs are finished ({result.finished_now} now).")
        if not result.failures:
            note(f"Next: langlift report {quote(str(folder))} --out report.html")
    if result.failures:
        raise typer.Exit(1)


@app.command("status")
@command("studies.running:StudyStatus")
def status(*, file: File, out: Path | None = option("--out FOLDER", "Study folder.", None)) -> Iterator[Any]:
    """Show the progress of a study: each finished, running, stopped and failed run; missing ones are counted."""
    from langlift.studies.planning import plan_study
    from langlift.studies.running import status_of, study_of
    from langlift.studies.study_file import read_study

    path, folder = study_of(file, out)
    study_status = status_of(plan_study(read_study(path)), folder)
    yield study_status
    rows = [(one.name, one.state, one.shown) for one in study_status.runs if one.state != "missing"]
    title = f"{study_status.study}: {study_status.counts['finished']} of {len(study_status.runs)} finished"
    if rows:
        print_table(title, ("run", "state", "result"), rows, numbers=False)
    note(", ".join(f"{count} {state}" for state, count in study_status.counts.items() if count))


@app.command("show")
@command("studies.folder:StudyRun")
def show(*, run: Path = argument("RUN", "Folder of a run: STUDY/runs/NAME.")) -> Iterator[Any]:
    """Show one run of a study: its settings, result, cost and dependencies."""
    from langlift.studies.folder import show_run

    found = asdict(show_run(run)) | {"folder": str(run)}
    yield found
    from yaml import safe_dump

    stated = {name: value for name, value in found.items() if value is not None}
    typer.echo(safe_dump(stated, sort_keys=False, allow_unicode=True).rstrip())
