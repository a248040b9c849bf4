"""``langlift diagnose``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from langlift.backbones.base_name import BaseName
from langlift.cli.options import (
    Precision,
    argument,
    command,
    flag,
    model_option,
    note,
    option,
    print_json,
    print_rich,
    print_table,
)
from langlift.errors import InputError
from langlift.evaluation.scores import require_known

if TYPE_CHECKING:
    from langlift.diagnosis.diagnosing import BaseDiagnosis, Diagnosis, LanguageDiagnosis


@command("diagnosis.diagnosing:Diagnosis", trusting=True)
def diagnose(
    *,
    subject: str = argument("LANG|FAMILY.yaml", "Language, or a family file with languages and their texts."),
    bases: list[BaseName] = model_option("--base", "Base model; can be repeated to rank several.", []),
    text: Path | None = option("--text FILE", "Text in the language: text file or built data folder.", None),
    graph: Path | None = option("--graph FOLDER", "Graph of the language (from langlift graph build).", None),
    out: Path | None = option(
        "--out FILE", "Also write a chart (diagnosis.svg) or a page (diagnosis.html).", None
    ),
    sentences: int = option("--sentences", "Number of held-out sentences to score.", 30),
    no_timing: bool = flag("--no-timing", "Do not time training steps; no training time is estimated."),
    precision: Precision = None,
    as_json: bool,
) -> None:
    """Compare base models for a language or a family: measurements, advice and the next commands."""
    require_known("fast", precision or "auto")
    family = None
    if Path(subject).suffix in (".yaml", ".yml"):
        from langlift.diagnosis.advice import FamilyPlan
        from langlift.training.family_file import read_family

        if text is not None or graph is not None:
            raise InputError("--text and --graph are for one language", "a family file names its own texts")
        found, recipe = read_family(Path(subject), base=bases[0])
        data, bases = found.data, [found.base, *bases[1:]]
        family = FamilyPlan(Path(subject), found.name, recipe)
    else:
        from langlift.languages import find_language

        if text is None:
            raise InputError("no text is given", "give a text file in the language with --text")
        data, bases = {find_language(subject): (text,)}, list(filter(None, bases))
    from langlift.reports.diagnosis_page import check_picture, write_diagnosis

    if out is not None:
        check_picture(out)
    from dataclasses import replace

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
        print_json(result)
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
        _show_language(result.languages[0])
    else:
        for base in result.ranking:
            _show_base(result, base)
    if len(result.ranking) > 1:
        ranked = ", ".join(f"{_short(base)} ({_surprise(value)})" for base, value in result.ranking.items())
        print_rich(
            f"\nBest first, by within-word pseudo-perplexity per character (the only perplexity here that is "
            f"comparable between vocabularies): {ranked}."
        )
    for base in list(result.ranking)[1:]:
        if result.ranking[base] is None:
            print_rich(f"\n{_short(base)} has no MLM head: {head_hint(base)}")
    print_rich(f"\n{result.advice.text}")
    typer.echo("\nNext:")
    for line in result.advice.commands:
        typer.echo(f"  {line}")
    if result.advice.alternative:
        typer.echo("\nOr, cheaper, with the current vocabulary:")
        for line in result.advice.alternative:
            typer.echo(f"  {line}")
    if result.picture is not None:
        note(f"Chart: {result.picture}")


def _show_language(language: "LanguageDiagnosis") -> None:
    """Measurements of one language in rows, base models in columns, best first."""
    size = language.text
    words = "" if size.words is None else f"{size.words:,} words, "
    title = f"{language.name} ({language.language}): {size.lines:,} lines, {words}{size.bytes / 1e6:.2f} MB"
    if language.graph is not None:
        title += f"; graph: {language.graph.sentences:,} triples of {language.graph.relations} relations"
    own = "" if language.own_fertility is None else f" (own vocabulary: {language.own_fertility:.2f})"
    measures: dict[str, Callable[[BaseDiagnosis], str]] = {
        "within-word pseudo-perplexity per character": lambda e: _surprise(e.measures.per_character),
        "pre-trained on the language": _saw,
        "vocabulary size": lambda e: f"{e.measures.vocabulary.vocabulary_size:,}",
        f"tokens per word{own}": lambda e: _number(e.measures.vocabulary.fertility),
        "characters per token": lambda e: _number(e.measures.vocabulary.characters_per_token),
        "words that are one token": lambda e: _share(e.measures.vocabulary.whole_words),
        "words with an unknown part": lambda e: _share(e.measures.vocabulary.unknown_words),
        "unknown tokens": lambda e: _share(e.measures.vocabulary.unknown_share),
        "byte tokens": lambda e: _share(e.measures.vocabulary.byte_share),
        "missing letters": lambda e: _share(1 - e.measures.vocabulary.letter_coverage),
        "most frequent missing letters": _missing,
        "advice: vocabulary": lambda e: e.advice.vocabulary,
        "advice: training": lambda e: f"{e.advice.method}, {e.advice.objective}",
        "time of a training step": _step,
    }
    bases = language.bases
    print_table(
        title,
        ("measure", *(_short(entry.measures.base) for entry in bases)),
        [(name, *(value(entry) for entry in bases)) for name, value in measures.items()],
    )


def _show_base(result: "Diagnosis", base: str) -> None:
    """Languages in rows, the measurements of one base model in columns."""
    rows = []
    for language in result.languages:
        measures = next(entry.measures for entry in language.bases if entry.measures.base == base)
        fit = measures.vocabulary
        rows.append(
            (
                language.name,
                f"{language.text.bytes / 1e6:.2f}",
                {True: "yes", False: "no", None: "?"}[measures.exposure.seen],
                _number(measures.per_character),
                _number(fit.fertility),
                _number(language.own_fertility),
                _share(fit.whole_words),
                _share(fit.unknown_share + fit.byte_share),
                _share(1 - fit.letter_coverage),
            )
        )
    headings = ("language", "MB", "seen", "pppl", "tokens", "own", "whole", "unknown", "missing")
    from rich.box import SIMPLE_HEAD

    narrow: dict[str, Any] = {"box": SIMPLE_HEAD, "collapse_padding": True}
    print_table(base, headings, rows, caption=COLUMNS, caption_justify="left", **narrow)


COLUMNS = (
    "seen: whether it was pre-trained on the language; pppl: within-word pseudo-perplexity per character (-: no "
    "MLM head); tokens: tokens per word; own: the same with a vocabulary of the language's own; whole: words "
    "that are one token; unknown: unknown and byte tokens; missing: letters without a token"
)


def _surprise(per_character: float | None) -> str:
    return "no MLM head" if per_character is None else f"{per_character:.2f}"


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
    """A model's name without its folders or owner."""
    return Path(base).name
