"""Results in notebooks."""

from dataclasses import dataclass

from langlift.notebook import Shown


@dataclass(frozen=True)
class Advice:
    """A part of a result."""


@dataclass(frozen=True)
class Result(Shown):
    """A made-up result."""

    run: str
    tokens: int
    loss: float
    perplexity: float
    seeds: list[float]
    sentences: list[str]
    resumed: bool
    baseline: dict[str, float]
    advice: Advice


def test_a_result_is_a_table_with_long_lists_counted() -> None:
    result = Result(
        "<a>", 1234567, 2.34567, 12345.678, [1.23456, 2.0], ["x"] * 9, False, {"tfidf": 61.23456}, Advice()
    )
    rows = {
        "run": "&lt;a&gt;",
        "tokens": "1,234,567",
        "loss": "2.346",
        "perplexity": "12,345.7",
        "seeds": "1.235, 2",
        "sentences": "9 entries",
        "resumed": "False",
        "baseline": "tfidf: 61.23",
        "advice": "Advice",
    }
    cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
    assert result._repr_html_() == f"<table>{cells}</table>"
