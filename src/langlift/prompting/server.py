"""A model on a server with OpenAI's chat completions API: vLLM, Ollama, llama.cpp, or a commercial one."""

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from langlift.errors import InputError, LangliftError
from langlift.progress import say
from langlift.prompting.asking import Answer, OnAnswer, Outcome, Prompt
from langlift.prompting.recipe import PromptRecipe

KEY_VARIABLE = "OPENAI_API_KEY"
MAX_WAIT = 60.0
MAX_REPLY_BYTES = 10_000_000
LONGEST_REQUESTED_WAIT = 3600.0
"""Longer waits that a server asks for are cut to this."""
MODELS_SHOWN = 20
LONGEST_LIST_WAIT = 5.0
"""Seconds to wait for the list of models that a server offers."""
MAX_FAILURES_IN_A_ROW = 3
"""After this number of failed prompts with no answer in between, the server is considered down."""
FATAL = {
    401: ("rejects the key", f"set it in the environment ({KEY_VARIABLE}, or --key-variable NAME)"),
    403: ("denies access", f"check --model-name and the key ({KEY_VARIABLE}, or --key-variable NAME)"),
    404: ("does not know this model or address", "check --model-name, and --model: most base URLs end in /v1"),
}
"""HTTP status -> what it means, and what to do; these stop the run."""
TEMPORARY = (408, 409, 425, 429)
OPTIONAL = ("response_format", "max_tokens", "temperature", "seed")
SCHEMA_WORDS = ("response_format", "schema", "guided", "grammar")
LOCALHOST = ("localhost", "127.0.0.1", "::1")
SHORTEST_KEY = 8
"""Shorter keys are not removed from a server's messages: they are placeholders and may occur in words."""


class Server:
    """A model behind a base URL such as ``http://127.0.0.1:8000/v1``.

    The key is read from the environment variable ``key_variable`` and sent only to the server. InputError if the
    package openai is missing, the URL is invalid or contains a secret, or no model is named.
    """

    def __init__(self, url: str, name: str | None, key_variable: str | None, recipe: PromptRecipe) -> None:
        try:
            import openai
        except ImportError:
            raise InputError("a URL as --model needs openai", "pip install 'langlift[prompting]'") from None
        self._openai: Any = openai
        parts = url_parts(url)
        if key_variable is not None and not os.environ.get(key_variable):
            raise InputError(f"--key-variable {key_variable}: not in the environment", "set it first")
        self._key = os.environ.get(key_variable or KEY_VARIABLE, "").strip()
        if self._key and parts.scheme == "http" and parts.hostname not in LOCALHOST:
            say(f"The key is sent to {parts.hostname} unencrypted: http, not https")
        self._recipe = recipe
        # Without a key the client would look for one itself; local servers accept any.
        self._access = {"base_url": url.rstrip("/"), "api_key": self._key or "none", "max_retries": 0}
        if name is None:
            raise InputError(f"--model {url}: the name of the model is missing", self._offered())
        self.name = name
        self.identity = f"{self._access['base_url']} {name}"
        self._rejected: set[str] = set()

    def require(self, prompts: Sequence[Prompt]) -> None:
        """Accept any prompts: only the server knows its limits."""

    def ask(self, prompts: dict[str, Prompt], on_answer: OnAnswer) -> Outcome:
        """Send all prompts, several at a time; temporary failures are retried with increasing waiting times.

        LangliftError if the server rejects the key or the model, or no longer answers; the answers so far have
        been passed to ``on_answer``.
        """
        outcome = Outcome()
        waiting = deque(prompts.items())
        self._failures_in_a_row, self._paused_until = 0, 0.0

        async def worker(client: Any) -> None:
            while waiting:
                key, prompt = waiting.popleft()
                try:
                    answer = await self._answer(client, prompt, outcome)
                except _PromptFailedError as reason:
                    outcome.failures[key] = str(reason)
                else:
                    self._failures_in_a_row = 0
                    on_answer(key, answer)

        async def all_workers() -> None:
            async with self._client() as client, asyncio.TaskGroup() as workers:  # cancels all if one fails
                for _ in range(min(self._recipe.concurrency, len(prompts))):
                    workers.create_task(worker(client))

        try:
            _run(all_workers())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        for parameter in sorted(self._rejected):
            outcome.remarks.append(f"the server rejected {parameter}; prompts were sent without it")
        return outcome

    def _client(self) -> Any:
        """A client that sends only to the server named, and reads no more than ``MAX_REPLY_BYTES`` of a reply."""

        async def read(response: Any) -> None:
            parts, size = [], 0
            async for part in response.aiter_bytes():
                parts.append(part)
                if (size := size + len(part)) > MAX_REPLY_BYTES:
                    raise ValueError(f"the reply is longer than {MAX_REPLY_BYTES:,} bytes")
            response._content = b"".join(parts)  # as Response.aread keeps it

        hooks = {"response": [read]}
        http_client = self._openai.DefaultAsyncHttpxClient(follow_redirects=False, event_hooks=hooks)
        return self._openai.AsyncOpenAI(**self._access, timeout=self._recipe.timeout, http_client=http_client)

    async def _answer(self, client: Any, prompt: Prompt, outcome: Outcome) -> Answer:
        """Send a prompt until it is answered.

        The openai client's own retries have fixed waiting times, are not counted and accept malformed answers.
        """
        recipe, retries, rejected = self._recipe, 0, set[str]()
        create = client.chat.completions.create
        while True:
            while (left := self._paused_until - time.monotonic()) > 0:
                await asyncio.sleep(left)
            parameters = self._parameters(prompt, rejected)
            started, asked_to_wait = time.monotonic(), 0.0
            try:
                async with asyncio.timeout(recipe.timeout):
                    completion = await create(model=self.name, messages=prompt.messages, **parameters)
                answer = self._read(completion, "response_format" in parameters, time.monotonic() - started)
                self._rejected |= rejected  # answered without these, so no other prompt needs to try them
                return answer
            except self._openai.APIStatusError as error:
                if error.status_code < 400:
                    elsewhere = self._one_line(str(error.response.headers.get("location")))
                    raise LangliftError(
                        f"{self._access['base_url']}: redirects to {elsewhere}",
                        "nothing was sent there; if you trust it, give its URL as --model",
                    ) from None
                if error.status_code == 501 or (error.status_code < 500 and error.status_code not in TEMPORARY):
                    rejected.add(self._rejected_parameter(parameters, error))
                    continue
                detail = self._message(error)
                if getattr(error, "code", None) == "insufficient_quota":
                    raise LangliftError(
                        f"{self.identity}: {detail}",
                        "answers so far are kept: with credit, the same command with --resume sends only the rest",
                    ) from None
                reason, asked_to_wait = f"HTTP {error.status_code}", _retry_after(error.response.headers)
            except (self._openai.APITimeoutError, TimeoutError):
                reason = detail = f"no answer within {recipe.timeout:g} s"
            except self._openai.APIConnectionError as error:
                reason, detail = "connection lost or refused", self._one_line(str(error.__cause__ or error))
            except (self._openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError) as error:
                reason, detail = "unreadable reply", self._one_line(str(error))
            if retries == recipe.retries:
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= MAX_FAILURES_IN_A_ROW:
                    raise LangliftError(
                        f"{self.identity}: no longer answers ({reason}: {detail})",
                        "answers so far are kept: the same command with --resume sends only the rest",
                    ) from None
                raise _PromptFailedError(reason if detail == reason else f"{reason}: {detail}")
            outcome.retries[reason] += 1
            # Jitter; never shorter than the server requires. After a 429 all prompts wait.
            own = min(MAX_WAIT, recipe.first_wait * 2.0**retries) * random.uniform(0.5, 1.0)
            seconds = max(own, asked_to_wait + random.uniform(0.0, min(1.0, own)) if asked_to_wait else 0.0)
            if reason == "HTTP 429" or asked_to_wait:
                self._paused_until = max(self._paused_until, time.monotonic() + seconds)
            if seconds > MAX_WAIT:
                say(f"{reason}: the server asks to wait {seconds:.0f} s")
            await asyncio.sleep(seconds)
            retries += 1

    def _parameters(self, prompt: Prompt, rejected: set[str]) -> dict[str, Any]:
        """The request's parameters, without those that the server rejects for this prompt or for all."""
        rejected = rejected | self._rejected
        limit = "max_completion_tokens" if "max_tokens" in rejected else "max_tokens"
        parameters: dict[str, Any] = {"temperature": prompt.temperature, limit: prompt.answer_tokens}
        if prompt.seed is not None:
            parameters["seed"] = prompt.seed
        if prompt.schema is not None:
            schema = {"name": "answer", "strict": True, "schema": prompt.schema}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {name: value for name, value in parameters.items() if name not in rejected}

    def _rejected_parameter(self, parameters: dict[str, Any], error: Any) -> str:
        """The optional parameter that the server rejected, judging by its message.

        If it names none, it may be the schema, which the fewest servers support.
        """
        status = error.status_code
        optional = [name for name in OPTIONAL if name in parameters]
        if status not in (401, 403):
            text = f"{getattr(error, 'param', '')} {error.message} {error.body}".lower()
            if "response_format" in optional and any(word in text for word in SCHEMA_WORDS):
                return "response_format"
            # For a prompt that is too long, the message mentions max_tokens.
            named = [] if "context" in text else [name for name in optional if name in text]
            if named:
                return named[0]
            if "response_format" in optional and status != 404:
                return "response_format"
        if status in FATAL:
            meaning, hint = FATAL[status]
            raise LangliftError(
                f"{self.identity}: {meaning} (HTTP {status}: {self._message(error)})", hint
            ) from None
        raise _PromptFailedError(f"HTTP {status}: {self._message(error)}")

    def _read(self, completion: Any, structured: bool, seconds: float) -> Answer:
        if not getattr(completion, "choices", None):
            raise ValueError("it is not a chat completion")
        choice, usage = completion.choices[0], completion.usage
        message = choice.message
        extra = getattr(message, "model_extra", None) or {}
        reasoning = extra.get("reasoning_content") or extra.get("reasoning") or ""
        text = message.content if message.content is not None else getattr(message, "refusal", None) or ""
        if isinstance(text, list):  # of parts, of which only text counts
            text = "".join(str(part.get("text") or "") for part in text if isinstance(part, dict))
        if not isinstance(text, str):
            raise TypeError("the content is not text")
        found = (getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens"))
        counts = [count if isinstance(count, int) else None for count in found]
        return Answer(
            text=self._without_key(text),
            reasoning=self._without_key(str(reasoning)),
            finish=str(choice.finish_reason or ""),
            prompt_tokens=counts[0],
            answer_tokens=counts[1],
            structured=structured,
            seconds=round(seconds, 3),
        )

    def _message(self, error: Any) -> str:
        """A server's own error message, without the client's additions."""
        message = error.body.get("message") if isinstance(error.body, dict) else None
        return self._one_line(str(message or error.message))

    def _one_line(self, text: str) -> str:
        return " ".join(self._without_key(text).split())[:300]

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if len(self._key) >= SHORTEST_KEY else text

    def _offered(self) -> str:
        names: list[str] = []

        async def ask() -> None:
            async with asyncio.timeout(LONGEST_LIST_WAIT), self._client() as client:
                page = await client.models.list()  # the first page, of any number
                names.extend(self._one_line(str(model.id)) for model in page.data[:MODELS_SHOWN])

        with suppress(self._openai.OpenAIError, TimeoutError, ValueError, TypeError, AttributeError):
            _run(ask())
        if names:
            return f"add --model-name; it offers {', '.join(names)}"
        return "add --model-name, the model's name on the server"


class _PromptFailedError(Exception):
    """A prompt got no answer."""


def is_url(model: str) -> bool:
    """Whether a model is given by the base URL of a server."""
    return model.startswith(("http://", "https://"))


def url_parts(url: str) -> Any:
    """The parts of a base URL; raises an InputError if it is invalid, or may contain a secret."""
    try:
        parts = urlsplit(url)
        valid = parts.hostname and (parts.port or True)
    except ValueError:
        valid = None
    if not valid:
        raise InputError("--model: not a base URL", "such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        # Not repeated here, because it would be on the screen and in logs.
        raise InputError(
            "--model: the URL contains a user, a password or parameters",
            f"give the bare base URL; a key belongs in the environment ({KEY_VARIABLE}, or --key-variable)",
        )
    return parts


def _retry_after(headers: Any) -> float:
    """The seconds that a server asks to wait (``Retry-After`` in seconds or as a date), 0 if it does not."""
    milliseconds, text = headers.get("retry-after-ms"), headers.get("retry-after")
    readings = (
        lambda: float(milliseconds) / 1000.0,
        lambda: float(text),
        lambda: (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(),
    )
    for reading in readings:
        with suppress(TypeError, ValueError):
            return min(LONGEST_REQUESTED_WAIT, max(0.0, reading()))
    return 0.0


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, even inside a running event loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
