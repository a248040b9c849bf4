"""``langlift predict``."""

import time
from dataclasses import asdict
from itertools import chain, tee
from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, MovedBase, note, print_json, trusting
from langlift.tasks.task import TASKS

WORD_FILES = {
    ending: [task.name for task in TASKS.values() if task.word_file == ending]
    for ending in sorted({task.word_file for task in TASKS.values() if task.word_file})
}
"""Ending -> the tasks whose predictions are written in such files."""
OUT_FILES = ", ".join([".tsv", ".jsonl", *(f"{end} ({', '.join(names)})" for end, names in WORD_FILES.items())])


@trusting
def predict(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder that 'langlift task --out' wrote, or one seed's; or a hub repository."
        ),
    ],
    text: Annotated[
        Path,
        typer.Option(
            "--text",
            metavar="FILE",
            help="A sentence a line, .tsv with a column text, .conll (a word a line) or .conllu; - is stdin.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="FILE",
            help=f"Written as {OUT_FILES}; - is stdout, JSON lines.",
        ),
    ] = Path("-"),
    seed: Annotated[int | None, typer.Option("--seed", help="Which seed of the run (none: best on dev).")] = None,
    base: MovedBase = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Label your own text with a trained task run, with probabilities; any amount of text, row by row."""
    from langlift.errors import InputError
    from langlift.hub_folders import local_folder
    from langlift.progress import ProgressBar
    from langlift.tasks.input_rows import STANDARD
    from langlift.tasks.prediction import load_trained_task
    from langlift.tasks.prediction_files import PredictResult, open_predictions

    if as_json and out == STANDARD:
        raise InputError("--json and predictions on stdout would mix", "name a file with --out")
    if STANDARD not in (text, out) and out.resolve() == text.resolve():
        raise InputError(f"--out {out}: is the file that is read", "choose another name")
    trained = load_trained_task(local_folder(run), seed, base)
    started = time.monotonic()
    source = trained.task.learner.read_inputs(text)
    first = next(source, None)
    if first is None:
        raise InputError(f"{text}: no text to label", "give a file with one sentence a line")
    rows, inputs = tee(chain([first], source))
    with open_predictions(out, trained) as writer, ProgressBar("labelling", None, "rows") as bar:
        for (row, _), prediction in zip(rows, trained(put_in for _, put_in in inputs), strict=True):
            writer.write(row, prediction)
            bar.advance()
    seconds = time.monotonic() - started
    result = PredictResult(
        task=trained.task.name,
        run=str(trained.folder),
        labels=trained.labels,
        rows=writer.rows,
        counts=writer.counts,
        seconds=round(seconds, 2),
        rows_per_second=round(writer.rows / max(seconds, 1e-9), 1),
        out=str(out),
    )
    if as_json:
        print_json(asdict(result))
    elif out != STANDARD:
        most = ", ".join(f"{label} {number}" for label, number in writer.counts.items())
        note(f"{writer.rows:,} rows labelled with {trained.folder} ({most}); written to {out}")
