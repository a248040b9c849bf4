"""``langlift vocab``."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from langlift.backbones.base_name import BaseName
from langlift.cli.options import Base, NewFolder, Settings, argument, command, model_option, note, option, show
from langlift.errors import InputError
from langlift.vocab.recipe import VocabRecipe

app = typer.Typer(help="Vocabularies for a language or a family.", rich_markup_mode=None)

Corpora = Annotated[list[Path], option("--corpus DATA", "Text file or built data folder; can be repeated.")]
UNKNOWN = "unknown_share"


@app.command("build")
@command("vocab.building:BuildResult", VocabRecipe, without=["init"])
def build(
    *,
    language: str = argument("LANG", "Language, or a name of your own, such as a family's."),
    corpus: Corpora,
    out: NewFolder,
    base: BaseName | None = model_option("--base", "Train a new vocabulary like that of this base model.", None),
    extend: BaseName | None = model_option("--extend", "Add tokens to this model's vocabulary instead.", None),
    settings: Settings,
) -> Iterator[Any]:
    """Train a vocabulary (tokenizer) on text, or add the most useful tokens to a model's."""
    from langlift.config.loading import resolve

    model = base if extend is None else extend
    if model is None or (base is not None and extend is not None):
        raise InputError(
            "give either --base or --extend",
            "--base MODEL makes a new vocabulary like the model's, --extend MODEL adds to the model's",
        )
    for name in ("pieces",) if extend is None else ("size", "kind"):
        if settings["flags"][name] is not None:
            raise InputError(
                f"--{name} has no meaning {'without' if extend is None else 'with'} --extend", "leave it out"
            )
    recipe = resolve(VocabRecipe, "vocab", **settings)
    from langlift.vocab.building import build_vocabulary

    result = build_vocabulary(language, model, corpus, out, recipe, extend=extend is not None)
    yield result
    added = f"{result.new_characters:,} characters, {result.new_joined:,} joined pieces"
    shares = result.shares.items() if len(result.shares) > 1 else ()
    show(
        f"Vocabulary for {result.language}",
        [
            ("kind", result.kind),
            ("entries", f"{result.size:,}"),
            ("added", None if extend is None else added),
            *((f"share of {text}", f"{share:.1%}") for text, share in shares),
            *_cuts(result.before, result.after),
            ("lines cut differently", f"{result.lines_changed:.1%}"),
            ("written to", result.vocabulary),
        ],
    )
    texts = " ".join(f"--corpus {shlex.quote(str(path))}" for path in corpus)
    note(
        f"Next: langlift vocab apply --base {shlex.quote(model.name)} --vocabulary {shlex.quote(str(out))} "
        f"--init focus {texts} --out {shlex.quote(f'{out}-model')}"
    )


@app.command("apply")
@command("vocab.applying:ApplyResult", VocabRecipe, without=["kind", "size", "pieces"])
def apply(
    *,
    base: Base,
    vocabulary: str = option("--vocabulary FOLDER", "Vocabulary written by langlift vocab build."),
    out: NewFolder,
    corpus: list[Path] | None = option("--corpus DATA", "focus: text to train vectors on; can be repeated.", None),
    vectors: Path | None = option("--vectors FILE", "focus: these token vectors (a fastText .vec file).", None),
    settings: Settings,
) -> Iterator[Any]:
    """Give a model another vocabulary: shared tokens keep their embeddings, others are initialised by --init."""
    from langlift.config.loading import resolve

    recipe = resolve(VocabRecipe, "vocab", **settings)
    from langlift.vocab.applying import apply_vocabulary

    result = apply_vocabulary(base, vocabulary, out, recipe, corpus or (), vectors)
    if result.init == "focus" and vectors is None and result.drawn > result.combined:
        note(
            f"{result.drawn:,} tokens are too rare in the corpus for a vector and are initialised at random: "
            f"give more text, or a lower --set vector_least_count (now {recipe.vector_least_count})"
        )
    yield result
    show(
        f"{base} with another vocabulary ({result.init})",
        [
            ("entries", f"{result.vocabulary_before:,} -> {result.vocabulary_after:,}"),
            ("parameters", f"{result.parameters_before:,} -> {result.parameters_after:,}"),
            ("tokens in both", f"{result.overlap:,}"),
            ("embeddings copied", f"{result.copied:,}"),
            ("embeddings combined", f"{result.combined:,}"),
            ("embeddings drawn at random", f"{result.drawn:,}"),
            *(_cuts(result.before, result.after) if result.before and result.after else ()),
            ("written to", result.model),
        ],
    )
    note(
        "The new embeddings need training before the model is useful: "
        f"langlift adapt LANG --base {shlex.quote(str(out))} --method full --data DATA --out RUN"
    )


@app.command("trim")
@command("vocab.trimming:TrimResult")
def trim(
    *,
    base: Base,
    corpus: Corpora,
    out: NewFolder,
    size: int | None = option(
        "--size", "Number of tokens to keep: all single characters, then the most frequent tokens.", None
    ),
) -> Iterator[Any]:
    """Remove the tokens that a text does not use: a smaller model that tokenises this text in the same way."""
    from langlift.vocab.trimming import trim_vocabulary

    result = trim_vocabulary(base, corpus, out, size)
    yield result
    cut = [*_cuts(result.before, result.after), ("lines cut differently", f"{result.lines_changed:.1%}")]
    show(
        f"{base}, trimmed",
        [
            ("lines read", f"{result.lines:,}"),
            ("tokens used", f"{result.used:,}"),
            ("entries", f"{result.vocabulary_before:,} -> {result.vocabulary_after:,}"),
            ("parameters", f"{result.parameters_before:,} -> {result.parameters_after:,}"),
            *([] if size is None else cut),
            ("written to", result.model),
        ],
    )


def _cuts(before: dict[str, float], after: dict[str, float]) -> list[tuple[str, str]]:
    """How finely text is split into tokens, with the base's vocabulary and with the new one."""
    rows = [(key.replace("_", " "), f"{before[key]:.2f} -> {after[key]:.2f}") for key in before if key != UNKNOWN]
    if before[UNKNOWN] or after[UNKNOWN]:
        rows.append(("unknown tokens", f"{before[UNKNOWN]:.1%} -> {after[UNKNOWN]:.1%}"))
    return rows
