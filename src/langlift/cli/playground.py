"""``langlift playground``."""

from pathlib import Path
from typing import Annotated

import typer

from langlift.cli.options import Debug, Json, MovedBase, note, print_json, trusting


@trusting
def playground(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Finished runs of adapt, adapt-family, task or fuse.")
    ],
    text: Annotated[
        Path | None,
        typer.Option("--text", metavar="FILE", help="Sentences to begin with: a text file or built folder."),
    ] = None,
    base: MovedBase = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of this machine.")] = 7860,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """A page on this machine to try finished runs: fill gaps, see what surprises base and adapted model, label."""
    from dataclasses import asdict

    from langlift.playground.page import launch, new_page
    from langlift.playground.runs import read_playground

    page = new_page(read_playground(runs, text, base))
    served = launch(page, port, open_browser)
    if as_json:
        print_json(asdict(served))
    note(f"The playground is at {served.address} (Ctrl-C ends it)")
    page.block_thread()
