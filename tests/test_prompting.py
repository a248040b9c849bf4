"""Large models asked by prompts: over a real server and a misbehaving one, and here."""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from interrupted import forked
from prompt_server import Handler, completion, prompt_server
from tiny_llama import free_port, make_tiny_llama, served

from langlift.config.loading import resolve
from langlift.errors import InputError
from langlift.prompting import server
from langlift.prompting.formats import answer_format
from langlift.prompting.local import LocalModel, as_plain_text
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.running import PromptedTask, prompt
from langlift.prompting.server import _retry_after
from langlift.prompting.template import load_template
from langlift.studies.analysis.bootstrap import read_items
from langlift.studies.folder import read_single
from langlift.tasks.task import TASKS

SECRET = "sk-very-secret-0123456789"
QUICK = ["--set", "first_wait=0.01", "--set", "timeout=1", "--set", "retries=4", "--set", "concurrency=3"]
Langlift = Callable[..., Any]


def topic_of(sentence: str) -> str:
    """The right label of the topic folder's sentences."""
    sports = ("il-futbol", "il-plejer", "il-logħba", "il-gowl", "it-tim")
    return "sports" if any(word in sentence for word in sports) else "travel"


def right(sentence: str) -> str:
    return json.dumps({"label": topic_of(sentence)})


def ask(langlift: Langlift, url: str, data: Path, out: Path, *more: object, task: str = "topic") -> Any:
    return langlift(
        "prompt", "--task", task, "--data", data, "--model", url, "--model-name", "wise", "--out", out,
        *QUICK, *more, "--json",
    )  # fmt: skip


def rows_of(run: Path, seed: int = 1) -> list[dict[str, Any]]:
    text = (run / f"seed-{seed}" / "test_predictions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def holds_secret(folder: Path) -> list[str]:
    return [str(p) for p in folder.rglob("*") if p.is_file() and SECRET.encode() in p.read_bytes()]


@pytest.fixture
def ner_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ner"
    folder.mkdir()
    sentences = [
        "Juma B-PER|Ali I-PER|anaishi O|Dodoma B-LOC|. O",
        "Serikali B-ORG|ya I-ORG|Kenya I-ORG|ilisema O|hivyo O",
        "Mvua O|inanyesha O|sana O",
        "Kenya B-LOC|na O|Juma B-PER",
    ]
    for split in ("train", "dev", "test"):
        text = "\n\n".join(sentence.replace("|", "\n") for sentence in sentences)
        (folder / f"{split}.conll").write_text(f"{text}\n", encoding="utf-8")
    return folder


def test_a_run_folder_as_tasks_have_it(langlift: Langlift, topic_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with prompt_server(right) as asked:
        result = ask(
            langlift, asked.url, topic_folder, run, "--shots", 3, "--seeds", "1,2",
            "--set", "price_in=2", "--set", "price_out=10",
        )  # fmt: skip
        assert result.code == 0, result.err
        assert len(asked.requests) == 24
        assert (
            langlift("report", run, "--out", tmp_path / "r.html", "--tables", tmp_path / "t", "--json").code == 0
        )
        again = ask(
            langlift, asked.url, topic_folder, run, "--shots", 3, "--seeds", "1,2", "--resume",
            "--set", "price_in=2", "--set", "price_out=10",
        )  # fmt: skip
        assert again.json == result.json
        assert len(asked.requests) == 24
    found = result.json
    assert found["seeds"] == found["published"]["seeds"] == [100.0, 100.0]
    assert (found["asked"], found["kept"], found["unparsed"], found["structured"]) == (24, 0, 0, True)
    assert found["cost"] == pytest.approx((24 * 100 * 2 + 24 * 10 * 10) / 1e6)
    assert found["baseline"]["tfidf"] > 0
    for seed in (1, 2):
        folder = run / f"seed-{seed}"
        names = {path.name for path in folder.iterdir()}
        assert names == {"recipe.yaml", "versions.json", "metrics.json", "test_predictions.jsonl", "README.md"}
        assert all(set(row) == {"text", "gold", "predicted"} for row in rows_of(run, seed))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["command"] == "prompt"
    assert recipe["inputs"]["model_name"] == "wise"
    body = asked.requests[0]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"] * 3 + ["user"]
    enum = body["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"]
    assert enum == ["sports", "travel"]
    assert body["temperature"] == 0
    table = (tmp_path / "t" / "topic-macro_f1.csv").read_text(encoding="utf-8")
    assert "100.0" in table


def test_published_figures_of_large_models_stand_beside(
    langlift: Langlift, topic_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "mlt_Latn"
    data.symlink_to(topic_folder)
    run = tmp_path / "run"
    with prompt_server(right) as asked:
        result = langlift(
            "prompt", "--task", "topic", "--data", data, "--model", asked.url, "--model-name", "Qwen/Qwen2-7B",
            "--out", run, *QUICK,
        )  # fmt: skip
    assert result.code == 0, result.err
    assert langlift("report", run, "--out", tmp_path / "r.html", "--tables", tmp_path / "t").code == 0
    large = (tmp_path / "t" / "topic-macro_f1-small-and-large.csv").read_text(encoding="utf-8").splitlines()
    assert len(large) == 1 + 1 + 17
    assert any(line.startswith('Qwen2-7B,"published, 3-shot",56.1') for line in large)
    assert large[1].startswith('"Qwen/Qwen2-7B, prompted",prompted here,100.0')
    beside = (tmp_path / "t" / "topic-macro_f1-published.csv").read_text(encoding="utf-8")
    assert "56.1" in beside


def test_unreadable_answers_are_wrong_or_left_out(langlift: Langlift, topic_folder: Path, tmp_path: Path) -> None:
    def answer(sentence: str) -> Any:
        if sentence.endswith((" 0.", " 1.")):
            return "I cannot say."
        if sentence.endswith(" 2."):
            return "<think>travel? no, sports it is</think>" + right(sentence)
        if sentence.endswith(" 3."):
            return {"content": right(sentence), "reasoning_content": "sports or travel"}
        return f"The topic is {topic_of(sentence)}."

    with prompt_server(answer) as asked:
        kept = tmp_path / "answers.jsonl"
        wrong = ask(langlift, asked.url, topic_folder, tmp_path / "wrong", "--answers", kept)
        out = ask(langlift, asked.url, topic_folder, tmp_path / "out", "--answers", kept, "--preset", "published")
        assert len(asked.requests) == 12  # the second run found all answers
    assert (out.json["asked"], out.json["kept"]) == (0, 12)
    assert wrong.json["unparsed"] == 2
    assert [e["answer"] for e in wrong.json["unparsed_examples"]] == ["I cannot say."] * 2
    assert wrong.json["mean"] == pytest.approx(100 * 10 / 11)  # each class: precision 1, recall 5/6
    assert wrong.json["published"]["mean"] == out.json["mean"] == 100.0
    assert [row["predicted"] for row in rows_of(tmp_path / "wrong")][:3] == [None, None, "sports"]
    assert len(rows_of(tmp_path / "out")) == 10
    assert read_items(read_single(tmp_path / "wrong")) is not None
    # The items in the file give the same number, so that runs can be compared item by item.
    result = langlift("report", tmp_path / "wrong", tmp_path / "out", "--out", tmp_path / "r.html", "--json")
    assert result.code == 0, result.err


def test_named_entities(langlift: Langlift, ner_folder: Path, tmp_path: Path) -> None:
    answers = {
        "Juma Ali anaishi Dodoma .": [["PER", "juma ali"], ["LOC", "Dodoma,"]],
        "Serikali ya Kenya ilisema hivyo": {"entities": [{"type": "Organization", "text": "Serikali ya Kenya"}]},
        "Mvua inanyesha sana": {"entities": []},
        "Kenya na Juma": "Kenya is a place, and Juma a person.",
    }  # fmt: skip
    with prompt_server(lambda sentence: json.dumps(answers[sentence])) as asked:
        run = tmp_path / "run"
        result = ask(langlift, asked.url, ner_folder, run, "--shots", 2, task="ner")
    assert result.code == 0, result.err
    # Three of five entities, of three named: precision 1, recall 3/5.
    assert result.json["mean"] == pytest.approx(100 * 2 * 0.6 / 1.6)
    assert result.json["published"]["mean"] == 100.0
    assert (result.json["unparsed"], result.json["misplaced"]) == (1, 0)
    assert rows_of(run)[0]["predicted"] == ["B-PER", "I-PER", "O", "B-LOC", "O"]
    assert rows_of(run)[3]["predicted"] == ["O", "O", "O"]
    assert langlift("report", run, "--out", tmp_path / "r.html", "--json").code == 0


class Troubles:
    """Each sentence meets other trouble before it is answered: what its number says."""

    def __init__(self) -> None:
        self.met: Counter[str] = Counter()

    def __call__(self, handler: Handler, body: dict[str, Any]) -> bool:
        asked, sentence = handler.asked, handler.question
        if "response_format" in body:
            handler.reply(400, {"error": {"message": "response_format json_schema is not supported"}})
            return True
        number = int(sentence.rstrip(".").split()[-1])
        with asked.lock:
            self.met[sentence] += 1
            first = self.met[sentence] == 1
        if not first:
            return False
        if number == 1:
            time.sleep(1.5)  # longer than the client waits
            return True
        if number == 2:
            handler.reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.3"})
            return True
        if number in (3, 4):
            handler.reply((500, 503)[number - 3], {"error": {"message": f"broken, {SECRET} was your key"}})
            return True
        if number == 5:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b'{"id": "1", "choi')
            handler.wfile.flush()
            handler.connection.close()
            return True
        if number == 6:
            handler.reply(200, '{"id": "1", "choices": [')
            return True
        if number == 7:
            handler.reply(200, {"error": {"message": "overloaded"}})
            return True
        return False


def test_trouble_loses_nothing_and_asks_nothing_twice(
    langlift: Langlift, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    run = tmp_path / "run"
    with prompt_server(right, Troubles()) as asked:
        result = ask(langlift, asked.url, topic_folder, run)
    assert result.code == 0, result.err
    assert result.json["mean"] == 100.0
    assert result.json["retries"] == {
        "HTTP 429": 1,
        "HTTP 500": 1,
        "HTTP 503": 1,
        "connection lost or refused": 1,
        "no answer within 1 s": 1,
        "unreadable reply": 2,
    }
    assert result.json["remarks"] == ["the server rejected response_format; prompts were sent without it"]
    assert result.json["structured"] is False
    assert len(asked.answered) == 12
    assert set(asked.answered.values()) == {1}
    assert len(set((run / "answers.jsonl").read_text().splitlines())) == 12
    # Once one prompt is answered without it, no other is asked with it.
    assert sum("response_format" in body for body in asked.requests) <= 3
    slowed = next(question for question in asked.questions if question.endswith(" 2."))
    times = [t for t, q, b in zip(asked.times, asked.questions, asked.requests, strict=True)
             if q == slowed and "response_format" not in b]  # fmt: skip
    assert times[1] - times[0] >= 0.29  # Retry-After
    assert asked.keys == {f"Bearer {SECRET}"}
    assert holds_secret(tmp_path) == []
    assert SECRET not in result.out + result.err


def test_newer_parameters(langlift: Langlift, topic_folder: Path, tmp_path: Path) -> None:
    def fault(handler: Handler, body: dict[str, Any]) -> bool:
        for name in ("max_tokens", "temperature"):
            if name in body:
                told = {
                    "message": f"Unsupported parameter: '{name}'",
                    "param": name,
                    "code": "unsupported_parameter",
                }
                handler.reply(400, {"error": told})
                return True
        return False

    with prompt_server(right, fault) as asked:
        result = ask(langlift, asked.url, topic_folder, tmp_path / "run", "--set", "concurrency=1")
    assert result.code == 0, result.err
    assert len(asked.requests) == 12 + 2
    assert asked.requests[-1]["max_completion_tokens"] == 512
    assert "response_format" in asked.requests[-1]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_key_stops_at_once_and_is_not_repeated(
    langlift: Langlift, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)

    def fault(handler: Handler, body: dict[str, Any]) -> bool:
        handler.reply(status, {"error": {"message": f"Incorrect API key provided: {SECRET}"}})
        return True

    with prompt_server(right, fault) as asked:
        result = ask(langlift, asked.url, topic_folder, tmp_path / "run", "--key-variable", "MY_KEY", "--debug")
    assert result.code == 1
    assert f"HTTP {status}" in result.error["error"]
    assert SECRET not in result.out + result.err
    assert holds_secret(tmp_path) == []
    assert len(asked.requests) <= 3
    assert asked.keys == {f"Bearer {SECRET}"}


def test_what_cannot_be_answered_is_asked_again_on_resume_or_counts_as_wrong(
    langlift: Langlift, topic_folder: Path, tmp_path: Path
) -> None:
    def fault(handler: Handler, body: dict[str, Any]) -> bool:
        if handler.question.endswith(" 4."):
            handler.reply(400, {"error": {"message": "content policy"}})
            return True
        return False

    run = tmp_path / "run"
    with prompt_server(right, fault) as asked:
        stopped = ask(langlift, asked.url, topic_folder, run)
        assert stopped.code == 1
        assert stopped.error["error"] == "1 of 12 prompts got no answer: 1 x HTTP 400: content policy"
        assert "failures=wrong" in stopped.error["hint"]
        before = len(asked.requests)
        result = ask(langlift, asked.url, topic_folder, run, "--resume", "--set", "failures=wrong")
        assert len(asked.requests) == before + 2  # with and without a schema
    assert result.code == 0, result.err
    assert (result.json["failed"], result.json["asked"], result.json["kept"]) == (1, 0, 11)
    assert rows_of(run)[4]["predicted"] is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_prompts_go_to_one_server_only(langlift: Langlift, topic_folder: Path, tmp_path: Path, host: str) -> None:
    """Another port of the same host is another server."""
    with prompt_server(right) as other:
        elsewhere = other.url.replace("127.0.0.1", host)

        def fault(handler: Handler, body: dict[str, Any]) -> bool:
            handler.reply(307, {}, {"Location": f"{elsewhere}/chat/completions"})
            return True

        with prompt_server(right, fault) as asked:
            result = ask(langlift, asked.url, topic_folder, tmp_path / "run")
        assert result.code == 1
        assert result.error["error"].endswith(f"redirects to {elsewhere}/chat/completions")
        assert not other.requests


def test_the_list_of_models_is_not_read_without_end(
    langlift: Langlift, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_REPLY_BYTES", 100_000)
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.end_headers()
        with suppress(OSError):
            for _ in range(1000):
                handler.wfile.write(b" " * 10_000)
                sent += 10_000

    monkeypatch.setattr(Handler, "do_GET", endless)
    with prompt_server(right) as asked:
        options = (
            "--task",
            "topic",
            "--data",
            topic_folder,
            "--model",
            asked.url,
            "--out",
            tmp_path / "run",
            "--json",
        )
        result = langlift("prompt", *options)
    assert result.code == 2 and result.error["hint"] == "add --model-name, the model's name on the server"
    assert sent < 9_000_000, "the rest is not read"


def test_a_reply_without_end_is_not_read(
    langlift: Langlift, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "MAX_REPLY_BYTES", 100_000)

    def fault(handler: Handler, body: dict[str, Any]) -> bool:
        handler.reply(200, completion({"content": "x" * 200_000}))
        return True

    with prompt_server(right, fault) as asked:
        result = ask(langlift, asked.url, topic_folder, tmp_path / "run", "--set", "retries=0")
    assert result.code == 1
    assert "the reply is longer than 100,000 bytes" in result.error["error"]


def test_content_may_be_a_list_of_parts(langlift: Langlift, topic_folder: Path, tmp_path: Path) -> None:
    def in_parts(question: str) -> dict[str, Any]:
        text = right(question)
        return {"content": [{"type": "text", "text": text[:2]}, {"type": "text", "text": text[2:]}]}

    with prompt_server(in_parts) as asked:
        result = ask(langlift, asked.url, topic_folder, tmp_path / "run")
    assert result.code == 0, result.err
    assert (result.json["unparsed"], result.json["mean"]) == (0, 100.0)


def test_a_server_that_is_gone_stops_the_run(langlift: Langlift, topic_folder: Path, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    result = ask(langlift, url, topic_folder, tmp_path / "run", "--set", "retries=1")
    assert result.code == 1
    assert "no longer answers" in result.error["error"]
    assert "--resume" in result.error["hint"]


def test_identical_prompts_are_asked_once(langlift: Langlift, topic_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "dev", "test"):
        text = (topic_folder / f"{split}.tsv").read_text(encoding="utf-8")
        head, *rows = text.splitlines()
        (data / f"{split}.tsv").write_text("\n".join([head, *rows, *rows]) + "\n", encoding="utf-8")
    with prompt_server(right) as asked:
        result = ask(langlift, asked.url, data, tmp_path / "run")
    assert result.json["test_examples"] == 24
    assert len(asked.requests) == 12
    assert len(rows_of(tmp_path / "run")) == 24


def test_killed_in_the_middle_it_goes_on(langlift: Langlift, topic_folder: Path, tmp_path: Path) -> None:
    def slow(handler: Handler, body: dict[str, Any]) -> bool:
        time.sleep(0.15)
        return False

    run = tmp_path / "run"
    arguments = ["--set", "concurrency=2", "--set", "timeout=60"]
    with prompt_server(right, slow) as asked:
        child = forked(lambda: ask(langlift, asked.url, topic_folder, run, *arguments))
        while len(asked.answered) < 5:
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        kept = len((run / "answers.jsonl").read_bytes().splitlines())
        assert 0 < kept < 12
        (run / "answers.jsonl").write_bytes((run / "answers.jsonl").read_bytes() + b'{"key":"half')
        first = Counter(asked.questions)
        result = ask(langlift, asked.url, topic_folder, run, *arguments, "--resume")
    assert result.code == 0, result.err
    assert (result.json["asked"], result.json["kept"]) == (12 - kept, kept)
    assert sum(asked.tries(question) - first[question] for question in asked.answered) == 12 - kept
    assert result.json["mean"] == 100.0


def test_two_runs_at_once_on_the_same_answers(topic_folder: Path, tmp_path: Path, langlift: Langlift) -> None:
    from langlift.prompting.asking import open_answers

    with open_answers(tmp_path / "a.jsonl"), prompt_server(right) as asked:
        result = ask(langlift, asked.url, topic_folder, tmp_path / "run", "--answers", tmp_path / "a.jsonl")
        assert result.code == 1
        assert "another process" in result.error["error"]
        assert asked.requests == []


def test_shots_come_from_train_by_seed_and_go_round_the_labels(topic_folder: Path, ner_folder: Path) -> None:
    data = TASKS["topic"].learner.read(str(topic_folder), None, False)
    answers = answer_format("topic", data.labels)
    for count in (1, 2, 5, 40):
        drawn = answers.draw(data.train, count, 7, True)
        assert drawn == answers.draw(data.train, count, 7, True)
        assert len(set(drawn)) == count
        shares = Counter(data.train.gold[number] for number in drawn)
        assert max(shares.values()) - min(shares.get(label, 0) for label in data.labels) <= 1
    assert answers.draw(data.train, 5, 7, True) != answers.draw(data.train, 5, 8, True)
    assert len(set(answers.draw(data.train, 40, 7, False))) == 40
    with pytest.raises(InputError, match="40 examples"):
        answers.draw(data.train, 41, 7, True)
    entities = TASKS["ner"].learner.read(str(ner_folder), None, False)
    assert sorted(answer_format("ner", entities.labels).draw(entities.train, 4, 1, True)) == [0, 1, 2, 3]


@pytest.mark.data
def test_entities_of_a_whole_test_split_come_back(data_folder: Path) -> None:
    data = TASKS["ner"].learner.read(str(data_folder / "eval" / "ner" / "swh_Latn"), None, False)
    answers, template = answer_format("ner", data.labels), load_template("ner", None)
    read = [
        answers.parse(template.render("answer", answers.values(data.test, number)), data.test, number)
        for number in range(len(data.test))
    ]
    assert sum(missed for _, missed in read) == 0
    assert answers.score(data.test, [tags for tags, _ in read]) == 100.0


def test_templates_are_checked_before_anything_is_asked(
    langlift: Langlift, topic_folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    run = tmp_path / "run"
    wrong = {
        "instruction: a\nquestion: b\n": "no answer",
        "instruction: a\nquestion: 'Sentence: {{ text }}'\nanswer: '{{ label }}'\nmore: c\n": "part 'more'",
        "instruction: a\nquestion: 'Sentence: {{ txt }}'\nanswer: '{{ label }}'\n": "unknown placeholder 'txt'",
        "instruction: a\nquestion: 'Sentence: {{ text'\nanswer: '{{ label }}'\n": "question, line 1",
        "instruction: a\nquestion: 'Sentence: {{ text }}'\nanswer: 'No. {{ loop }}'\n": "not contain {{ label }}",
        "instruction: a\nquestion: 'Sentence: {{ text }}'\nanswer: 'sports, not {{ label }}'\n": "read back",
        "instruction: '{{ labels[9] }}'\nquestion: '{{ text }}'\nanswer: '{{ label }}'\n": "instruction",
        "instruction: '{{ \"\".__class__.__mro__ }}'\nquestion: '{{ text }}'\nanswer: '{{ label }}'\n": "unsafe",
        "- a\n": "texts by name",
    }
    with prompt_server(right) as asked:
        for text, told in wrong.items():
            own.write_text(text, encoding="utf-8")
            result = ask(langlift, asked.url, topic_folder, run, "--template", own)
            assert result.code == 2, text
            assert told in result.error["error"], text
            assert not run.exists()
        assert asked.requests == []
        own.write_text("instruction: '{{ labels }}?'\nquestion: 'Sentence: {{ text }}'\nanswer: '{{ label }}'\n")
        result = ask(langlift, asked.url, topic_folder, run, "--template", own, "--shots", 2)
    assert result.code == 0, result.err
    assert asked.requests[0]["messages"][0]["content"].startswith("['sports', 'travel']?\n\nSentence: ")
    assert asked.requests[0]["messages"][1]["content"] in ("sports", "travel")


def test_usage(langlift: Langlift, topic_folder: Path, tiny_bert: Path, tmp_path: Path) -> None:
    def told(*more: object, task: str = "topic") -> str:
        result = langlift(
            "prompt", "--task", task, "--data", topic_folder, "--out", tmp_path / "r", *more, "--json"
        )
        assert result.code == 2
        assert not (tmp_path / "r").exists()
        return f"{result.error['error']} {result.error['hint']}"

    with prompt_server(right) as asked:
        assert "it offers wise" in told("--model", asked.url)
        missing = told("--model", asked.url, "--model-name", "wise", "--key-variable", "NO_SUCH_KEY")
        assert "NO_SUCH_KEY" in missing
        twice = told("--model", asked.url, "--model-name", "wise", "--seeds", "1,2")
        assert "give one" in twice
        assert asked.requests == []
    secret = told("--model", "https://me:hush@host/v1", "--model-name", "wise")
    assert "hush" not in secret and "environment" in secret
    assert "hush" not in told("--model", "https://host/v1?api_key=hush", "--model-name", "wise")
    assert "only with the URL" in told("--model", tiny_bert, "--model-name", "wise")
    assert "not a causal model" in told("--model", tiny_bert)
    assert "no such model folder" in told("--model", "./nowhere")
    assert "cannot be prompted" in told("--model", tiny_bert, task="pos")


def test_the_missing_package_is_named(
    langlift: Langlift, topic_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    result = ask(langlift, "http://127.0.0.1:1/v1", topic_folder, tmp_path / "run")
    assert result.code == 2
    assert result.error["hint"] == "pip install 'langlift[prompting]'"


def test_retry_after_in_every_form() -> None:
    assert _retry_after({"retry-after": "2"}) == 2.0
    assert _retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert _retry_after({"retry-after": "inf"}) == _retry_after({"retry-after-ms": "1e300"}) == 3600.0
    assert _retry_after({"retry-after": "nan"}) == 0.0
    assert _retry_after({}) == _retry_after({"retry-after": "soon"}) == _retry_after({"retry-after": "-3"}) == 0.0
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < _retry_after({"retry-after": soon}) <= 30
    assert _retry_after({"retry-after": format_datetime(datetime(2000, 1, 1, tzinfo=UTC), usegmt=True)}) == 0.0


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory, maltese_lines: list[str]) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("llama"), maltese_lines)


def test_a_real_server_and_the_same_model_here_answer_alike(
    langlift: Langlift, topic_folder: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    """``transformers serve`` on one side, batches of our own on the other: greedy, float32."""
    options = ["--set", "answer_tokens=12", "--shots", 1]
    with served(tiny_llama) as url:
        over = langlift(
            "prompt", "--task", "topic", "--data", topic_folder, "--model", url, "--model-name", tiny_llama,
            "--out", tmp_path / "over", *options, "--json",
        )  # fmt: skip
    assert over.code == 0, over.err
    here = langlift(
        "prompt", "--task", "topic", "--data", topic_folder, "--model", tiny_llama, "--out", tmp_path / "here",
        *options, "--set", "batch_size=5", "--json",
    )  # fmt: skip
    assert here.code == 0, here.err

    def answers(run: str) -> Counter[tuple[str, int, int, str]]:
        rows = [json.loads(line) for line in (tmp_path / run / "answers.jsonl").read_text("utf-8").splitlines()]
        return Counter((r["text"], r["prompt_tokens"], r["answer_tokens"], r["finish"]) for r in rows)

    assert answers("over") == answers("here")
    assert here.json["prompt_tokens"] == over.json["prompt_tokens"] > 0
    assert here.json["unparsed"] == over.json["unparsed"]


def test_a_model_without_a_chat_template(
    topic_folder: Path, tiny_llama: Path, maltese_lines: list[str], tmp_path: Path
) -> None:
    plain = make_tiny_llama(tmp_path / "plain", maltese_lines, chat=False)
    recipe = resolve(PromptRecipe, "prompt", flags={"shots": 2, "answer_tokens": 6, "batch_size": 4})
    result = prompt("topic", topic_folder, str(plain), tmp_path / "run", recipe)
    assert result.asked == 12
    assert all("\n" not in json.loads(line)["text"] for line in (tmp_path / "run" / "answers.jsonl").open())
    data = TASKS["topic"].learner.read(str(topic_folder), None, False)
    template = load_template("topic", None)
    first = PromptedTask(answer_format("topic", data.labels), data, template, recipe).prompts(1)[0]
    text = as_plain_text(first)
    assert text.count("\n\nSentence: ") == 3
    assert text.endswith("\nAnswer:")
    longer = resolve(PromptRecipe, "prompt", flags={"answer_tokens": 2000})
    with pytest.raises(InputError, match="takes 1024 tokens"):
        LocalModel(str(tiny_llama), longer).require([replace(first, answer_tokens=2000)])
