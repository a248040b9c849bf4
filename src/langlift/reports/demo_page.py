"""The demo's HTML page, and verdicts on its results, so that a loss is not presented as a win."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from markupsafe import Markup

from langlift.files import write_text
from langlift.reports.charts import bars, picture
from langlift.reports.tables import render
from langlift.studies.analysis.measures import Spread

GAPS_SHOWN = 6
ADAPTED = "+ Maltese adapter"


@dataclass(frozen=True)
class Verdict:
    """A result in a sentence; ``win``: better by more than chance or the spread of seeds would explain."""

    win: bool
    text: str


VERDICTS = {
    "gaps": (
        "With the adapter the right word is found sooner.",
        "With the adapter the right word is found later than without it.",
        "The right word is found no sooner with the adapter than chance would explain.",
    ),
    "surprise": (
        "Real Maltese surprises the model less with the adapter.",
        "Real Maltese surprises the model more with the adapter than without it.",
        "The adapter makes no difference here that chance would not explain.",
    ),
}
"""What is said of gains, of losses, and of neither."""


def gain_verdict(what: str, gains: Sequence[float]) -> Verdict:
    """By a mean gain (ranks of a gap, or log probability of a sentence) of more than two standard errors."""
    gain, error = mean(gains), stdev(gains) / sqrt(len(gains))
    better, worse, same = VERDICTS[what]
    return Verdict(gain > 2 * error, same if abs(gain) <= 2 * error else better if gain > 0 else worse)


def topic_verdict(topic_f1: Mapping[str, Mapping[str, Any]]) -> Verdict:
    """The stacked classifier compared with TF-IDF and the one alone; differences must exceed the deviations."""
    alone, stacked, tfidf = topic_f1["task_only"], topic_f1["stacked"], topic_f1["baseline"]["tfidf"]
    beats = [f1["mean"] - f1["std"] > tfidf for f1 in (alone, stacked)]
    which = ("alone", "on the adapter")[beats.index(any(beats))]
    if all(beats):
        baseline = "Both classifiers are better than TF-IDF, which needs no language model."
    elif any(beats):
        baseline = f"Only the classifier {which} is better than TF-IDF, which needs no language model."
    elif max(alone["mean"], stacked["mean"]) < tfidf:
        baseline = "On these sentences TF-IDF, which needs no language model, is better."
    else:
        baseline = "TF-IDF, which needs no language model, is as good here, by the spread of the seeds."
    difference, spread = stacked["mean"] - alone["mean"], stacked["std"] + alone["std"]
    if difference > spread:
        adapter = "The Maltese adapter helps: the classifier on it is better than the one alone."
    elif difference < -spread:
        adapter = "The Maltese adapter does not help here: the classifier alone is better."
    else:
        adapter = "The Maltese adapter makes no difference beyond the spread of the seeds."
    return Verdict(beats[1] and difference > spread, f"{baseline} {adapter}")


def write_demo_page(target: Path, result: Any) -> None:
    """Write the page of a ``DemoResult``."""
    topic, surprise = result.topic_f1, result.pppl_per_character
    scores = {name: [topic["baseline"][key]] for name, key in (("majority", "majority"), ("TF-IDF", "tfidf"))}
    scores |= {result.base: topic["task_only"]["seeds"], ADAPTED: topic["stacked"]["seeds"]}
    surprises = {result.base: [surprise["base"]], ADAPTED: [surprise["seq_bn"]]}
    charts = {
        "topic": _bars(scores, ".1f", "macro-F1 on the test sentences", "majority", 100.0),
        "surprise": _bars(surprises, ".2f", "pseudo-perplexity per character", result.base, None),
    }
    write_text(target, render("demo.html.j2", result=result, shown=result.gaps[:GAPS_SHOWN], charts=charts))


def _bars(
    values: Mapping[str, Sequence[float]], number: str, axis: str, reference: str, top: float | None
) -> Markup:
    """A bar for each mean, and a dot for each value of those that have several; ``number`` is their format."""
    means = {name: Spread(len(some), mean(some)) for name, some in values.items()}
    texts = {name: format(one.mean, number) for name, one in means.items()}
    seeds = {name: some for name, some in values.items() if len(some) > 1}
    return Markup(picture(bars(means, texts, seeds, reference, axis, top), axis[:8]))
