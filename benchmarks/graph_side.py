"""Our side of the graph benchmark, in a process of its own: ``python graph_side.py DUMP OUT THREADS``.

Prints the seconds and the peak memory; the process is kept to so many cores.
"""

import json
import os
import sys
import time
from pathlib import Path

from langlift.graph.building import build_graphs


def main(dump: str, out: str, threads: int) -> None:
    """Build all languages of a dump."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    started, busy = time.perf_counter(), time.process_time()
    result = build_graphs(None, [f"conceptnet:{dump}"], Path(out), threads=threads)
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    answer = {
        "rows": result.rows,
        "damaged": result.damaged,
        "left_out": [*result.unknown_codes, *result.too_small],
        "kept": result.sentences,
        "seconds": seconds,
        "processor_seconds": busy,
        "peak_memory_bytes": result.peak_memory_bytes,
    }
    print(json.dumps(answer))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
