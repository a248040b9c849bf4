"""The page: its runs, with their models and scores, and questions and answers, in Gradio."""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from math import exp
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
from markupsafe import Markup

from langlift.adapted import Adapted
from langlift.adapters.method import is_whole_model
from langlift.backbones.base_name import BaseName
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError, LangliftError
from langlift.evaluation.gap_filling import GAP
from langlift.hub_folders import missing
from langlift.languages import Language
from langlift.playground.drawing import draw, guesses_html, label_html, surprise_html
from langlift.sharing.publication import recorded_languages
from langlift.studies.folder import read_recipe
from langlift.tasks.task import TASKS
from langlift.training.run_folder import METRICS, is_finished, read_metrics

if TYPE_CHECKING:
    from gradio import Blocks

EXAMPLES = 5
EXAMPLE_CHARACTERS = (30, 120)
MAX_CHARACTERS, MAX_WORDS = 300, 60
"""The work grows with the square of the length, and one question waits for another."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")
GUESSES = 6


@dataclass(frozen=True)
class ShownRun:
    """A run on the page; ``task`` is None for an adapted model, ``base`` is None for a task."""

    name: str
    title: str
    task: str | None
    scores: list[tuple[str, str]]
    run: Adapted
    base: Adapted | None


@dataclass(frozen=True)
class Playground:
    """The runs of a page, the name of their language (empty if unknown), and sentences in it."""

    language: str
    runs: list[ShownRun]
    examples: list[str]


def read_playground(
    folders: Sequence[Path], text: Path | None = None, base: BaseName | str | None = None
) -> Playground:
    """Read finished runs of ``adapt``, ``adapt-family``, ``task`` and ``fuse``, without loading their models.

    Examples are from the test split of ``text``, a file or built folder, or else of langlift's own text, if the
    language has one. ``base`` replaces the recorded base model.

    Raises:
        InputError: a folder is not a finished run, or the runs have different languages.
    """
    runs: list[ShownRun] = []
    languages: list[set[Language]] = []
    bases: dict[str, Adapted] = {}
    for folder in dict.fromkeys(folders):
        if not is_finished(folder):
            hint = "give folders that langlift adapt, adapt-family, task or fuse wrote"
            if not folder.exists():
                raise missing(folder, "folder", hint)
            raise InputError(f"{folder}: not a finished run (no {METRICS})", hint)
        recipe = read_recipe(folder)
        runs.append(_shown(folder, recipe, BaseName.of(base), bases))
        languages += [set(found)] if (found := recorded_languages(recipe.get("inputs") or {})) else []
    common = set.intersection(*languages) if languages else set()
    if languages and not common:
        named = sorted({one.name for some in languages for one in some})
        raise InputError(
            f"the runs are of several languages: {', '.join(named)}",
            "show the runs of one language; start another playground with --port for the other",
        )
    language = next(iter(common)) if len(common) == 1 else None  # a family alone has several
    if text is None and language is not None:
        bundled = Path(str(files("langlift"))) / "bundled" / f"{language}.txt"
        text = bundled if bundled.is_file() else None
    examples: list[str] = []
    if text is not None:  # sentences neither short nor long
        least, most = EXAMPLE_CHARACTERS
        fitting = [sentence for sentence in load_text_data(text).test if least <= len(sentence) <= most]
        drawn = np.random.default_rng(0).permutation(len(fitting))[:EXAMPLES]
        examples = [fitting[number] for number in sorted(drawn)]
    return Playground("" if language is None else language.name, runs, examples)


def _shown(folder: Path, recipe: dict[str, Any], base: BaseName, bases: dict[str, Adapted]) -> ShownRun:
    """One run; ``bases`` are the base models so far by their names, which runs share."""
    metrics, command = read_metrics(folder), str(recipe.get("command"))
    name, inputs = folder.resolve().name, recipe.get("inputs") or {}
    settings = dict(recipe.get(command) or {})
    run = Adapted.load(folder, replace(base, name="") if is_whole_model(settings.get("method")) else base)
    if not run.methods:
        raise InputError(
            f"{folder}: a decoder, which cannot fill gaps", "the page is for masked language models and tasks"
        )
    if command == "task":
        task = TASKS.get(str(inputs.get("task")))
        if task is None:
            raise InputError(f"{folder}: a run of an unknown task", "was it made by a newer langlift?")
        measured = metrics.get("mean", metrics.get(f"test_{task.metric.name}"))
        scores = [(task.metric.title, f"{measured:.1f}")] if measured is not None else []
        return ShownRun(name, task.title, task.name, scores, run, None)
    before, after = metrics.get("validation_loss_before"), metrics.get("validation_loss")
    # The geometric mean over the hidden tokens of held-out text.
    scores = (
        []
        if before is None or after is None
        else [("finds hidden word pieces", f"{100 * exp(-before):.2g} % → {100 * exp(-after):.2g} %")]
    )
    of = base.or_else(str(inputs.get("base") or "")).name
    title = f"{settings.get('method', command)} on {Path(of).name}"
    if of and of not in bases:
        bases[of] = Adapted.load(of, replace(base, name=""))
    return ShownRun(name, title, None, scores, run, bases.get(of))


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
        raise InputError("the playground needs gradio", "pip install 'langlift[playground]'") from None
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
