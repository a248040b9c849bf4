"""``langlift diagnose``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langlift.backbones.base_name import BaseName
from langlift.cli.options import Debug, Json, Precision, model_option, note, print_json, print_table, trusting

if TYPE_CHECKING:
    from rich.table import Table

    from langlift.diagnosis.diagnosing import BaseDiagnosis, Diagnosis, LanguageDiagnosis


@trusting
def diagnose(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="LANG|FAMILY.yaml", help="A language, or a file that names several and their texts."
        ),
    ],
    bases: Annotated[
        list[BaseName],
        model_option("--base", "Base model: may be repeated, to rank several."),
    ] = [],  # noqa: B006 - read by typer
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help="Text in the language: a file, or a built data folder."),
    ] = None,
    graph: Annotated[
        Path | None,
        typer.Option("--graph", metavar="FOLDER", help="A graph of the language (langlift graph build)."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write a picture: diagnosis.svg, or a page: diagnosis.html."),
    ] = None,
    sentences: Annotated[int, typer.Option("--sentences", help="Score so many held-out sentences.")] = 30,
    no_timing: Annotated[
        bool, typer.Option("--no-timing", help="Do not time training steps: no expected time.")
    ] = False,
    precision: Precision = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Which base model for a language or a family, and what to do with it: measures, advice, next command."""
    from langlift.config.recipes import PRECISIONS
    from langlift.errors import InputError

    if precision is not None and precision not in PRECISIONS:
        raise InputError(f"unknown precision '{precision}'", f"one of {', '.join(PRECISIONS)}")
    family = None
    if Path(subject).suffix in (".yaml", ".yml"):
        from langlift.diagnosis.family_advice import FamilyPlan
        from langlift.training.family_file import read_family

        if text is not None or graph is not None:
            raise InputError("--text and --graph are for one language", "a family file names its texts itself")
        found, recipe = read_family(Path(subject), base=bases[0])
        data, bases = found.data, [found.base, *bases[1:]]
        family = FamilyPlan(Path(subject), found.name, recipe)
    else:
        from langlift.languages import find_language

        if text is None:
            raise InputError("no text is given", "name a text file in the language with --text")
        data, bases = {find_language(subject): (text,)}, list(filter(None, bases))
    from langlift.reports.diagnosis_page import check_picture, write_diagnosis

    if out is not None:
        check_picture(out)
    from dataclasses import asdict, replace

    from langlift.diagnosis import diagnosing

    result = diagnosing.diagnose(
        data,
        bases,
        graph,
        sentences=sentences,
        timing=not no_timing,
        precision=precision or "auto",
        family=family,
    )
    if out is not None:
        result = replace(result, picture=str(out))
        write_diagnosis(out, result)
    if as_json:
        print_json(asdict(result))
    else:
        _show(result)
    for reason in result.failed.values():
        note(f"not measured: {reason}")
    if result.failed:
        raise typer.Exit(1)


def _show(result: "Diagnosis") -> None:
    """Tables, the advice in words, the next commands."""
    from langlift.backbones.loading import head_hint

    if len(result.languages) == 1:
        print_table(_by_base(result.languages[0]))
    else:
        for base in result.ranking:
            print_table(_by_language(result, base))
    if len(result.ranking) > 1:
        ranked = ", ".join(f"{_short(base)} ({_surprise(value)})" for base, value in result.ranking.items())
        _say(
            f"\nBest first, by within-word pseudo-perplexity per character (the only perplexity here that can be "
            f"compared between vocabularies): {ranked}."
        )
    for base in list(result.ranking)[1:]:
        if result.ranking[base] is None:
            _say(f"\n{_short(base)} has no masked head: {head_hint(base)}")
    _say(f"\n{result.advice.text}")
    typer.echo("\nNext:")
    for line in result.advice.commands:
        typer.echo(f"  {line}")
    if result.advice.alternative:
        typer.echo("\nOr, cheaper, with the vocabulary as it is:")
        for line in result.advice.alternative:
            typer.echo(f"  {line}")
    if result.picture is not None:
        note(f"Picture: {result.picture}")


def _by_base(language: "LanguageDiagnosis") -> "Table":
    """Measures of one language in rows, base models in columns, best first."""
    from rich.table import Table

    size = language.text
    words = "" if size.words is None else f"{size.words:,} words, "
    title = f"{language.name} ({language.language}): {size.lines:,} lines, {words}{size.bytes / 1e6:.2f} MB"
    if language.graph is not None:
        title += f"; graph: {language.graph.sentences:,} triples of {language.graph.relations} relations"
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    for entry in language.bases:
        table.add_column(_short(entry.measures.base), justify="right", overflow="fold")
    own = "" if language.own_fertility is None else f" (own vocabulary: {language.own_fertility:.2f})"
    rows = {
        "within-word pseudo-perplexity per character": lambda e: _surprise(e.measures.per_character),
        "saw the language": _saw,
        "pieces in the vocabulary": lambda e: f"{e.measures.vocabulary.vocabulary_size:,}",
        f"tokens per word{own}": lambda e: _number(e.measures.vocabulary.fertility),
        "characters per token": lambda e: _number(e.measures.vocabulary.characters_per_token),
        "words kept whole": lambda e: _share(e.measures.vocabulary.whole_words),
        "words with an unknown part": lambda e: _share(e.measures.vocabulary.unknown_words),
        "unknown tokens": lambda e: _share(e.measures.vocabulary.unknown_share),
        "byte tokens": lambda e: _share(e.measures.vocabulary.byte_share),
        "letters it lacks, of all in the text": lambda e: _share(1 - e.measures.vocabulary.letter_coverage),
        "which, most frequent first": _missing,
        "advice: vocabulary": lambda e: e.advice.vocabulary,
        "advice: train": lambda e: f"{e.advice.method}, {e.advice.objective}",
        "a training step": _step,
    }
    for name, value in rows.items():
        table.add_row(name, *(value(entry) for entry in language.bases))
    return table


def _by_language(result: "Diagnosis", base: str) -> "Table":
    """Languages in rows, the measures of one base model in columns."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=base,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        caption=COLUMNS,
        caption_justify="left",
    )
    headings = ("language", "MB", "saw", "surprise", "pieces", "own", "whole", "broken", "lacks")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "language" else "right", no_wrap=True)
    for language in result.languages:
        entry = next(entry for entry in language.bases if entry.measures.base == base)
        fit = entry.measures.vocabulary
        table.add_row(
            language.name,
            f"{language.text.bytes / 1e6:.2f}",
            {True: "yes", False: "no", None: "?"}[entry.measures.exposure.seen],
            _number(entry.measures.per_character),
            _number(fit.fertility),
            _number(language.own_fertility),
            _share(fit.whole_words),
            _share(fit.unknown_share + fit.byte_share),
            _share(1 - fit.letter_coverage),
        )
    return table


COLUMNS = (
    "saw: whether it saw the language in pre-training; surprise: within-word pseudo-perplexity per character "
    "(- without masked head); "
    "pieces: tokens per word; own: those of a vocabulary of the language's own; whole: words kept whole; "
    "broken: unknown and byte tokens; lacks: letters it lacks, of all in the text"
)


def _surprise(per_character: float | None) -> str:
    return "no masked head" if per_character is None else f"{per_character:.2f}"


def _saw(entry: "BaseDiagnosis") -> str:
    saw = entry.measures.exposure
    if saw.seen is None:
        return "not known"
    if not saw.seen:
        return "no"
    return "yes" if saw.megabytes is None else f"yes, {saw.megabytes:,.0f} MB"


def _missing(entry: "BaseDiagnosis") -> str:
    from langlift.diagnosis.advice import visible

    letters = [visible(missing.letter) for missing in entry.measures.vocabulary.missing]
    return " ".join(letters[:10]) + (f" +{len(letters) - 10}" if len(letters) > 10 else "") if letters else "none"


def _step(entry: "BaseDiagnosis") -> str:
    step = entry.measures.step
    return "not timed" if step is None else f"{step.seconds:.2f} s ({step.precision})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _short(base: str) -> str:
    """A model's name without the folders or the owner before it."""
    return Path(base).name


def _say(text: str) -> None:
    """A paragraph, wrapped at words."""
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(text)
