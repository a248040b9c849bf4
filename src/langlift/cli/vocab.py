"""``langlift vocab``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from langlift.backbones.base_name import BaseName
from langlift.cli.options import Assignments, Base, Config, Debug, Json, Preset, model_option, note, show
from langlift.errors import InputError

app = typer.Typer(help="Vocabularies made for a language or a family.", rich_markup_mode=None)

Corpora = Annotated[
    list[Path],
    typer.Option("--corpus", metavar="DATA", help="Text file or built data folder; may be repeated."),
]
NewFolder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write: new or empty.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help="Several corpora: draw lines by size^alpha (1: by size, 0: evenly)."),
]

UNKNOWN = "unknown_share"


@app.callback()
def vocab() -> None:
    """Vocabularies made for a language or a family."""


@app.command("build")
def build(
    language: Annotated[
        str, typer.Argument(metavar="LANG", help="Language, or a name of your own such as a family's.")
    ],
    corpus: Corpora,
    out: NewFolder,
    base: Annotated[
        BaseName | None,
        model_option("--base", "Base model in whose manner a new vocabulary is made."),
    ] = None,
    extend: Annotated[
        BaseName | None,
        model_option("--extend", "Add pieces to this model's vocabulary instead."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="auto (the base's), unigram, bpe or wordpiece.")
    ] = None,
    size: Annotated[int | None, typer.Option("--size", help="Entries of a new vocabulary.")] = None,
    pieces: Annotated[int | None, typer.Option("--pieces", help="Pieces that --extend adds.")] = None,
    alpha: Alpha = None,
    seed: Seed = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a vocabulary (tokenizer) on text, or add the most useful pieces to a model's."""
    from langlift.config.loading import resolve
    from langlift.config.recipes import VocabRecipe

    model = base if extend is None else extend
    if model is None or (base is not None and extend is not None):
        raise InputError(
            "give either --base or --extend",
            "--base MODEL makes a new vocabulary in the manner of a model's, --extend MODEL adds to a model's",
        )
    unused = [("--pieces", pieces)] if extend is None else [("--size", size), ("--kind", kind)]
    for option, value in unused:
        if value is not None:
            raise InputError(
                f"{option} has no meaning {'without' if extend is None else 'with'} --extend", "leave it out"
            )
    recipe = resolve(
        VocabRecipe,
        "vocab",
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={"kind": kind, "size": size, "pieces": pieces, "alpha": alpha, "seed": seed},
    )
    from langlift.vocab.building import build_vocabulary

    result = build_vocabulary(language, model, corpus, out, recipe, extend=extend is not None)
    show(
        result,
        as_json,
        f"Vocabulary for {result.language}",
        [
            ("kind", result.kind),
            ("entries", f"{result.size:,}"),
            *(
                (("added", f"{result.new_characters:,} characters, {result.new_joined:,} joined pieces"),)
                if extend is not None
                else ()
            ),
            *(
                ((f"share of {corpus}", f"{share:.1%}") for corpus, share in result.shares.items())
                if len(result.shares) > 1
                else ()
            ),
            *_cuts(result.before, result.after),
            ("lines cut differently", f"{result.lines_changed:.1%}"),
            ("written to", result.vocabulary),
        ],
    )
    if not as_json:
        text = " ".join(f"--corpus {shlex.quote(str(path))}" for path in corpus)
        note(
            f"Next: langlift vocab apply --base {shlex.quote(model.name)} --vocabulary {shlex.quote(str(out))} "
            f"--init focus {text} --out {shlex.quote(f'{out}-model')}"
        )


@app.command("apply")
def apply(
    base: Base,
    vocabulary: Annotated[
        str, typer.Option("--vocabulary", metavar="FOLDER", help="Vocabulary that langlift vocab build wrote.")
    ],
    out: NewFolder,
    init: Annotated[
        str | None,
        typer.Option("--init", help="How tokens new to the base begin: focus, script, mean or random."),
    ] = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option("--corpus", metavar="DATA", help="Text to train FOCUS's vectors on; may be repeated."),
    ] = None,
    vectors: Annotated[
        Path | None,
        typer.Option(
            "--vectors", metavar="FILE", help="FOCUS: use these vectors of the pieces (fastText's .vec)."
        ),
    ] = None,
    alpha: Alpha = None,
    seed: Seed = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Put a vocabulary into a model: what both hold is kept, the rest begins by --init."""
    from langlift.config.loading import resolve
    from langlift.config.recipes import VocabRecipe

    recipe = resolve(
        VocabRecipe,
        "vocab",
        preset=preset,
        config=config,
        assignments=assignments or (),
        flags={"init": init, "alpha": alpha, "seed": seed},
    )
    from langlift.vocab.applying import apply_vocabulary

    result = apply_vocabulary(base, vocabulary, out, recipe, corpus or (), vectors)
    show(
        result,
        as_json,
        f"{base} with another vocabulary ({result.init})",
        [
            ("entries", f"{result.vocabulary_before:,} -> {result.vocabulary_after:,}"),
            ("parameters", f"{result.parameters_before:,} -> {result.parameters_after:,}"),
            ("pieces in both", f"{result.overlap:,}"),
            ("rows copied", f"{result.copied:,}"),
            ("rows combined", f"{result.combined:,}"),
            ("rows drawn at random", f"{result.drawn:,}"),
            *(_cuts(result.before, result.after) if result.before and result.after else ()),
            ("written to", result.model),
        ],
    )
    if result.init == "focus" and vectors is None and result.drawn > result.combined:
        note(
            f"{result.drawn:,} tokens occur too seldom in the corpus for a vector and are drawn at random: "
            f"give more text, or a lower --set vector_least_count (now {recipe.vector_least_count})"
        )
    if not as_json:
        note(
            "The new rows need training before the model is of use: "
            f"langlift adapt LANG --base {shlex.quote(str(out))} --method full --data DATA --out RUN"
        )


@app.command("trim")
def trim(
    base: Base,
    corpus: Corpora,
    out: NewFolder,
    size: Annotated[
        int | None,
        typer.Option(
            "--size", help="Number of entries to keep: every single character, then the most used pieces."
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Drop the pieces that no line of the text uses: a smaller model that reads that text in the same way."""
    from langlift.vocab.trimming import trim_vocabulary

    result = trim_vocabulary(base, corpus, out, size)
    show(
        result,
        as_json,
        f"{base}, trimmed",
        [
            ("lines read", f"{result.lines:,}"),
            ("pieces used", f"{result.used:,}"),
            ("entries", f"{result.vocabulary_before:,} -> {result.vocabulary_after:,}"),
            ("parameters", f"{result.parameters_before:,} -> {result.parameters_after:,}"),
            *(() if size is None else _cuts(result.before, result.after)),
            *(() if size is None else (("lines cut differently", f"{result.lines_changed:.1%}"),)),
            ("written to", result.model),
        ],
    )


def _cuts(before: dict[str, float], after: dict[str, float]) -> list[tuple[str, str]]:
    """How finely text is cut, by the base's vocabulary and by the new one."""
    rows = [(key.replace("_", " "), f"{before[key]:.2f} -> {after[key]:.2f}") for key in before if key != UNKNOWN]
    if before[UNKNOWN] or after[UNKNOWN]:
        rows.append(("unknown tokens", f"{before[UNKNOWN]:.1%} -> {after[UNKNOWN]:.1%}"))
    return rows
