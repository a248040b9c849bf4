"""The page itself: what is asked, what comes back, and Gradio around both."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from langlift.adapted import Adapted
from langlift.errors import InputError, LangliftError
from langlift.evaluation.gap_words import GAP
from langlift.playground.drawing import guesses_html, label_html, surprise_html
from langlift.playground.runs import Playground, ShownRun

if TYPE_CHECKING:
    from gradio import Blocks

MOST_CHARACTERS = 1000
GUESSES = 6
EXTRA = "pip install 'langlift[playground]'"


@dataclass(frozen=True)
class Served:
    """Where the page is, until Ctrl-C ends it."""

    address: str


def answer_html(playground: Playground, text: str) -> str:
    """All that the runs say of a text, as HTML: of one with a gap only how it is filled. Never raises an error."""
    text = " ".join(text.split())
    if not text:
        return _message(f"Type a sentence, or one with a gap: {GAP}")
    if len(text) > MOST_CHARACTERS:
        return _message(f"{len(text):,} characters are too many: at most {MOST_CHARACTERS:,}.")
    adapted = [run for run in playground.runs if run.task is None]
    if GAP in text:
        if not adapted:
            return _message("None of these runs fills gaps: add one of langlift adapt.")

        def fill(run: Adapted) -> str:
            return guesses_html(text, run.fill(text, GUESSES))

        return "".join(_side_by_side(run, "Words for the gap", fill) for run in adapted)

    def surprise(run: Adapted) -> str:
        return surprise_html(run.surprise(text))

    def label(run: Adapted) -> str:
        return label_html(getattr(run, run.can[0])(text))

    parts = [_side_by_side(run, "How surprising each word is", surprise) for run in adapted]
    for run in playground.runs:
        if run.task is not None:
            heading = f"{escape(run.title)} ({escape(run.name)})"
            parts.append(f"<section><h2>{heading}</h2>{_safely(label, run.run)}</section>")
    return "".join(parts)


def new_page(playground: Playground) -> "Blocks":
    """The Gradio page; ``launch`` starts it.

    Raises:
        InputError: gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError:
        raise InputError("the playground needs gradio", EXTRA) from None
    language = playground.language or "your language"
    page: Blocks = gradio.Blocks(title=f"langlift: {language}", analytics_enabled=False)
    with page:
        gradio.HTML(_head(playground))
        sentence = gradio.Textbox(
            label=f"A sentence in {language}; {GAP} stands for a missing word",
            html_attributes=gradio.InputHTMLAttributes(autocorrect="off", spellcheck=False),
            elem_id="sentence",
            max_lines=4,
            autofocus=True,
        )
        button = gradio.Button("Ask", variant="primary")
        if playground.examples:
            gradio.Examples([[text] for text in playground.examples], [sentence], label="Sentences to begin with")
        answer = gradio.HTML(elem_id="answer")
        gradio.on(
            [sentence.submit, button.click], lambda text: answer_html(playground, text or ""), sentence, answer
        )
    return page


def launch(page: "Blocks", port: int, open_browser: bool) -> Served:
    """Serve the page on this machine only, and return at once; ``page.block_thread`` waits for Ctrl-C.

    Raises:
        LangliftError: the port is taken.
    """
    import gradio

    fonts = ["system-ui", "sans-serif"]  # Gradio's own come from the net
    try:
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            theme=gradio.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"]),
            css=files("langlift.playground").joinpath("page.css").read_text(encoding="utf-8"),
        )
    except OSError as error:
        raise LangliftError(f"port {port} cannot be used ({error})", "choose another with --port") from error
    return Served(str(address))


def _head(playground: Playground) -> str:
    rows = "".join(
        f"<tr><td>{escape(run.name)}</td><td>{escape(run.title)}</td>"
        f"<td>{escape(', '.join(f'{name} {value}' for name, value in run.scores))}</td></tr>"
        for run in playground.runs
    )
    return (
        f"<h1>{escape(playground.language or 'Playground')}</h1><table><thead><tr><th>run</th><th>what it is</th>"
        f"<th>score</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _side_by_side(run: ShownRun, title: str, ask: Callable[[Adapted], str]) -> str:
    """The base's answer beside the adapted model's."""
    columns = [("base model", run.base), (f"adapted: {run.name}", run.run)]
    cells = "".join(
        f"<div><h3>{escape(name)}</h3>{_safely(ask, one)}</div>" for name, one in columns if one is not None
    )
    return f"<section><h2>{title}</h2><div class=columns>{cells}</div></section>"


def _safely(ask: Callable[[Adapted], str], run: Adapted) -> str:
    """The answer, or in its place what went wrong, so that the other runs still answer."""
    try:
        return ask(run)
    except LangliftError as error:
        return _message(f"{error.message} ({error.hint})" if error.hint else error.message)
    except Exception as error:  # noqa: BLE001 - one run must not keep the others from answering
        return _message(f"no answer: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _message(text: str) -> str:
    return f"<p class=message role=status>{escape(text)}</p>"
