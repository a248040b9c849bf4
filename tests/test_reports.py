"""Charts and pages say what the results say."""

import json
import re
from pathlib import Path

from langlift.demonstration import GAPS, NAMES, DemoResult, Gap
from langlift.reports.charts import bar_chart, line_chart, seeds_chart
from langlift.reports.demo_page import write_demo_page


def texts(svg: str) -> str:
    return " ".join(re.findall(r">([^<>]+)</text>", svg))


def test_bars_carry_names_and_values():
    svg = bar_chart({"base": 40.99, "<adapted>": 9.254}, "surprise", "base")
    shown = texts(svg)
    assert "40.99" in shown and "9.25" in shown and "surprise" in shown
    assert "&lt;adapted&gt;" in shown, "names are text, never markup"


def test_a_longer_bar_is_a_larger_value():
    svg = bar_chart({"a": 10.0, "b": 5.0}, "x", "a")
    bars = re.findall(r'aria-label="x: ([\d.]+); name: \w"[^>]*roledescription="bar" d="M0,[\d.]+h([\d.]+)', svg)
    lengths = {float(value): float(width) for value, width in bars}
    assert lengths[10.0] == 2 * lengths[5.0] > 0


def test_lines_and_seeds_are_drawn():
    lines = line_chart({"one": [(0, 6.0), (100, 5.0)], "two": [(0, 6.1), (100, 4.0)]}, "step", "loss")
    assert "one" in texts(lines) and "two" in texts(lines)
    seeds = seeds_chart({"alone": [10.0, 20.0, 30.0]}, {"majority class": 3.6}, "macro-F1")
    assert "majority class 3.6" in texts(seeds)
    assert len(re.findall(r'aria-roledescription="circle"', seeds)) == 3


def test_the_page_shows_every_measure_and_escapes_names(tmp_path: Path):
    runs = {}
    for name in ("seq_bn", "seq_bn_inv", "graph"):
        runs[name] = tmp_path / name
        runs[name].mkdir()
        records = [
            {"step": 0, "validation_loss": 6.0},
            {"step": 5, "loss": 5.5},
            {"step": 9, "validation_loss": 5.1},
        ]
        (runs[name] / "progress.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    gaps = [Gap(*gap, filled=dict.fromkeys(NAMES, "<b>"), rank=dict.fromkeys(NAMES, 3)) for gap in GAPS]
    spread = {"mean": 31.25, "std": 4.0, "seeds": [28.0, 31.0, 35.0]}
    result = DemoResult(
        language="mlt_Latn",
        seconds=12.0,
        pppl_per_character=dict(zip(NAMES, (41.0, 9.5, 8.5, 30.5), strict=True)),
        pseudo_perplexity=dict.fromkeys(NAMES, 1.0),
        gaps=gaps,
        gap_words=50,
        topic_f1={"task_only": spread, "stacked": spread, "baseline": {"tfidf": 61.0, "majority": 3.6}},
        sentences=55,
        train_sentences=418,
        train_triples=232,
        topic_train=280,
        topic_test=140,
        seed=42,
        version="0",
        out="folder",
        report="folder/report.html",
    )
    write_demo_page(tmp_path / "report.html", result, NAMES, runs)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for value in ("41.00", "9.50", "8.50", "30.50", "31.2 ± 4.0", "TF-IDF 61.0"):
        assert value in page
    assert "<b>" not in re.sub(r"<li><b>", "", page) and "&lt;b&gt;" in page
    for before, answer, _, _ in GAPS:
        assert (
            f'{before.replace(chr(39), "&#39;")}<span class="gap">' in page
            and answer.replace("'", "&#39;") in page
        )
