"""``langlift score``."""

import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from langlift.cli.options import (
    Base,
    ComputePath,
    Precision,
    command,
    existing_file,
    existing_folder,
    flag,
    note,
    option,
    show,
)
from langlift.progress import say


@command("evaluation.pseudo_perplexity:Score", trusting=True)
def score(
    *,
    base: Base,
    text: Path = option("--text FILE", "One sentence per line, or a built data folder.", parser=existing_file),
    adapter: Path | None = option(
        "--adapter FOLDER", "Adapter folder written by adapt, or hub repository.", None, parser=existing_folder
    ),
    split: str | None = option(
        "--split",
        "Score only this split (train, dev or test, as in adapt). [default: test for folders, else all]",
        None,
    ),
    sentences: int | None = option(
        "--sentences", "Number of sentences to sample, with a fixed seed. [default: all]", None
    ),
    variant: str = option(
        "--variant",
        "default; within_word_l2r: per character, comparable between vocabularies; or published: with special "
        "tokens, mean over sentences.",
        "default",
    ),
    per_sentence: bool = flag("--per-sentence", "Also show the score of each sentence."),
    precision: Precision = None,
    path: ComputePath = None,
) -> Iterator[Any]:
    """Pseudo-perplexity (decoders: perplexity) of a text, with or without an adapter; lower is better."""
    from langlift.corpus.text_data import texts_to_score

    texts = texts_to_score(text, split, sentences)
    say(f"Loading {base} ...")
    from langlift.evaluation.pseudo_perplexity import score_model
    from langlift.hub_folders import local_folder

    folder = local_folder(adapter) if adapter else None
    result = score_model(base, texts, folder, variant, path or "fast", precision or "auto")
    record = asdict(result)
    yield {key: value for key, value in record.items() if per_sentence or key != "per_sentence"}
    key = "perplexity" if "perplexity" in record else "pseudo_perplexity"
    show(
        f"{base}{f' + {adapter}' if adapter else ''} on {text}",
        [
            (f"{key.replace('_', '-')} (per token; lower is better)", f"{record[key]:,.2f}"),
            ("per character", f"{result.per_character:.3f}"),
            ("per byte", f"{result.per_byte:.3f}"),
            ("unknown tokens", f"{result.unknown_share:.2%}"),
            ("byte-fallback tokens", f"{result.byte_share:.2%}"),
            ("sentences, tokens", f"{result.sentences:,}, {result.tokens:,}"),
            ("seconds", f"{result.seconds:.1f} ({result.tokens_per_second:,.0f} tokens per second)"),
            ("peak memory", f"{result.peak_memory_bytes / 2**20:,.0f} MiB"),
        ],
    )
    for sentence in record["per_sentence"] if per_sentence else ():
        typer.echo(f"{sentence[key]:.2f}\t{sentence['text']}")
    if result.truncated:
        note(f"{result.truncated} sentences were longer than the model's maximum input and were cut")
    if adapter and (Path(adapter) / "metrics.json").is_file() and "pseudo_perplexity" in record:
        # The page shows sentences of the test split, so it needs a text that can be split.
        splits = (text / "train.jsonl").is_file() if text.is_dir() else split is not None
        sentences_of = f" --text {shlex.quote(str(text))}" if splits else ""
        note(f"Next: langlift playground {shlex.quote(str(adapter))}{sentences_of}")
