"""``langlift study``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langlift.cli.options import Debug, Json, note, print_json, print_table

if TYPE_CHECKING:
    from langlift.studies.planning import StudyPlan
    from langlift.studies.pricing import PlanPrice, RunPrice

app = typer.Typer(help="Many runs from one file.", rich_markup_mode=None)

File = Annotated[
    Path,
    typer.Argument(
        metavar="STUDY", help="A study file, a study's folder, or one that comes along, such as smoke."
    ),
]


@app.callback()
def study() -> None:
    """Many runs from one file."""


@app.command("plan")
def plan(
    file: File,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Leave out what is finished there.")
    ] = None,
    gpu: Annotated[
        list[str] | None, typer.Option("--gpu", metavar="NAME", help="Also hours on this GPU, such as A100.")
    ] = None,
    no_calibrate: Annotated[
        bool, typer.Option("--no-calibrate", help="Do not time this machine, which takes about 30 seconds.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the runs of a study, each once, with what they cost, before anything starts."""
    from langlift.studies.checking import check_data
    from langlift.studies.folder import RUNS, is_done
    from langlift.studies.planning import plan_study
    from langlift.studies.pricing import gpus_by_name, price_plan
    from langlift.studies.study_file import read_study

    gpus = gpus_by_name(gpu or ())
    planned = plan_study(read_study(file))
    check_data(planned)
    folder = file if file.is_dir() and out is None else out
    finished = {step.hash for step in planned.steps if folder is not None and is_done(folder / RUNS, step)}
    price = price_plan(planned, finished, gpus, not no_calibrate)
    if as_json:
        print_json(asdict(price))
        return
    _print_plan(planned, price)


@app.command("run")
def run(
    file: File,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Folder of the study: its runs, and nothing else."),
    ] = None,
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="Run on this Ray cluster (local: this machine).")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="--ray local: runs at once (default: one for each core)."),
    ] = None,
    cpus: Annotated[float, typer.Option("--cpus", min=0, help="--ray: cores that each run is given.")] = 1,
    gpus: Annotated[float, typer.Option("--gpus", min=0, help="--ray: GPUs that each run is given.")] = 0,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="Move runs away that the study does not have any more.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Do all runs of a study that are not finished; the same command goes on after a stop."""
    from langlift.cli.study_display import watching
    from langlift.studies.checking import check_data
    from langlift.studies.planning import plan_study
    from langlift.studies.running import run_study, study_of
    from langlift.studies.study_file import read_study

    path, folder = study_of(file, out)
    planned = plan_study(read_study(path))
    check_data(planned)
    engine = None
    if ray is not None:
        from langlift.studies.on_ray import ray_engine

        engine = ray_engine(ray, workers, cpus, gpus)
    with watching(planned, folder) as watcher:
        result = run_study(planned, folder, watcher, engine, set_aside)
    if as_json:
        print_json(asdict(result))
    else:
        for reason in result.left_out:
            note(f"left out: {reason}")
        for failure in result.failures:
            note(f"{'skipped' if failure.skipped else 'failed'}: {failure.run}: {failure.error}")
        note(
            f"{result.finished_before + result.finished_now} of {result.runs} runs are finished "
            f"({result.finished_now} now)."
        )
    if result.failures:
        raise typer.Exit(1)


@app.command("status")
def status(
    file: File,
    out: Annotated[Path | None, typer.Option("--out", metavar="FOLDER", help="Folder of the study.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """How far a study is: finished, running, stopped, failed and missing runs."""
    from langlift.studies.planning import plan_study
    from langlift.studies.running import study_of
    from langlift.studies.status import status_of
    from langlift.studies.study_file import read_study

    path, folder = study_of(file, out)
    found = status_of(plan_study(read_study(path)), folder)
    if as_json:
        print_json(asdict(found))
        return
    from rich.table import Table

    table = Table(title=f"{found.study}: {found.counts['finished']} of {len(found.runs)} finished")
    table.title_justify = "left"
    for heading in ("run", "state", "result"):
        table.add_column(heading, overflow="fold")
    for one in found.runs:
        table.add_row(one.name, one.state, one.shown)
    print_table(table)
    note(", ".join(f"{count} {state}" for state, count in found.counts.items() if count))


@app.command("show")
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run: STUDY/runs/NAME.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """What one run of a study is: its place, its result, its cost, and what it was made from."""
    from langlift.studies.status import show_run

    found = asdict(show_run(run))
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table(title=str(found["name"]), title_justify="left", show_header=False)
    for name, value in _flat(found):
        table.add_row(name, value)
    print_table(table)


def _flat(found: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for key, value in found.items():
        if isinstance(value, dict):
            rows += [(f"{key}: {name}", _text(one)) for name, one in value.items() if one is not None]
        elif key != "name" and value is not None:
            rows.append((key, _text(value)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.2e}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return f"{value:,}"
    if isinstance(value, list):
        return "\n".join(map(str, value)) or "nothing"
    return str(value)


def _print_plan(planned: "StudyPlan", price: "PlanPrice") -> None:
    from rich.table import Table

    from langlift.progress import readable_seconds

    table = Table(title=f"{planned.study.name}: {len(price.runs)} runs", title_justify="left")
    table.add_column("run", overflow="fold")
    asks = any(one.kind == "prompt" for one in price.runs)
    for heading in (*(("requests",) if asks else ()), "tokens", "FLOPs", "disk", "here"):
        table.add_column(heading, justify="right", no_wrap=True)

    def row(name: str, one: "RunPrice") -> None:
        requests = "" if one.requests is None else f"{one.requests:,}"
        table.add_row(name, *((requests,) if asks else ()), *one.shown())

    for one in price.runs:
        row(one.name, one)
    table.add_section()
    row("all that is not finished", price.total)
    print_table(table)
    for reason in planned.left_out:
        note(f"left out: {reason}")
    for name, seconds in price.gpu_seconds.items():
        note(f"on one {name}: about {readable_seconds(seconds)}")
    for remark in price.remarks:
        note(remark)
