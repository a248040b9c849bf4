"""The demo's page: one HTML file that holds everything it shows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langlift.reports.charts import bar_chart, line_chart, seeds_chart
from langlift.training.run_folder import PROGRESS, write_text

BASE = "base"


def write_demo_page(target: Path, result: Any, names: Mapping[str, str], runs: Mapping[str, Path]) -> None:
    """Write the page of a ``DemoResult``; ``names`` are the models' names, ``runs`` the adapters' run folders.

    Raises:
        LangliftError: the page cannot be written.
    """
    curves = {names[key]: validation_curve(folder / PROGRESS) for key, folder in runs.items()}
    per_character = {names[key]: value for key, value in result.pppl_per_character.items()}
    topic = result.topic_f1
    charts = {
        "score": bar_chart(per_character, "pseudo-perplexity per character", names[BASE]),
        "curves": line_chart(curves, "training step", "masked loss (nats)"),
        "topic": seeds_chart(
            {
                "task adapter alone": topic["task_only"]["seeds"],
                "on the text adapter": topic["stacked"]["seeds"],
            },
            {"majority class": topic["baseline"]["majority"], "TF-IDF": topic["baseline"]["tfidf"]},
            "macro-F1 on the test sentences",
        ),
    }
    environment = Environment(loader=PackageLoader("langlift.reports"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("demo.html.j2").render(
        result=result,
        names=names,
        topic=topic,
        mean_rank={name: mean(gap.rank[name] for gap in result.gaps) for name in names},
        charts={name: Markup(svg) for name, svg in charts.items()},
    )
    write_text(target, page)


def validation_curve(progress: Path) -> Sequence[tuple[int, float]]:
    """(step, masked loss on held-out text) as a run wrote it down."""
    records = [json.loads(line) for line in progress.read_text(encoding="utf-8").splitlines()]
    return [(record["step"], record["validation_loss"]) for record in records if "validation_loss" in record]
