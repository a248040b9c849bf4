"""The plain way from a dump to sentences: one loop over its lines, all edges in memory.

``python graph_plain.py DUMP PREDICATES OUT`` writes ``OUT/<code>.jsonl`` for each language code and prints counts.
It does the same work as ``langlift graph build all`` and no more than that: no splits, no hashes, no manifest. It
knows nothing of langlift, and is written as a researcher would write it who wants it fast.
"""

import csv
import json
import resource
import sys
import time
from pathlib import Path
from unicodedata import normalize


def concept(node: str) -> tuple[str, str]:
    """Language and term of ``/c/mt/dar_il-baħar/n``."""
    parts = node.split("/")
    if len(parts) < 4 or parts[0] or parts[1] != "c":
        raise ValueError(node)
    term = " ".join(normalize("NFC", parts[3].replace("_", " ")).split())
    if not parts[2] or not term:
        raise ValueError(node)
    return parts[2], term


def sentence(
    language: str, head: str, relation: str, predicate: str, tail_language: str, tail: str, weight: float
) -> str:
    """A line of JSON."""
    verb = len(head) + 1
    last = verb + len(predicate) + 1
    return json.dumps(
        {
            "text": f"{head} {predicate} {tail}.",
            "head": {"text": head, "language": language, "start": 0, "end": len(head)},
            "relation": {"name": relation, "start": verb, "end": last - 1},
            "tail": {"text": tail, "language": tail_language, "start": last, "end": last + len(tail)},
            "weight": weight,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def convert(dump: Path, predicates: dict[str, str], out: Path) -> dict[str, float]:
    """Write the sentences of each language; the heaviest of duplicates stays, of equals the first."""
    rows = damaged = 0
    edges: dict[tuple[str, str, str, str], tuple[str, float]] = {}
    with open(dump, encoding="utf-8", newline="\n") as file:  # noqa: PTH123 - plain
        for line in file:
            rows += 1
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != 5:
                damaged += 1
                continue
            relation = fields[1][3:]
            predicate = predicates.get(relation)
            if predicate is None:
                continue
            try:
                language, head = concept(fields[2])
                tail_language, tail = concept(fields[3])
                weight = float(json.loads(fields[4])["weight"])
            except (ValueError, KeyError):
                damaged += 1
                continue
            if head == tail:
                continue
            key = (language, head, relation, tail)
            before = edges.get(key)
            if before is None or before[1] < weight:
                edges[key] = (tail_language, weight)
    out.mkdir()
    files = {}
    for (language, head, relation, tail), (tail_language, weight) in edges.items():
        if language not in files:
            files[language] = (out / f"{language}.jsonl").open("w", encoding="utf-8")
        text = sentence(language, head, relation, predicates[relation], tail_language, tail, weight)
        files[language].write(text + "\n")
    for file in files.values():
        file.close()
    return {"rows": rows, "damaged": damaged, "kept": len(edges)}


def main() -> None:
    """Convert and say how long it took, and how much memory."""
    dump, table, out = map(Path, sys.argv[1:])
    with table.open(encoding="utf-8", newline="") as file:
        predicates = {row["relation"]: row["predicate"] for row in csv.DictReader(file)}
    started, busy = time.perf_counter(), time.process_time()
    counts = convert(dump, predicates, out)
    counts["seconds"] = time.perf_counter() - started
    counts["processor_seconds"] = time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts["peak_memory_bytes"] = peak if sys.platform == "darwin" else peak * 1024
    print(json.dumps(counts))  # noqa: T201


if __name__ == "__main__":
    main()
