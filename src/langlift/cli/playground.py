"""``langlift playground``."""

from pathlib import Path

from langlift.cli.options import MovedBase, argument, command, flag, note, option, print_json


@command("playground.page:Served", trusting=True)
def playground(
    *,
    runs: list[Path] = argument("RUN...", "Finished runs of adapt, adapt-family, task or fuse."),
    text: Path | None = option("--text FILE", "Sentences to start with: text file or built data folder.", None),
    base: MovedBase = None,
    port: int = option("--port", "Port on this machine.", 7860, min=1, max=65535),
    open_browser: bool = flag("--open", "Open the page in the browser."),
    as_json: bool,
) -> None:
    """Try runs on a local web page: fill gaps, compare base and adapted model, label text."""
    from langlift.playground.page import launch, new_page
    from langlift.playground.runs import read_playground

    page = new_page(read_playground(runs, text, base))
    served = launch(page, port, open_browser)
    if as_json:
        print_json(served)
    note(f"The playground is at {served.address} (Ctrl-C stops it)")
    page.block_thread()
