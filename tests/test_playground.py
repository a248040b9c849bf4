"""The playground: what comes back is sound HTML, and the page works in a browser."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift import adapted
from langlift.errors import InputError
from langlift.evaluation.gap_filling import WordGuess
from langlift.evaluation.pseudo_perplexity import WordSurprise
from langlift.playground.drawing import (
    entities_html,
    guesses_html,
    is_right_to_left,
    label_html,
    parse_html,
    surprise_html,
    tags_html,
)
from langlift.playground.page import MAX_CHARACTERS, Served, answer_html, launch, new_page, read_playground
from langlift.tasks.conllu import sentence_of
from langlift.tasks.dependencies import Parse
from langlift.tasks.ner import FoundEntities
from langlift.tasks.pos import TaggedSentence
from langlift.tasks.sentences import Prediction

CHROMIUM = "/usr/bin/chromium"
WORD = st.text(min_size=1, max_size=8).filter(lambda text: not re.search(r"\s", text) and text.isprintable())
WORDS = st.lists(WORD, min_size=1, max_size=6)
VOID = {"path"}


class Read(HTMLParser):
    """The text of a piece of HTML, and its elements, which must be closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.seen, self.open = "", set(), []
        self.feed(str(html))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@settings(deadline=None)  # the first entities load seqeval
@given(WORDS, st.data())
def test_whatever_is_typed_comes_back_as_text(words, data):
    """All answers: no element but ours, every element closed, and every word there."""
    heads = [0, *[data.draw(st.integers(1, number)) for number in range(1, len(words))]]
    sentence = sentence_of(words, " ".join(words), 1)
    answers = [
        surprise_html([WordSurprise(word, 0, len(word), 3.0) for word in words]),
        entities_html(FoundEntities(words, ["B-PER", *["O"] * len(words[1:])], [0.5] * len(words))),
        tags_html(TaggedSentence(sentence, ["NOUN"] * len(words), [])),
        parse_html(Parse(sentence, heads, words, [])),
        guesses_html(f"{words[0].replace('_', '-')} ___", [WordGuess(word, 0.5, 1) for word in words]),
        label_html(Prediction("", words[0], dict.fromkeys(words, 0.5))),
    ]
    for html in answers:
        found = Read(html)
        assert found.seen <= {
            "p", "span", "bdi", "small", "mark", "div", "svg", "text", "path", "details", "summary", "table",
            "thead", "tbody", "tr", "th", "td", "ol", "li", "b",
        }  # fmt: skip
        assert all(word in found.text for word in words)


def test_more_surprise_is_more_colour_and_unread_words_have_none():
    html = surprise_html([WordSurprise(w, 0, 4, b) for w, b in (("aaaa", 0.0), ("bbbb", 12.0), ("cccc", None))])
    assert re.findall(r"--surprise:([\d.]+)", html) == ["0.00", "0.50"]
    assert "not read" in html and "1.50 bits a character" in html


def test_trees_of_scripts_from_right_to_left_are_mirrored():
    assert is_right_to_left("12 שלום") and not is_right_to_left("12 abc") and not is_right_to_left("12")

    def places(words):
        answer = Parse(sentence_of(words, " ".join(words), 1), [0, 1, 1], ["root", "obj", "obl"], [])
        return [int(x) for x in re.findall(r"<text x=(\d+) y=\d+ class=w>", parse_html(answer))]

    left, right = places(["aaaa", "bb", "cccccc"]), places(["אאאא", "בב", "גגגגגג"])
    assert left == sorted(left) and right == sorted(right, reverse=True)


def test_base_and_adapted_model_answer_side_by_side(adapted_runs: Path):
    playground = read_playground([adapted_runs / name for name in ("seq_bn_inv", "full", "topic")])
    assert playground.language == "Maltese"
    assert len(playground.examples) == 5, "langlift's own Maltese text"
    assert [run.task for run in playground.runs] == [None, None, "topic"]
    assert playground.runs[2].scores[0][0] == "macro-F1"
    gap = answer_html(playground, "Il-qattus ___ fuq is-sodda.")
    assert gap.count("<h3>base model</h3>") == gap.count("<h3>adapted: ") == 2
    assert gap.count("<ol class=guesses>") == 4
    answer = answer_html(playground, "  Il-qattus\n raqad. ")
    assert answer.count("class='sentence words'") == 4 and "Topic classification (topic)" in answer
    assert answer.count("<bdi>raqad.</bdi>") == 4
    assert Read(answer).text.count("Il-qattus") == 4


def test_what_cannot_be_answered_is_said_and_the_rest_is(adapted_runs: Path, tmp_path: Path):
    playground = read_playground([adapted_runs / "topic"])
    assert "Type a sentence" in answer_html(playground, " \n ")
    assert f"at most {MAX_CHARACTERS:,}" in answer_html(playground, "x" * (MAX_CHARACTERS + 1))
    assert "None of these runs can fill gaps" in answer_html(playground, "Il-qattus ___")
    runs = [adapted_runs / "seq_bn_inv", adapted_runs / "topic"]
    with pytest.raises(InputError, match="neither a run nor a model"):
        read_playground(runs, base=str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    playground = read_playground(runs, base=str(tmp_path))
    answer = answer_html(playground, "Il-qattus raqad.")
    assert answer.count(f"{tmp_path}: cannot be loaded") == 3, "base, adapted and topic, each on its own"
    broken = replace(playground.runs[0], run=SimpleNamespace(can=("fill", "surprise"), surprise=lambda _: 1 / 0))
    assert "ZeroDivisionError" in answer_html(replace(playground, runs=[broken]), "Il-qattus raqad.")
    working = read_playground([adapted_runs / "topic"])
    both = replace(working, runs=[*playground.runs, *working.runs])
    assert "<ol class=guesses>" in answer_html(both, "Il-qattus raqad.")


def test_models_are_loaded_before_the_address_is_named(adapted_runs: Path, langlift, monkeypatch):
    """So that the first question is answered as soon as the others."""
    loaded, load = [], adapted.load_language_model
    monkeypatch.setattr(adapted, "load_language_model", lambda *a, **k: loaded.append(a) or load(*a, **k))

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("langlift.playground.page.launch", lambda *_: Served("http://here/"))
    monkeypatch.setattr("gradio.Blocks.block_thread", stop)
    result = langlift("playground", adapted_runs / "seq_bn_inv")
    assert result.code == 130 and "The playground is at http://here/" in result.err
    assert len(loaded) == 2, "base and adapted model"


def test_folders_that_cannot_be_shown_are_refused(adapted_runs: Path, tmp_path: Path, langlift):
    result = langlift("playground", tmp_path, "--json")
    assert result.code == 2 and "not a finished run" in result.error["error"]
    with pytest.raises(InputError, match="no such folder"):
        read_playground([tmp_path / "nowhere"])
    other = tmp_path / "swahili"
    shutil.copytree(adapted_runs / "full", other)
    recipe = other / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("mlt_Latn\n", "swh_Latn\n"))
    with pytest.raises(InputError, match="several languages: Maltese, Swahili"):
        read_playground([adapted_runs / "full", other])


def test_after_a_score_the_page_is_suggested_with_text_that_it_can_show(
    adapted_runs: Path, tmp_path: Path, langlift
):
    (few := tmp_path / "few.txt").write_text("Il-qattus raqad.\n", encoding="utf-8")
    (whole := tmp_path / "a folder").mkdir()
    for split in ("train", "dev", "test"):
        (whole / f"{split}.jsonl").write_text('{"text": "Il-qattus raqad."}\n', encoding="utf-8")
    (test_only := tmp_path / "test-only").mkdir()
    shutil.copy(whole / "test.jsonl", test_only)
    run = adapted_runs / "seq_bn_inv"
    base = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))["inputs"]["base"]
    for text, suggested in ((few, None), (whole, whole), (test_only, None)):
        result = langlift("score", "--base", base, "--adapter", run, "--text", text)
        command = shlex.split(result.err.partition("Next: langlift playground ")[2])
        assert command == [str(run), *(("--text", str(suggested)) if suggested else ())]
        read_playground([run], suggested)


def test_the_language_of_families_and_tasks_is_known(adapted_runs: Path, tmp_path: Path):
    runs = {}
    for name, inputs in (
        ("family", {"languages": {"mlt_Latn": [], "swh_Latn": []}, "base": "langlift-nano"}),
        ("topic", {"task": "topic", "data": "mlt_Latn", "base": "langlift-nano"}),
    ):
        runs[name] = tmp_path / name
        shutil.copytree(adapted_runs / ("full" if name == "family" else "topic"), runs[name])
        command = "adapt-family" if name == "family" else "task"
        (runs[name] / "recipe.yaml").write_text(yaml.safe_dump({"command": command, "inputs": inputs}))
    assert read_playground([runs["family"], runs["topic"]]).language == "Maltese"
    assert read_playground([runs["topic"]]).language == "Maltese"
    assert read_playground([runs["family"]]).language == ""
    both = read_playground([adapted_runs / "seq_bn_inv", adapted_runs / "full"])
    assert both.runs[0].base is both.runs[1].base, "the base is there once"


@pytest.mark.slow
def test_the_page_works_in_chromium(adapted_runs: Path):
    """By keyboard, wide and narrow, light and dark; axe finds nothing in what is ours; nothing is fetched."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright is not installed")
    pytest.importorskip("gradio", reason="gradio is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM} (Debian's package chromium)")
    runs = [str(adapted_runs / name) for name in ("seq_bn_inv", "topic")]
    command = [sys.executable, "-m", "langlift", "playground", *runs, "--port", "7869", "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ})
    try:
        assert server.stdout is not None
        assert '"http://127.0.0.1:7869' in server.stdout.readline()
        with playwright.sync_playwright() as started:
            browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for width, scheme in ((1200, "light"), (375, "dark")):
                view = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
                tab = view.new_page()
                asked: list[str] = []
                tab.on("request", lambda request, asked=asked: asked.append(request.url))
                tab.goto(f"http://127.0.0.1:7869/?__theme={scheme}")
                box = tab.locator("#sentence textarea, #sentence input").first
                box.wait_for(timeout=60_000)
                tab.keyboard.type("Il-qattus ___ fuq is-sodda.")
                tab.keyboard.press("Enter")
                tab.wait_for_selector("#answer ol.guesses li", timeout=60_000)
                box.fill("<i>Illum</i> ${1+1} raqad.")
                tab.keyboard.press("Enter")
                tab.wait_for_selector("#answer .words", timeout=60_000)
                assert "${1+1}" in tab.inner_text("#answer") and "<i>Illum</i>" in tab.inner_text("#answer")
                assert tab.evaluate("document.documentElement.scrollWidth") <= width
                found = axe.Axe().run(tab, {"include": [["#answer"]]})
                assert found.violations_count == 0, found.generate_report()
                away = [url for url in asked if not url.startswith(("http://127.0.0.1", "data:", "blob:"))]
                assert away == []
            browser.close()
    finally:
        server.kill()
        server.wait()


def test_the_page_answers_only_itself_on_this_machine(adapted_runs: Path):
    pytest.importorskip("gradio", reason="gradio is not installed")
    page = new_page(read_playground([adapted_runs / "topic"]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = launch(page, port, open_browser=False)
    try:
        address = urlsplit(served.address)

        def status(path: str = "/", method: str = "GET", **headers: str) -> int:
            connection = HTTPConnection("127.0.0.1", address.port)
            connection.request(method, path, body=b"{}" if method == "POST" else None, headers=headers)
            return connection.getresponse().status

        join = "/gradio_api/queue/join"
        own = {"Origin": f"http://{address.netloc}", "Host": address.netloc}
        assert status() == status(**own) == 200
        assert status(Host=f"localhost:{address.port}") == 200
        assert status(Host="rebound.example") == 403
        assert status(join, "POST", Origin="https://evil.example") == 403
        assert status(join, "POST", Origin=f"http://127.0.0.1:{address.port + 1}") == 403
        assert status(join, "POST", Origin="null") == 403
        assert status(join, "POST", **own) not in (403, 404), "the page itself may ask"
        assert status("/gradio_api/upload", "POST", **own) == status("/gradio_api/upload/", "POST", **own) == 403
    finally:
        page.close()


def test_long_texts_are_refused(adapted_runs: Path):
    page = read_playground([adapted_runs / "seq_bn_inv"])
    assert "61 words are too many" in answer_html(page, "a " * 61)
    assert "301 characters are too many" in answer_html(page, "a" * 301)
