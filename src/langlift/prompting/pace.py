"""When the next prompt may be sent: limits on prompts and tokens a minute, and pauses that a server asks for."""

import asyncio
import time


class Pace:
    """Spreads prompts evenly over time, so that no minute holds more than the limits (0: none).

    Must be used from one event loop.
    """

    def __init__(self, requests_per_minute: float, tokens_per_minute: float) -> None:
        self._each = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._token = 60.0 / tokens_per_minute if tokens_per_minute else 0.0
        self._requests_from = self._tokens_from = self._paused_until = 0.0

    async def turn(self, tokens: int) -> None:
        """Wait for leave to send a prompt that with its answer has about so many tokens."""
        now = time.monotonic()
        start = max(now, self._requests_from, self._tokens_from)
        self._requests_from = start + self._each
        self._tokens_from = start + tokens * self._token
        await asyncio.sleep(start - now)
        while (left := self._paused_until - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def correct(self, tokens: int) -> None:
        """So many tokens more (or fewer, if negative) were needed than was thought."""
        self._tokens_from += tokens * self._token

    def pause(self, seconds: float) -> None:
        """Nothing is sent for so long."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)
