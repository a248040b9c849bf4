"""``langlift push``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, show


def push(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, an adapter, a model or an export.")],
    repository: Annotated[
        str, typer.Argument(metavar="REPO", help="Repository of the Hugging Face hub: owner/name.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files and the card that would go; send nothing.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    language: Annotated[
        str | None, typer.Option("--language", metavar="LANG", help="For the card, where the run names none.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="Licence of what is published, such as cc-by-4.0."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="ID", help="Hub id of the base model, where it was a folder here."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            metavar="FOLDER",
            help="Built data folder, whose sources and licences the card names; repeatable.",
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Publish a run with a model card on the Hugging Face hub; the token is HF_TOKEN's or of 'hf auth login'."""
    from langlift.languages import find_language
    from langlift.sharing.pushing import push as publish

    result = publish(
        run,
        repository,
        private=private,
        dry_run=dry_run,
        language=find_language(language) if language else None,
        licence=licence,
        base=base,
        data=data or [],
    )
    rows = [(name, f"{size:,} bytes") for name, size in result.files.items()]
    rows.append(("all", f"{result.bytes:,} bytes"))
    if dry_run:
        show(result, as_json, f"would go to {repository} ({result.kind}), nothing was sent", rows)
        if not as_json:
            typer.echo(f"\n{result.card}")
        return
    show(result, as_json, f"published: {result.url}", rows)
