"""The picture of a fusion's learned attention, drawn from a finished run."""

from pathlib import Path
from typing import Any

from langlift.files import write_text
from langlift.reports.charts import heat_maps
from langlift.tasks.setups import ATTENTION

FUSION_MAP = "fusion_attention.svg"


def write_fusion_map(out: Path, report: dict[str, Any]) -> Path:
    """Write a heat map of the attention by layer and adapter, mean and seeds, into the run's folder.

    ``report`` is that of the ``TaskResult`` of a task on several language adapters. Returns the picture's path.

    Raises:
        LangliftError: the picture cannot be written.
    """
    seeds = report[f"{ATTENTION}_by_seed"]
    maps = {f"seed {seed}": shares for seed, shares in seeds.items()}
    if len(seeds) > 1:
        maps = {"mean": report[ATTENTION], **maps}
    title = ("Attention to each adapter", "(mean over test tokens)")
    write_text(out / FUSION_MAP, heat_maps(maps, "layer", title) + "\n")
    return out / FUSION_MAP
