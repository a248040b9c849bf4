"""``langlift score``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Base, ComputePath, Debug, Json, Precision, note, print_json, show, trusting


@trusting
def score(
    base: Base,
    text: Annotated[
        Path, typer.Option("--text", metavar="FILE", help="Sentences, one a line; or a built data folder.")
    ],
    adapter: Annotated[
        Path | None,
        typer.Option(
            "--adapter", metavar="FOLDER", help="Adapter folder, as written by adapt; or a hub repository."
        ),
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
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Pseudo-perplexity (decoders: perplexity) of a text, with or without an adapter; lower is better."""
    from dataclasses import asdict

    from langlift.corpus.text_data import texts_to_score
    from langlift.errors import InputError

    texts = texts_to_score(text, split, sentences)
    from langlift.backbones.loading import is_causal
    from langlift.evaluation.perplexity import Perplexity, score_causal_model
    from langlift.evaluation.pseudo_perplexity import Score, score_model
    from langlift.hub_folders import local_folder

    folder = local_folder(adapter) if adapter else None
    way = (path or "fast", precision or "auto")
    result: Score | Perplexity
    if is_causal(base):
        if variant != "default":
            raise InputError(f"--variant {variant}: only for masked language models", "leave it out")
        result = score_causal_model(base, texts, folder, *way)
        name, value = "perplexity", result.perplexity
    else:
        result = score_model(base, texts, folder, variant, *way)
        name, value = "pseudo-perplexity", result.pseudo_perplexity
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
            (f"{name} (per token)", f"{value:,.2f}"),
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
        for sentence in asdict(result)["per_sentence"]:
            own = sentence.get("perplexity", sentence.get("pseudo_perplexity"))
            typer.echo(f"{own:.2f}\t{sentence['text']}")
    if result.truncated:
        note(f"{result.truncated} sentences were longer than the model's input and were cut")
