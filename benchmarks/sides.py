"""A side of a benchmark: a process that runs only while it is asked something, so that the sides never compete."""

import json
import os
import signal
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
        self._environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}

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
        """Send one command and wait for its answer; the process is stopped before and afterwards.

        Otherwise its threads, which wait by spinning, would slow the other sides down. (Making them sleep instead,
        with OMP_WAIT_POLICY=passive, slows their own side down.)

        Raises:
            LangliftError: the process has ended.
        """
        self._process.send_signal(signal.SIGCONT)
        answer = self._answer(command)
        self._process.send_signal(signal.SIGSTOP)
        return answer

    def _answer(self, command: str | int) -> dict[str, Any]:
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
