"""Any server that speaks OpenAI's chat completions: vLLM, Ollama, llama.cpp, a commercial one."""

import asyncio
import os
import random
import time
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from langlift.errors import InputError, LangliftError
from langlift.progress import say
from langlift.prompting.asking import Answer, Answered, Outcome, Prompt
from langlift.prompting.pace import Pace
from langlift.prompting.recipe import PromptRecipe

KEY_VARIABLE = "OPENAI_API_KEY"
LONGEST_WAIT = 60.0
GONE_AFTER = 3
"""So many prompts in a row given up, with no answer between them: the server is taken to be gone."""
FATAL = {
    401: ("refuses the key", f"set it in the environment ({KEY_VARIABLE}, or --key-variable NAME)"),
    403: (
        "refuses access",
        f"check --model-name and the key in the environment ({KEY_VARIABLE}, or --key-variable NAME)",
    ),
    404: ("knows no such model or address", "check --model-name, and --model: most base URLs end in /v1"),
}
"""What these answers of a server mean, and what to do."""
AGAIN = (408, 409, 425, 429)
OPTIONAL = ("response_format", "max_tokens", "temperature", "seed")
FORM_WORDS = ("response_format", "schema", "guided", "grammar")
OWN_MACHINE = ("localhost", "127.0.0.1", "::1")
SHORTEST_SECRET = 8
BYTES_PER_TOKEN = 3
"""For the limit of tokens a minute, until the server has told how many they were."""


class Server:
    """A model behind a base URL such as ``http://127.0.0.1:8000/v1``.

    The key comes from the environment variable named, and goes nowhere but to the server.

    Raises:
        InputError: the package openai is missing, the URL holds a secret or is none, or no model is named.
    """

    def __init__(self, url: str, name: str | None, key_variable: str | None, recipe: PromptRecipe) -> None:
        try:
            import openai
        except ImportError:
            raise InputError(
                "--model with a URL needs the package openai", "pip install 'langlift[prompting]'"
            ) from None
        self._openai = openai
        parts = url_parts(url)
        if key_variable is not None and not os.environ.get(key_variable):
            raise InputError(
                f"--key-variable {key_variable}: the environment has no such variable", "set it first"
            )
        self._secret = os.environ.get(key_variable or KEY_VARIABLE, "").strip()
        if self._secret and parts.scheme == "http" and parts.hostname not in OWN_MACHINE:
            say(f"The key goes to {parts.hostname} unencrypted: http, not https")
        self._url, self._recipe = url.rstrip("/"), recipe
        if name is None:
            raise InputError(f"--model {url}: which model of the server?", self._offered())
        self.name = name
        self.identity = f"{self._url} {name}"
        self._withheld: set[str] = set()

    def require(self, prompts: Sequence[Prompt]) -> None:
        """Nothing: what it can take is for the server to say."""

    def ask(self, prompts: dict[str, Prompt], answered: Answered) -> Outcome:
        """Ask all, several at a time; what fails for a while is tried again, later and later.

        Raises:
            LangliftError: the server refuses the key or knows no such model, or gives no answers any more.
        """
        outcome = Outcome()
        _run(_Asking(self, self._openai, self._recipe, prompts, answered, outcome).all())
        for parameter in sorted(self._withheld):
            outcome.remarks.append(f"the server refused {parameter}; it was asked without")
        return outcome

    def client(self) -> Any:
        """A client that tries once; the retries are ours."""
        return self._openai.AsyncOpenAI(**self._access())

    def _access(self) -> dict[str, Any]:
        # Without a key the client would look for one itself; servers of one's own take any.
        key = self._secret or "none"
        return {"base_url": self._url, "api_key": key, "max_retries": 0, "timeout": self._recipe.timeout}

    def parameters(self, prompt: Prompt, without: set[str]) -> dict[str, Any]:
        """What is sent, less what the server has refused, for this prompt or for all."""
        without = without | self._withheld
        limit = "max_completion_tokens" if "max_tokens" in without else "max_tokens"
        sent: dict[str, Any] = {"temperature": prompt.temperature, limit: prompt.answer_tokens}
        if prompt.seed is not None:
            sent["seed"] = prompt.seed
        if prompt.schema is not None:
            schema = {"name": "answer", "strict": True, "schema": prompt.schema}
            sent["response_format"] = {"type": "json_schema", "json_schema": schema}
        return {name: value for name, value in sent.items() if name not in without}

    def withhold(self, refused: set[str]) -> None:
        """Leave these out from now on: without them there was an answer."""
        self._withheld |= refused

    def plain(self, text: str) -> str:
        """What a server wrote, on one line for an error, without the key should it repeat it."""
        return " ".join(self.scrubbed(text).split())[:300]

    def scrubbed(self, text: str) -> str:
        """A server's text without the key."""
        return text.replace(self._secret, "***") if len(self._secret) >= SHORTEST_SECRET else text

    def _offered(self) -> str:
        try:
            with self._openai.OpenAI(**{**self._access(), "timeout": 5.0}) as client:
                names = [self.scrubbed(str(model.id)) for model in client.models.list()]
        except (self._openai.OpenAIError, ValueError, TypeError, AttributeError):
            names = []
        if names:
            return f"add --model-name; it offers {', '.join(names[:20])}"
        return "add --model-name, the name that the server knows it by"


class _GaveUpError(Exception):
    """A prompt that was given up."""


class _Asking:
    """One round of asking: ``concurrency`` workers on one queue."""

    def __init__(
        self,
        server: Server,
        openai: Any,
        recipe: PromptRecipe,
        prompts: dict[str, Prompt],
        answered: Answered,
        outcome: Outcome,
    ) -> None:
        self._server, self._openai, self._recipe = server, openai, recipe
        self._waiting = deque(prompts.items())
        self._answered, self._outcome = answered, outcome
        self._pace = Pace(recipe.requests_per_minute, recipe.tokens_per_minute)
        self._failed_in_a_row = 0

    async def all(self) -> None:
        async with self._server.client() as self._client:
            count = min(self._recipe.concurrency, len(self._waiting))
            workers = [asyncio.ensure_future(self._work()) for _ in range(count)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            key, prompt = self._waiting.popleft()
            try:
                answer = await self._until_answered(prompt)
            except _GaveUpError as reason:
                self._outcome.failures[key] = str(reason)
                continue
            self._failed_in_a_row = 0
            self._answered(key, answer)

    async def _until_answered(self, prompt: Prompt) -> Answer:
        tries = 0
        without: set[str] = set()
        size = sum(len(turn["content"].encode()) for turn in prompt.messages) // BYTES_PER_TOKEN
        while True:
            expected = size + prompt.answer_tokens
            await self._pace.turn(expected)
            sent = self._server.parameters(prompt, without)
            started = time.monotonic()
            wait = 0.0
            try:
                async with asyncio.timeout(self._recipe.timeout):
                    completion = await self._client.chat.completions.create(
                        model=self._server.name, messages=prompt.messages, **sent
                    )
                answer = self._read(completion, "response_format" in sent, time.monotonic() - started)
                if answer.prompt_tokens is not None and answer.answer_tokens is not None:
                    self._pace.correct(answer.prompt_tokens + answer.answer_tokens - expected)
                self._server.withhold(without)
                return answer
            except self._openai.APIStatusError as error:
                if (error.status_code not in AGAIN and error.status_code < 500) or error.status_code == 501:
                    without.add(self._refused(sent, error))
                    continue
                self._require_quota(error)
                reason = f"HTTP {error.status_code}"
                wait = _retry_after(error.response.headers)
                last = self._server.plain(_told(error))
            except (self._openai.APITimeoutError, TimeoutError):
                reason = last = f"no answer within {self._recipe.timeout:g} s"
            except self._openai.APIConnectionError as error:
                reason, last = "connection lost or refused", self._server.plain(str(error.__cause__ or error))
            except (self._openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError) as error:
                reason, last = "reply that cannot be read", self._server.plain(str(error))
            if tries == self._recipe.retries:
                self._failed_in_a_row += 1
                if self._failed_in_a_row >= GONE_AFTER:
                    raise LangliftError(
                        f"{self._server.identity}: gives no answers any more ({reason}: {last})",
                        "what was answered is kept: the same command with --resume asks only for the rest",
                    ) from None
                raise _GaveUpError(f"{reason}: {last}" if last != reason else reason)
            self._outcome.retries[reason] += 1
            await self._wait(tries, wait, reason)
            tries += 1

    async def _wait(self, tries: int, asked_for: float, reason: str) -> None:
        """Wait, doubling and by chance up to half as long, or as long as the server asks; after 429 all do."""
        own = min(LONGEST_WAIT, self._recipe.first_wait * 2.0**tries) * random.uniform(0.5, 1.0)
        seconds = max(own, asked_for + random.uniform(0.0, min(1.0, own)) if asked_for else 0.0)
        if reason == "HTTP 429" or asked_for:
            self._pace.pause(seconds)
        if seconds > LONGEST_WAIT:
            say(f"{reason}: the server asks to wait {seconds:.0f} s")
        await asyncio.sleep(seconds)

    def _refused(self, sent: dict[str, Any], error: Any) -> str:
        """What was sent that may be left out, so that the prompt is asked again without it."""
        status, told = error.status_code, self._server.plain(_told(error))
        if status not in (401, 403) and (parameter := _refused_parameter(sent, error)):
            return parameter
        if status in FATAL:
            meaning, hint = FATAL[status]
            raise LangliftError(f"{self._server.identity}: {meaning} (HTTP {status}: {told})", hint) from None
        raise _GaveUpError(f"HTTP {status}: {told}")

    def _require_quota(self, error: Any) -> None:
        if getattr(error, "code", None) == "insufficient_quota":
            raise LangliftError(
                f"{self._server.identity}: {self._server.plain(_told(error))}",
                "what was answered is kept: with credit, the same command with --resume asks only for the rest",
            ) from None

    def _read(self, completion: Any, structured: bool, seconds: float) -> Answer:
        if not getattr(completion, "choices", None):
            raise ValueError("it is no chat completion")
        choice = completion.choices[0]
        message, usage = choice.message, completion.usage
        extra = getattr(message, "model_extra", None) or {}
        reasoning = extra.get("reasoning_content") or extra.get("reasoning") or ""
        text = message.content if message.content is not None else getattr(message, "refusal", None) or ""
        if not isinstance(text, str):
            raise TypeError("the content is not text")
        return Answer(
            text=self._server.scrubbed(text),
            reasoning=self._server.scrubbed(str(reasoning)),
            finish=str(choice.finish_reason or ""),
            prompt_tokens=_count(usage, "prompt_tokens"),
            answer_tokens=_count(usage, "completion_tokens"),
            structured=structured,
            seconds=round(seconds, 3),
        )


def _refused_parameter(sent: dict[str, Any], error: Any) -> str | None:
    """The optional parameter that a server refused, by what it says.

    Where it names nothing it may be the form of the answer, which fewest servers know.
    """
    told = f"{getattr(error, 'param', '')} {getattr(error, 'message', '')} {getattr(error, 'body', '')}".lower()
    optional = [name for name in OPTIONAL if name in sent]
    if any(word in told for word in FORM_WORDS) and "response_format" in optional:
        return "response_format"
    if "context" not in told:  # a prompt that is too long: the limit of the answer is only mentioned
        for name in optional:
            if name in told:
                return name
    return "response_format" if "response_format" in optional and error.status_code != 404 else None


def _told(error: Any) -> str:
    """What a server says of its refusal, without what the client puts around it."""
    told = error.body.get("message") if isinstance(error.body, dict) else None
    return str(told or error.message)


def is_url(model: str) -> bool:
    """Whether a model is named by the base URL of a server."""
    return model.startswith(("http://", "https://"))


def url_parts(url: str) -> Any:
    """A base URL's parts.

    Raises:
        InputError: it is none, or holds what may be a secret.
    """
    try:
        parts = urlsplit(url)
        found = parts.hostname and (parts.port or True)
    except ValueError:
        found = None
    if not found:
        raise InputError("--model: not a base URL", "such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        # Not repeated here: it would stand on the screen, and in logs.
        raise InputError(
            "--model: the URL holds a user, a password or parameters",
            f"give the bare base URL; a key belongs in the environment ({KEY_VARIABLE}, or --key-variable)",
        )
    return parts


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None


def _retry_after(headers: Any) -> float:
    """The seconds that a server asks to wait, 0 where it does not: ``Retry-After`` in seconds or as a date."""
    milliseconds, text = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if milliseconds is not None:
            return max(0.0, float(milliseconds) / 1000.0)
        return max(0.0, float(text)) if text is not None else 0.0
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(str(text))
    except (TypeError, ValueError):
        return 0.0
    return max(0.0, (until - datetime.now(UTC)).total_seconds()) if until.tzinfo else 0.0


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
