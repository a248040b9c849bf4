"""Charts of single runs, drawn into their folders: a fusion's attention, a family's learning curves."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langlift.reports.charts import heat_map, line_chart, write_picture
from langlift.studies.analysis.measures import Spread
from langlift.tasks.setups import ATTENTION
from langlift.training.run_folder import LEARNING_CURVES, PROGRESS

FUSION_MAP = "fusion_attention.svg"


def write_fusion_map(out: Path, report: Mapping[str, Any]) -> Path:
    """Write a heat map of the attention by layer and adapter, mean and seeds, to the run's folder.

    ``report`` is that of the ``TaskResult`` of a task on several language adapters. Returns the file.

    Raises:
        LangliftError: the file cannot be written.
    """
    seeds = {f"seed {seed}": shares for seed, shares in report[f"{ATTENTION}_by_seed"].items()}
    maps = {"mean": report[ATTENTION], **seeds} if len(seeds) > 1 else seeds
    rows = {
        f"{adapter}, {which}": {str(layer): share for layer, share in enumerate(layers, start=1)}
        for which, shares in maps.items()
        for adapter, layers in shares.items()
    }
    return write_picture(out / FUSION_MAP, heat_map(rows, "layer"))


def write_learning_curves(out: Path, names: Mapping[str, str]) -> Path:
    """Write the validation losses by step, of each language and their mean, to the run's folder.

    ``names`` are the languages' names by code; those that occur twice are shown with their code. Returns the file.

    Raises:
        LangliftError: the file cannot be written.
    """
    lines = (out / PROGRESS).read_text(encoding="utf-8").splitlines()
    records = [record for record in map(json.loads, lines) if "validation_loss" in record]
    counts = Counter(names.values())
    fields = {"mean of the languages": "validation_loss"}
    for code, name in names.items():
        fields[f"{name} ({code})" if counts[name] > 1 else name] = f"validation_loss_{code}"
    curves = {
        name: {record["step"]: Spread(1, record[field]) for record in records} for name, field in fields.items()
    }
    return write_picture(
        out / LEARNING_CURVES, line_chart(curves, list(curves), "step", "held-out masked loss (nats)")
    )
