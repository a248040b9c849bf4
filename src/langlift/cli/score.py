"""``langlift score``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Base, ComputePath, Debug, Json, Precision, TrustRemoteCode, note, print_json, show


def score(
    base: Base,
    text: Annotated[
        Path, typer.Option("--text", metavar="FILE", help="Sentences, one a line; or a built data folder.")
    ],
    adapter: Annotated[
        Path | None, typer.Option("--adapter", metavar="FOLDER", help="Adapter folder, as written by adapt.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Score only train, dev or test, split as adapt splits (folders: test)."),
    ] = None,
    sentences: Annotated[
        int | None, typer.Option("--sentences", help="Score only so many, drawn at random with a fixed seed.")
    ] = None,
    variant: Annotated[
        str,
        typer.Option(
            "--variant",
            help="default; within_word_l2r: per character, compares vocabularies; or published: special tokens "
            "too, mean over sentences.",
        ),
    ] = "default",
    per_sentence: Annotated[bool, typer.Option("--per-sentence", help="Also show each sentence's value.")] = False,
    precision: Precision = None,
    path: ComputePath = None,
    trust_remote_code: TrustRemoteCode = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Pseudo-perplexity of a text under a base model, with or without an adapter; lower is better."""
    from dataclasses import asdict

    from langlift.corpus.text_data import texts_to_score

    texts = texts_to_score(text, split, sentences)
    from langlift.evaluation.pseudo_perplexity import score_model

    result = score_model(base, texts, adapter, variant, trust_remote_code, path or "fast", precision or "auto")
    if as_json:
        content = asdict(result)
        if not per_sentence:
            del content["per_sentence"]
        print_json(content)
        return
    show(
        result,
        False,
        f"{base}{f' + {adapter}' if adapter else ''} on {text}",
        [
            ("pseudo-perplexity (per token)", f"{result.pseudo_perplexity:,.2f}"),
            ("per character", f"{result.per_character:.3f}"),
            ("per byte", f"{result.per_byte:.3f}"),
            ("unknown tokens", f"{result.unknown_share:.2%}"),
            ("byte-fallback tokens", f"{result.byte_share:.2%}"),
            ("sentences, tokens", f"{result.sentences:,}, {result.tokens:,}"),
            ("seconds", f"{result.seconds:.1f} ({result.tokens_per_second:,.0f} tokens a second)"),
            ("peak memory", f"{result.peak_memory_bytes / 2**20:,.0f} MiB"),
        ],
    )
    if per_sentence:
        for sentence in result.per_sentence:
            typer.echo(f"{sentence.pseudo_perplexity:.2f}\t{sentence.text}")
    if result.truncated:
        note(f"{result.truncated} sentences were longer than the model's input and were cut")
