"""The picture of a family's learning curves, drawn from its finished run."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from langlift.files import write_text
from langlift.reports.charts import line_chart
from langlift.training.run_folder import LEARNING_CURVES, PROGRESS

MEAN = "mean of the languages"


def write_learning_curves(out: Path, names: Mapping[str, str]) -> Path:
    """Write the validation losses by step, of each language and their mean, into the run's folder.

    ``names`` are the languages' names by their codes; two of the same name are told apart by code.
    Returns the picture's path.

    Raises:
        LangliftError: the picture cannot be written.
    """
    lines = (out / PROGRESS).read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if "validation_loss" in record]
    fields = {MEAN: "validation_loss"}
    shared = {name for name, count in Counter(names.values()).items() if count > 1}
    for code, name in names.items():
        fields[f"{name} ({code})" if name in shared else name] = f"validation_loss_{code}"
    curves = {name: [(record["step"], record[field]) for record in records] for name, field in fields.items()}
    picture = line_chart(curves, "step", "held-out masked loss (nats)", background="white")
    write_text(out / LEARNING_CURVES, picture + "\n")
    return out / LEARNING_CURVES
