"""The demo's page: one HTML file that holds everything it shows."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langlift.files import write_text
from langlift.reports.charts import bar_chart, seeds_chart

GAPS_SHOWN = 6
ADAPTED = "+ Maltese adapter"


def write_demo_page(target: Path, result: Any) -> None:
    """Write the page of a ``DemoResult``.

    Raises:
        LangliftError: the page cannot be written.
    """
    topic, surprise = result.topic_f1, result.pppl_per_character
    charts = {
        "topic": seeds_chart(
            {result.base: topic["task_only"]["seeds"], ADAPTED: topic["stacked"]["seeds"]},
            {"majority": topic["baseline"]["majority"], "TF-IDF": topic["baseline"]["tfidf"]},
            "macro-F1 on the test sentences",
        ),
        "surprise": bar_chart(
            {result.base: surprise["base"], ADAPTED: surprise["seq_bn"]},
            "pseudo-perplexity per character",
            result.base,
        ),
    }
    environment = Environment(loader=PackageLoader("langlift.reports"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("demo.html.j2").render(
        result=result,
        shown=result.gaps[:GAPS_SHOWN],
        charts={name: Markup(svg) for name, svg in charts.items()},
    )
    write_text(target, page)
