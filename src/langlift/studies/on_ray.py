"""Runs of a study as tasks of a Ray cluster; all machines must have access to the study's folder."""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langlift.errors import InputError, LangliftError
from langlift.studies.execution import RunOutcome, execute
from langlift.studies.running import Engine, Watcher, skipped
from langlift.studies.step import Step

LOCAL = "local"
RETRIES = 3
"""How often Ray restarts a run whose worker or machine died; it continues from its checkpoint."""
POLL = 1.0
CONNECT = 10.0
"""Seconds to wait for a cluster's machine to answer."""


def ray_engine(address: str, workers: int | None = None, cpus: float = 1, gpus: float = 0) -> Engine:
    """An engine that runs on the cluster at ``address``, or on this machine (``local``, with ``workers`` workers).

    Each run gets ``cpus`` and ``gpus``, as Ray counts them.

    Raises:
        InputError: Ray is not installed.
        LangliftError: the cluster cannot be reached.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise InputError("--ray needs Ray", "pip install 'langlift[studies]'") from None
    options: dict[str, Any] = {"address": address}
    if address == LOCAL:
        options = {"address": LOCAL, "include_dashboard": False}
        # By default Ray's workers have such a low priority that they starve on a busy machine.
        os.environ.setdefault("RAY_worker_niceness", "0")
        if workers is not None:
            options["num_cpus"] = max(1, round(workers * cpus))

    def engine(steps: Sequence[Step], runs: Path, watcher: Watcher) -> Iterator[RunOutcome]:
        _check_reachable(address)
        try:
            ray.init(**options, log_to_driver=False, logging_level="ERROR", configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise LangliftError(f"--ray {address}: cannot be reached ({reason})", "check the address") from error
        try:
            yield from _schedule(ray, steps, runs.resolve(), watcher, cpus, gpus)
        finally:
            ray.shutdown()

    return engine


def _check_reachable(address: str) -> None:
    """Fail at once if nothing listens at the address: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
    except (OSError, OverflowError) as error:
        raise LangliftError(f"--ray {address}: nothing answers there ({error})", "check the address") from error


def _schedule(
    ray: Any, steps: Sequence[Step], runs: Path, watcher: Watcher, cpus: float, gpus: float
) -> Iterator[RunOutcome]:
    """Submit every run whose dependencies are finished, and collect what is done."""
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(execute)
    waiting = {step.hash: step for step in steps}
    running: dict[Any, Step] = {}
    failed: dict[str, str] = {}
    while waiting or running:
        unfinished = waiting.keys() | {step.hash for step in running.values()}
        for step in list(waiting.values()):
            if (outcome := skipped(step, failed)) is not None:
                del waiting[step.hash]
                failed[step.hash] = step.name
                watcher.ended(step, outcome)
                yield outcome
            elif not any(one.hash in unfinished for one in step.needs):
                del waiting[step.hash]
                running[remote.remote(step, runs)] = step
                watcher.started(step)
        if not running:
            continue
        done, _ = ray.wait(list(running), timeout=POLL)
        for reference in done:
            step = running.pop(reference)
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayError as error:
                lost = f"the worker was lost ({type(error).__name__})"
                outcome = RunOutcome(step.name, lost, "run the same command again")
            if not outcome.ok:
                failed[step.hash] = step.name
            watcher.ended(step, outcome)
            yield outcome
