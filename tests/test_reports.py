"""Charts and pages say what the results say."""

import re
from pathlib import Path

import pytest

from langlift.demonstration import DemoResult, Gap
from langlift.evaluation.gap_filling import Candidate
from langlift.reports.charts import bars, line_chart, picture, write_picture
from langlift.reports.demo_page import (
    GAPS_SHOWN,
    Verdict,
    gain_verdict,
    topic_verdict,
    write_demo_page,
)
from langlift.studies.analysis.measures import Spread


def texts(svg: str) -> str:
    return " ".join(re.findall(r">([^<>]+)</text>", svg))


def test_bars_carry_names_and_values_and_seeds():
    values = {"a": Spread(1, 10.0), "<b>": Spread(3, 5.0)}
    texts_above = {"a": "10.00", "<b>": "5.00"}
    svg = picture(bars(values, texts_above, {"<b>": [4.0, 5.0, 6.0]}, "a", "surprise", None), "one")
    assert "10.00  a" in texts(svg) and "5.00  &lt;b&gt;" in texts(svg), "names are text, never markup"
    found = re.findall(r'aria-label="surprise: ([\d.]+);[^>]*roledescription="bar" d="M0,[\d.]+h([\d.]+)', svg)
    lengths = {float(value): float(width) for value, width in found}
    assert lengths[10.0] == 2 * lengths[5.0] > 0, "a longer bar is a larger value"
    assert len(re.findall(r'aria-roledescription="circle"', svg)) == 3


def test_a_picture_is_a_file_on_white(tmp_path):
    curves = {"one": {0: Spread(1, 6.0), 100: Spread(1, 5.0)}, "two": {0: Spread(1, 6.1), 100: Spread(1, 4.0)}}
    svg = write_picture(tmp_path / "lines.svg", line_chart(curves, list(curves), "step", "loss")).read_text()
    assert "one" in texts(svg) and "two" in texts(svg) and 'fill="white"' in svg


def demo_result(topic_f1, wins=(True, True, True)) -> DemoResult:
    gap = Gap(
        "Poġġejt il-ktieb ",
        "ta'",
        " fuq.",
        "I put <it>.",
        guesses={
            "base": [Candidate("<b>", 0.5), Candidate("ta'", 0.25)],
            "seq_bn": [Candidate("ta'", 0.75), Candidate("fuq", 0.125)],
        },
        rank={"base": 2, "seq_bn": 1},
    )
    verdicts = (
        Verdict(win, f"said of {name}") for name, win in zip(("gaps", "topic", "surprise"), wins, strict=True)
    )
    return DemoResult(
        language="mlt_Latn",
        base="some-base",
        seconds=12.0,
        gaps=[gap] * 9,
        gap_words=50,
        mean_rank={"base": 24.9, "seq_bn": 7.3},
        filled_right={"base": 3, "seq_bn": 8},
        by_frequency={"mean_rank": 12.4, "filled_right": 5},
        topic={"alone": 31.25, "stacked": 66.0, "tfidf": 61.0, "majority": 3.6},
        topic_f1=topic_f1,
        pppl_per_character={"base": 41.0, "seq_bn": 9.5},
        pseudo_perplexity={"base": 500.0, "seq_bn": 50.0},
        verdicts=dict(zip(("gaps", "topic", "surprise"), verdicts, strict=True)),
        sentences=55,
        train_sentences=418,
        topic_train=280,
        topic_test=140,
        parameters=41_300_000,
        adapter_parameters=400_000,
        adapter_steps=250,
        seed=42,
        version="0",
        out="folder",
        report="folder/report.html",
    )


def topic_f1(alone, stacked, tfidf=61.0):
    """Of two pairs of mean and deviation."""
    spreads = (
        {"mean": mean, "std": std, "seeds": [mean - std, mean, mean + std]} for mean, std in (alone, stacked)
    )
    names = ("task_only", "stacked")
    return {**dict(zip(names, spreads, strict=True)), "baseline": {"tfidf": tfidf, "majority": 3.6}}


def test_the_page_shows_every_measure_in_order_and_escapes_names(tmp_path: Path):
    write_demo_page(tmp_path / "report.html", demo_result(topic_f1((31.25, 4.0), (66.0, 1.5))))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for value in (
        "24.9 → 7.3",
        "31.2 → 66.0",
        "41.0 → 9.5",
        "41.00",
        "9.50",
        "31.2 ± 4.0",
        "66.0 ± 1.5",
        "61.0  TF-IDF",
    ):
        assert value in page, value
    assert "41 million parameters" in page and "adapt Welsh --base some-base" in page
    parts = [
        "<b>24.9",
        "<b>31.2",
        "<b>41.0",
        "1. Filling",
        "said of gaps",
        "2. Classifying",
        "said of topic",
        "3. How",
    ]
    assert [page.index(part) for part in parts] == sorted(page.index(part) for part in parts)
    assert page.count("I put &lt;it&gt;.") == GAPS_SHOWN
    assert "&lt;b&gt;" in page and "<span><b></span>" not in page
    assert page.count('class="right"') == page.count('class="later"') == GAPS_SHOWN, "first, and not first"


@pytest.mark.parametrize("wins", [(True, False, True), (False, False, False), (False, True, False)])
def test_only_a_win_has_its_colour(tmp_path: Path, wins):
    write_demo_page(tmp_path / "report.html", demo_result(topic_f1((31.25, 4.0), (66.0, 1.5)), wins))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    tiles = re.findall(r'<li( class="win")?><b>', page)
    assert [bool(tile) for tile in tiles] == list(wins)


@pytest.mark.parametrize(
    ("alone", "stacked", "win", "said"),
    [
        ((50, 2), (66, 2), True, ["Only the classifier on the adapter is better than TF-IDF", "adapter helps"]),
        ((64, 1), (66, 2), False, ["Both classifiers are better", "no difference beyond the spread"]),
        ((70, 1), (66, 2), False, ["Both classifiers are better", "the classifier alone is better"]),
        (
            (66, 2),
            (50, 2),
            False,
            ["Only the classifier alone is better", "the classifier alone is better"],
        ),
        ((62, 4), (50, 2), False, ["is as good here", "the classifier alone is better"]),
        ((20, 2), (50, 2), False, ["needs no language model, is better", "adapter helps"]),
    ],
)
def test_the_demo_says_what_loses_to_what(alone, stacked, win, said):
    verdict = topic_verdict(topic_f1(alone, stacked))
    assert verdict.win == win
    assert all(part in verdict.text for part in said), verdict.text


def test_a_gain_must_exceed_chance():
    assert gain_verdict("gaps", [5, 6, 7, 4]).win
    assert not gain_verdict("gaps", [30, -25, 4, -3]).win
    worse = gain_verdict("surprise", [-1.0, -1.5, -1.2])
    assert not worse.win and "more with the adapter" in worse.text
