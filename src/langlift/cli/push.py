"""``langlift push``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from langlift.cli.options import argument, command, flag, option, show


@command("sharing.pushing:Pushed")
def push(
    *,
    run: Path = argument("RUN", "Folder of a run, an adapter, a model or an export."),
    repository: str = argument("REPO", "Repository on the Hugging Face hub: owner/name."),
    dry_run: bool = flag("--dry-run", "Show the files and the card without uploading anything."),
    private: bool = flag("--private", "Make the repository private."),
    language: str | None = option("--language LANG", "Language for the card, if the run names none.", None),
    licence: str | None = option("--license ID", "Licence of the published files, such as cc-by-4.0.", None),
    base: str | None = option("--base ID", "Hub id of the base model, if it was a local folder.", None),
    data: list[Path] | None = option(
        "--data FOLDER", "Built data folder whose sources and licences the card names; can be repeated.", None
    ),
) -> Iterator[Any]:
    """Publish a run with a model card on the Hugging Face hub (token: HF_TOKEN, or hf auth login)."""
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
    yield result
    rows = [(name, f"{size:,} bytes") for name, size in result.files.items()]
    rows.append(("all", f"{result.bytes:,} bytes"))
    if dry_run:
        show(f"would be published to {repository} ({result.kind}); nothing was sent", rows)
        typer.echo(f"\n{result.card}")
    else:
        show(f"published: {result.url}", rows)
