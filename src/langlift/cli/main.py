"""The command ``langlift``: its entry point, and how errors are reported."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import Abort, TyperException

from langlift.bundled_models import DEFAULT_BASE
from langlift.cli import (
    bench,
    corpus,
    demo,
    diagnose,
    graph,
    languages,
    results,
    score,
    sharing,
    study,
    tasks,
    training,
    vocab,
)
from langlift.errors import LangliftError, is_panic
from langlift.processes import is_writer
from langlift.progress import progress_to

INTERRUPTED = 130
RESUMABLE = ("adapt", "adapt-family", "fuse", "pretrain", "prompt", "task")
"""The commands with --resume."""
SYNONYMS = (
    ("--data", "--text", "--corpus", "--source", "--input", "--train-file"),
    ("--base", "--model", "--model-name-or-path"),
    ("--out", "--output-dir"),
    ("--steps", "--max-steps"),
    ("--epochs", "--num-train-epochs"),
    ("--batch-size", "--per-device-train-batch-size"),
)
"""Options with the same meaning, in different commands or in the scripts of Hugging Face."""
FIRST_STEPS = f"""langlift adapts small multilingual language models to low-resource languages. To start:

  langlift demo                 adapt the bundled model to Maltese: offline, a few minutes
  langlift languages Welsh      what is known about your language

With a text file in your language, one sentence per line (docs/tutorial.md explains each step):

  langlift adapt Welsh --base {DEFAULT_BASE} --data welsh.txt --out runs/welsh
  langlift score --base {DEFAULT_BASE} --adapter runs/welsh --text welsh.txt --split test
  langlift playground runs/welsh

All commands: langlift --help. One command: langlift adapt --help."""

app = typer.Typer(
    name="langlift",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"langlift {version('langlift')}")
        raise typer.Exit


@app.callback()
def _options(
    shown: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Adapt small multilingual language models to low-resource languages."""


app.command("demo")(demo.demo)
app.command("languages")(languages.languages)
app.command("diagnose")(diagnose.diagnose)
app.add_typer(corpus.app, name="corpus")
app.add_typer(graph.app, name="graph")
app.add_typer(vocab.app, name="vocab")
app.command("adapt")(training.adapt)
app.command("adapt-family")(training.adapt_family)
app.command("score")(score.score)
app.command("fuse")(tasks.fuse)
app.add_typer(tasks.app, name="task")
app.command("predict")(tasks.predict)
app.command("prompt")(tasks.prompt)
app.command("pretrain")(training.pretrain)
app.add_typer(study.app, name="study")
app.command("costs")(results.costs)
app.command("report")(results.report)
app.command("playground")(results.playground)
bench.add_to(app)
app.command("import")(sharing.import_adapter)
app.command("export")(sharing.export)
app.command("push")(sharing.push)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 bad usage or bad input, 130 interrupted."""
    if arguments is None:  # a process of its own: SIGTERM ends it like Ctrl-C, so that nothing half-written stays
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments and "_LANGLIFT_COMPLETE" not in os.environ:  # by which a shell asks for completions
        typer.echo(FIRST_STEPS)
        sys.exit(0)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        with _first_of_several_speaks():
            code = app(arguments, standalone_mode=False)
    except BaseException as error:  # the last place where an error can become one line
        if not (isinstance(error, Exception | KeyboardInterrupt) or is_panic(error)):
            raise
        code = _report(error, arguments)
    if code == INTERRUPTED:  # also by Typer
        resumable = bool(arguments) and arguments[0] in RESUMABLE
        hint = "run the same command again" + " with --resume to continue from the last checkpoint" * resumable
        _say("interrupted", hint, arguments)
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _first_of_several_speaks() -> Iterator[None]:
    """With several processes on one run, only the first shows progress and results; all report errors."""
    if is_writer():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), progress_to(lambda *report: None):
        yield


def _report(error: BaseException, arguments: Sequence[str]) -> int:
    """Print an error for a person (or as JSON) and return its exit code."""
    if "--debug" in arguments and not isinstance(error, TyperException):
        traceback.print_exception(error)
    if isinstance(error, LangliftError):
        _say(error.message, error.hint, arguments)
        return error.exit_code
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        message = error.format_message()
        if hasattr(error, "option_name") and hasattr(error, "possibilities"):
            message = f"No such option: {error.option_name}{_similar_option(error.option_name, context)}"
        _say(message, f"see {context.command_path if context else 'langlift'} --help", arguments)
        return 2
    if isinstance(error, Abort | KeyboardInterrupt):
        return INTERRUPTED
    reason = " ".join(str(error).split()) or "no message"
    hint = "run the same command with --debug to see where; please report it if it looks like a bug in langlift"
    _say(f"{type(error).__name__}: {reason}", hint, arguments)
    return 1


def _similar_option(option: str, context: Any) -> str:
    """The closest option, or how to give a setting that has no option; empty if none is close."""
    known = {name: name for parameter in context.command.params for name in parameter.opts}
    settings = getattr(getattr(context.command.callback, "recipe", None), "__dataclass_fields__", {})
    known = {f"--{name.replace('_', '-')}": f"--set {name}=VALUE" for name in settings} | known
    option = option.replace("_", "-")
    same = {name for names in SYNONYMS if option in names for name in names}
    near = [name for name in known if name in same] or get_close_matches(option, known, n=1)
    return f" (did you mean {known[near[0]]}?)" if near else ""


def _say(message: str, hint: str, arguments: Sequence[str]) -> None:
    if "--json" in arguments:
        sys.stderr.write(json.dumps({"error": message, "hint": hint}, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"Error: {message}\n" + (f"Hint: {hint}\n" if hint else ""))
