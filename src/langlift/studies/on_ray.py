"""Runs of a study as tasks of a Ray cluster; results lie in the study's folder, which all machines must see."""

import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langlift.errors import InputError, LangliftError
from langlift.studies.execution import Outcome, execute
from langlift.studies.running import Engine, Watcher, skipped
from langlift.studies.step import Step

LOCAL = "local"
RETRIES = 3
"""So often Ray starts a run again whose worker or machine died; it goes on from its checkpoint."""
POLL = 1.0
CONNECT = 10.0
"""Seconds to wait for a cluster's machine to answer."""


def ray_engine(address: str, workers: int | None = None, cpus: float = 1, gpus: float = 0) -> Engine:
    """An engine that runs on the cluster at ``address``, or on this machine (``local``, with so many ``workers``).

    Each run is given ``cpus`` and ``gpus``, as Ray counts them.

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
        # By default Ray gives workers the lowest priority but four, and a busy machine starves them.
        os.environ.setdefault("RAY_worker_niceness", "0")
        if workers is not None:
            options["num_cpus"] = max(1, round(workers * cpus))

    def engine(steps: Sequence[Step], runs: Path, watcher: Watcher) -> Iterator[tuple[Step, Outcome]]:
        _knock(address)
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


def _knock(address: str) -> None:
    """Stop at an address where nothing listens: Ray itself would try again for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
    except (OSError, OverflowError) as error:
        raise LangliftError(f"--ray {address}: nothing answers there ({error})", "check the address") from error


def _schedule(
    ray: Any, steps: Sequence[Step], runs: Path, watcher: Watcher, cpus: float, gpus: float
) -> Iterator[tuple[Step, Outcome]]:
    """Hand out every run whose needs are finished, and take in what is done."""
    remote = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES)(execute)
    waiting = {step.hash: step for step in steps}
    under_way: dict[Any, Step] = {}
    bad: dict[str, str] = {}
    while waiting or under_way:
        unfinished = waiting.keys() | {step.hash for step in under_way.values()}
        for step in list(waiting.values()):
            if (outcome := skipped(step, bad)) is not None:
                del waiting[step.hash]
                bad[step.hash] = step.name
                watcher.ended(step, outcome)
                yield step, outcome
            elif not any(one.hash in unfinished for one in step.needs):
                del waiting[step.hash]
                under_way[remote.remote(step, runs)] = step
                watcher.started(step)
        if not under_way:
            continue
        done, _ = ray.wait(list(under_way), timeout=POLL)
        for reference in done:
            step = under_way.pop(reference)
            try:
                outcome = ray.get(reference)
            except ray.exceptions.RayError as error:
                outcome = Outcome(f"the worker was lost ({type(error).__name__})", "run the same command again")
            if not outcome.ok:
                bad[step.hash] = step.name
            watcher.ended(step, outcome)
            yield step, outcome
