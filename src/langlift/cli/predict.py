"""``langlift predict``."""

import time
from itertools import chain, tee
from pathlib import Path

from langlift.cli.options import MovedBase, argument, command, note, option, print_json
from langlift.tasks.task import TASKS

WORD_FILES = {
    ending: [task.name for task in TASKS.values() if task.word_file == ending]
    for ending in sorted({task.word_file for task in TASKS.values() if task.word_file})
}
"""File ending -> the tasks whose predictions have it."""
OUT_FILES = ", ".join([".tsv", ".jsonl", *(f"{end} ({', '.join(names)})" for end, names in WORD_FILES.items())])


@command("tasks.prediction_files:PredictResult", trusting=True)
def predict(
    *,
    run: Path = argument(
        "RUN", "Folder written by langlift task or fuse, one of its seed folders, or a hub repository."
    ),
    text: Path = option(
        "--text FILE",
        "One sentence per line, .tsv with a column text, .conll (one word per line) or .conllu; - is stdin.",
    ),
    out: Path = option("--out FILE", f"{OUT_FILES}; - is stdout, as JSON lines.", Path("-")),
    seed: int | None = option("--seed", "Seed of the run. [default: best on dev]", None),
    base: MovedBase = None,
    as_json: bool,
) -> None:
    """Label your own text, of any length, with a trained task run; predictions have probabilities."""
    from langlift.errors import InputError
    from langlift.hub_folders import local_folder
    from langlift.progress import ProgressBar
    from langlift.tasks.input_rows import STANDARD
    from langlift.tasks.prediction import load_trained_task
    from langlift.tasks.prediction_files import PredictResult, open_predictions

    if as_json and out == STANDARD:
        raise InputError("--json cannot be combined with predictions on stdout", "name a file with --out")
    if STANDARD not in (text, out) and out.resolve() == text.resolve():
        raise InputError(f"--out {out}: is the input file", "choose another name")
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
        print_json(result)
    elif out != STANDARD:
        most = ", ".join(f"{label} {number}" for label, number in writer.counts.items())
        note(f"{writer.rows:,} rows labelled with {trained.folder} ({most}); written to {out}")
