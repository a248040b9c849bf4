"""Limits on the prompts and tokens per minute, and pauses that a server asks for."""

import asyncio
import time


class RateLimiter:
    """Spreads prompts evenly over time, within the limits per minute (0: no limit). For one event loop."""

    def __init__(self, requests_per_minute: float, tokens_per_minute: float) -> None:
        self._request = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = self._next_tokens = self._paused_until = 0.0

    async def acquire(self, tokens: int) -> None:
        """Wait until a prompt may be sent; ``tokens`` is the estimated number in prompt and answer."""
        now = time.monotonic()
        start = max(now, self._next_request, self._next_tokens)
        self._next_request = start + self._request
        self._next_tokens = start + tokens * self._token
        await asyncio.sleep(start - now)
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def correct(self, tokens: int) -> None:
        """Account for tokens that were used beyond the estimate (negative: fewer)."""
        self._next_tokens += tokens * self._token

    def pause(self, seconds: float) -> None:
        """Send nothing for some time."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
