"""A side of a benchmark as a process that computes only when asked, so that the sides never run at once."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from langlift.errors import LangliftError


class Side:
    """A process that answers JSON lines; used as a context manager."""

    def __init__(
        self, name: str, command: Sequence[str], task: dict[str, Any], folder: Path, threads: int
    ) -> None:
        self.name, self._errors = name, folder / f"{name}.log"
        file = folder / f"{name}.json"
        file.write_text(json.dumps(task), encoding="utf-8")
        self._command = [*command, str(file)]
        # Threads that wait by spinning would slow the other side down.
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}

    def __enter__(self) -> "Side":
        self._log = self._errors.open("w", encoding="utf-8")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream is not None:
                stream.close()

    def ask(self, command: str | int) -> dict[str, Any]:
        """Send one command and wait for its answer.

        Raises:
            LangliftError: the process has ended.
        """
        asked, answers = self._stream(self._process.stdin), self._stream(self._process.stdout)
        try:
            asked.write(f"{command}\n")
            asked.flush()
            while line := answers.readline():
                if line.startswith("{"):
                    answer: dict[str, Any] = json.loads(line)
                    return answer
        except BrokenPipeError:
            pass
        lines = self._errors.read_text(encoding="utf-8").strip().splitlines() or ["no message"]
        raise LangliftError(f"the {self.name} side failed: {lines[-1]}", "run it again, or report it")

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        if stream is None:
            raise LangliftError("the benchmark's process has no pipe", "report it")
        return stream
