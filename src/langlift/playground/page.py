"""The page: questions and answers, in Gradio."""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup

from langlift.adapted import Adapted
from langlift.errors import InputError, LangliftError
from langlift.evaluation.gap_filling import GAP
from langlift.playground.drawing import draw, guesses_html, label_html, surprise_html
from langlift.playground.runs import Playground, ShownRun

if TYPE_CHECKING:
    from gradio import Blocks

MAX_CHARACTERS, MAX_WORDS = 300, 60
"""The work grows with the square of the length, and one question waits for another."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
GUESSES = 6
EXTRA = "pip install 'langlift[playground]'"


@dataclass(frozen=True)
class Served:
    """The address of the page, until Ctrl-C stops it."""

    address: str


def answer_html(playground: Playground, text: str) -> str:
    """The answers of all runs to a text as HTML; a text with a gap is only filled. Never raises an error."""
    text = " ".join(text.split())
    if not text:
        return draw("message", f"Type a sentence, or one with a gap: {GAP}")
    if len(text) > MAX_CHARACTERS:
        return draw("message", f"{len(text):,} characters are too many: at most {MAX_CHARACTERS:,}.")
    if len(text.split()) > MAX_WORDS:
        return draw("message", f"{len(text.split()):,} words are too many: at most {MAX_WORDS}.")
    adapted = [run for run in playground.runs if run.task is None]
    if GAP in text:
        if not adapted:
            return draw("message", "None of these runs can fill gaps: add a run of langlift adapt.")
        title, fill = "Words for the gap", lambda run: guesses_html(text, run.fill(text, GUESSES))
        return "".join(draw("section", title, _side_by_side(run, fill)) for run in adapted)
    title = "How surprising each word is, in bits (stronger colour: more for its length)"
    parts = [
        draw("section", title, _side_by_side(run, lambda one: surprise_html(one.surprise(text))))
        for run in adapted
    ]
    for run in playground.runs:
        if run.task is not None:
            label = _safely(lambda one: label_html(getattr(one, one.methods[0])(text)), run.run)
            parts.append(draw("section", f"{run.title} ({run.name})", label))
    return "".join(parts)


def new_page(playground: Playground) -> "Blocks":
    """The Gradio page, which ``launch`` starts; an InputError if gradio is not installed."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ImportError:
        raise InputError("the playground needs gradio", EXTRA) from None
    language = playground.language or "your language"
    page: Blocks = gradio.Blocks(title=f"langlift: {language}", analytics_enabled=False)
    with page:
        gradio.HTML(str(draw("page_head", playground.language, playground.runs)))
        sentence = gradio.Textbox(
            label=f"A sentence in {language}; {GAP} stands for a missing word",
            html_attributes=gradio.InputHTMLAttributes(autocorrect="off", spellcheck=False),
            elem_id="sentence",
            max_lines=4,
            autofocus=True,
        )
        button = gradio.Button("Ask", variant="primary")
        if playground.examples:
            gradio.Examples([[text] for text in playground.examples], [sentence], label="Examples")
        answer = gradio.HTML(elem_id="answer")
        gradio.on(
            [sentence.submit, button.click],
            lambda text: str(answer_html(playground, text or "")),
            sentence,
            answer,
        )
    return page


class LocalOnly:
    """ASGI middleware: answers only the page's own requests on this machine, and takes no uploads.

    Without it, any web site open in the browser could use the page, by a cross-site request or DNS rebinding.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer 403."""
        if scope["type"] == "lifespan" or _is_local(dict(scope["headers"]), scope["path"]):
            await self._app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"only for pages on this machine\n"})


def _is_local(headers: Mapping[bytes, bytes], path: str) -> bool:
    host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
    try:
        own = urlsplit(f"//{host}").hostname in LOOPBACK and (not origin or urlsplit(origin).netloc == host)
    except ValueError:
        return False
    return own and not path.rstrip("/").endswith("/upload")


def launch(page: "Blocks", port: int, open_browser: bool, host: str = LOOPBACK[0]) -> Served:
    """Serve the page on this machine only, without blocking; ``page.block_thread`` waits for Ctrl-C.

    ``host`` is the address to listen on; a container needs ``0.0.0.0``. Whatever it is, only requests under the
    names of this machine (``LOOPBACK``) are answered.

    Raises:
        LangliftError: the port is taken.
    """
    import gradio
    from starlette.middleware import Middleware

    fonts = ["system-ui", "sans-serif"]  # Gradio's default fonts are loaded from the internet
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            inbrowser=open_browser,
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(LocalOnly)]},
            theme=gradio.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"]),
            css=files("langlift.playground").joinpath("page.css").read_text(encoding="utf-8"),
        )
    except OSError as error:
        hint = "another program may have it, such as another playground: choose another with --port"
        raise LangliftError(f"port {port} on {host} cannot be used", hint) from error
    return Served(str(address))


def _side_by_side(run: ShownRun, ask: Callable[[Adapted], Markup]) -> Markup:
    """The base model's answer next to the adapted model's."""
    models = [("base model", run.base), (f"adapted: {run.name}", run.run)]
    return draw("columns", [(name, _safely(ask, model)) for name, model in models if model is not None])


def _safely(ask: Callable[[Adapted], Markup], run: Adapted) -> Markup:
    """The answer, or an error message in its place, so that the other runs still answer."""
    try:
        return ask(run)
    except LangliftError as error:
        return draw("message", f"{error.message} ({error.hint})" if error.hint else error.message)
    except Exception as error:  # noqa: BLE001 - one run must not keep the others from answering
        return draw("message", f"no answer: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
