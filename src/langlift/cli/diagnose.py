"""``langlift diagnose``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from langlift.backbones.base_name import BaseName
from langlift.cli.options import (
    Precision,
    argument,
    command,
    existing_file,
    flag,
    model_option,
    note,
    option,
    print_json,
    print_rich,
    print_table,
)
from langlift.errors import InputError
from langlift.progress import readable_seconds, say

if TYPE_CHECKING:
    from langlift.diagnosis.diagnosing import BaseDiagnosis, Diagnosis, LanguageDiagnosis


@command("diagnosis.diagnosing:Diagnosis", trusting=True)
def diagnose(
    *,
    subject: str = argument("LANG|FAMILY.yaml", "Language, or a family file with languages and their texts."),
    bases: list[BaseName] = model_option("--base", "Base model; can be repeated to rank several.", []),
    text: Path | None = option(
        "--text FILE", "Text in the language: text file or built data folder.", None, parser=existing_file
    ),
    graph: Path | None = option("--graph FOLDER", "Graph of the language (from langlift graph build).", None),
    out: Path | None = option("--out FILE", "Also write a chart (.svg) or a page (.html).", None),
    sentences: int = option("--sentences", "Number of held-out sentences to score.", 30),
    no_timing: bool = flag("--no-timing", "Do not time training steps; no training time is estimated."),
    precision: Precision = None,
    as_json: bool,
) -> None:
    """Compare base models for a language or a family: measurements, advice and the next commands."""
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
    if bases:
        say(f"Loading {', '.join(map(str, bases))} ...")
    from langlift.evaluation.scores import require_known
    from langlift.reports.diagnosis_page import check_picture, write_diagnosis

    require_known("fast", precision or "auto")
    if out is not None:
        check_picture(out)
    from dataclasses import replace

    from langlift.diagnosis import diagnosing

    result = diagnosing.diagnose(
        data, bases, graph, sentences=sentences, timing=not no_timing, precision=precision or "auto", family=family
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
    advice, lead, title = result.advice, "", "Next:"
    if advice.alternative and len(result.languages) == 1:
        seconds = advice.alternative_seconds
        about = "" if seconds is None else f" (about {readable_seconds(seconds)} on this machine)"
        _show_commands(f"Next: the quick way, an adapter on the current vocabulary{about}", advice.alternative)
        lead, title = "What is recommended takes longer. ", "In commands:"
    print_rich(f"\n{lead}{advice.text}")
    _show_commands(title, advice.commands)
    if advice.alternative and len(result.languages) > 1:
        _show_commands("Or, on the current vocabulary:", advice.alternative)
    if result.picture is not None:
        note(f"Chart: {result.picture}")


def _show_commands(title: str, commands: list[str]) -> None:
    typer.echo("\n".join([f"\n{title}", *(f"  {line}" for line in commands)]))


def _show_language(language: "LanguageDiagnosis") -> None:
    """Measurements of one language in rows, base models in columns, best first."""
    size = language.text
    words = "" if size.words is None else f"{size.words:,} words, "
    title = f"{language.name} ({language.language}): {size.lines:,} lines, {words}{size.bytes / 1e6:.2f} MB"
    if language.graph is not None:
        title += f"; graph: {language.graph.sentences:,} triples of {language.graph.relations} relations"
    if language.own_fertility is not None:
        title += f"; its own vocabulary would need {language.own_fertility:.2f} tokens per word"
    columns = [_measured(entry) for entry in language.bases]
    print_table(
        title,
        ("measure", *(_short(entry.measures.base) for entry in language.bases)),
        [(name, *(column[name] for column in columns)) for name in columns[0]],
    )


def _show_base(result: "Diagnosis", base: str) -> None:
    """Languages in rows, the measurements of one base model in columns."""
    rows = []
    for language in result.languages:
        measured = _measured(next(entry for entry in language.bases if entry.measures.base == base))
        own = "-" if language.own_fertility is None else f"{language.own_fertility:.2f}"
        size = f"{language.text.bytes / 1e6:.2f}"
        rows.append((language.name, size, own, *(measured[name] for name in COLUMNS.values())))
    from rich.box import SIMPLE_HEAD

    caption = "; ".join(["own: tokens per word with its own vocabulary", *map(": ".join, COLUMNS.items())])
    style: dict[str, Any] = {"caption": caption, "caption_justify": "left", "box": SIMPLE_HEAD}
    print_table(base, ("language", "MB", "own", *COLUMNS), rows, collapse_padding=True, **style)


SURPRISE = "within-word pseudo-perplexity per character"
COLUMNS = {
    "seen": "pre-trained on the language",
    "pppl": SURPRISE,
    "tokens": "tokens per word",
    "whole": "words that are one token",
    "unknown": "unknown tokens",
    "bytes": "byte tokens",
    "missing": "missing letters",
}
"""Short name -> measure, for a family's table."""


def _measured(entry: "BaseDiagnosis") -> dict[str, str]:
    from langlift.diagnosis.advice import visible

    fit, saw, step = entry.measures.vocabulary, entry.measures.exposure, entry.measures.step
    letters = [visible(missing.letter) for missing in fit.missing]
    more = f" +{len(letters) - 10}" if len(letters) > 10 else ""
    seen = {True: "yes", False: "no", None: "not known"}[saw.seen]
    return {
        SURPRISE: _surprise(entry.measures.per_character),
        "pre-trained on the language": seen + (f", {saw.megabytes:,.0f} MB" if saw.seen and saw.megabytes else ""),
        "vocabulary size": f"{fit.vocabulary_size:,}",
        "tokens per word": "-" if fit.fertility is None else f"{fit.fertility:.2f}",
        "characters per token": f"{fit.characters_per_token:.2f}",
        "words that are one token": "-" if fit.whole_words is None else f"{fit.whole_words:.1%}",
        "words with an unknown part": "-" if fit.unknown_words is None else f"{fit.unknown_words:.1%}",
        "unknown tokens": f"{fit.unknown_share:.1%}",
        "byte tokens": f"{fit.byte_share:.1%}",
        "missing letters": f"{1 - fit.letter_coverage:.1%}",
        "most frequent missing letters": " ".join(letters[:10]) + more or "none",
        "advice: vocabulary": entry.advice.vocabulary,
        "advice: training": f"{entry.advice.method}, {entry.advice.objective}",
        "time of a training step": "not timed" if step is None else f"{step.seconds:.2f} s ({step.precision})",
    }


def _surprise(per_character: float | None) -> str:
    return "no MLM head" if per_character is None else f"{per_character:.2f}"


def _short(base: str) -> str:
    return Path(base).name
