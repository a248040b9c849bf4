"""A local server that speaks chat completions, knows the answers, and misbehaves as it is told to."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler", dict[str, Any]], bool]
"""Sends something else than the answer and returns True, or returns False."""


@dataclass
class Asked:
    """What a server was asked: the last question of each request, in order, and what it answered."""

    answer: Callable[[str], Any]
    fault: Fault
    requests: list[dict[str, Any]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def tries(self, question: str) -> int:
        return self.questions.count(question)


class Handler(BaseHTTPRequestHandler):
    asked: Asked

    def do_GET(self) -> None:
        self.reply(
            200, {"object": "list", "data": [{"id": "wise", "object": "model", "created": 1, "owned_by": "me"}]}
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = self.asked
        self.question = question_of(body)
        with asked.lock:
            asked.requests.append(body)
            asked.questions.append(self.question)
            asked.times.append(time.monotonic())
            asked.keys.add(self.headers.get("Authorization", ""))
        if asked.fault(self, body):
            return
        answer = asked.answer(self.question)
        message = answer if isinstance(answer, dict) else {"content": answer}
        with asked.lock:
            asked.answered[self.question] += 1
        self.reply(200, completion(message))

    def reply(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


def question_of(body: dict[str, Any]) -> str:
    """The sentence that is asked about: what stands behind "Sentence:" or "Text:" in the last turn."""
    lines = body["messages"][-1]["content"].splitlines()
    return next(line.partition(": ")[2] for line in lines if line.startswith(("Sentence:", "Text:")))


def completion(message: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "wise",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


@contextmanager
def prompt_server(answer: Callable[[str], Any], fault: Fault = lambda handler, body: False) -> Iterator[Asked]:
    asked = Asked(answer, fault)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"asked": asked}))
    server.daemon_threads = True
    asked.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()
