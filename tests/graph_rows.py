"""Rows of a built graph folder, made by hand."""

from typing import Any

from langlift.graph.conceptnet import Edge


def sentence(edge: Edge, predicate: str) -> dict[str, Any]:
    """One row of a built folder: the text, its parts with their character spans (end exclusive), the weight."""
    verb = len(edge.head) + 1
    tail = verb + len(predicate) + 1
    return {
        "text": f"{edge.head} {predicate} {edge.tail}.",
        "head": {"text": edge.head, "language": edge.head_language, "start": 0, "end": len(edge.head)},
        "relation": {"name": edge.relation, "start": verb, "end": tail - 1},
        "tail": {"text": edge.tail, "language": edge.tail_language, "start": tail, "end": tail + len(edge.tail)},
        "weight": edge.weight,
    }
