"""The model card on the hub: the run's own card, completed for other users."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from langlift.bundled_models import BUNDLED
from langlift.languages import Language
from langlift.model_cards import render_card, split_front_matter
from langlift.tasks.task import Task

SCORES = (
    ("validation_loss_before", "loss on held-out text before, nats"),
    ("validation_loss", "loss on held-out text after, nats"),
    ("mean", "test score, mean over seeds"),
    ("std", "its standard deviation over seeds"),
)


@dataclass(frozen=True)
class DataSource:
    """A source of training text: its name, its hub id if it has one, and its licence as recorded."""

    name: str
    hub_id: str | None
    licence: str


@dataclass(frozen=True)
class CardFacts:
    """The content of a card; ``trained_on`` are names of data sets, ``sources`` what they consist of."""

    repository: str
    kind: str
    languages: list[Language]
    base: str | None
    base_is_public: bool
    licence: str | None
    task: Task | None
    trained_on: list[str]
    tested_on: str | None
    sources: list[DataSource]
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    layout: str | None = None
    causal: bool = False


def published_card(readme: str, facts: CardFacts) -> str:
    """The run's card, with missing facts and sections added."""
    front, text = split_front_matter(readme)
    if facts.kind != "onnx":  # there the folder is downloaded first
        text = text.replace("THIS_FOLDER", facts.repository)
    if not text:
        text = f"# {facts.repository.partition('/')[2] or facts.repository}"
    return render_card(
        "published.md",
        front=_front_matter(front, facts),
        text=text,
        present=re.findall(r"^## (.*)$", text, flags=re.MULTILINE),
        facts=facts,
        scores=_scores(facts),
        bundled=BUNDLED,
    )


def _front_matter(front: Mapping[str, Any], facts: CardFacts) -> str:
    """The front matter; what the owner wrote is kept unless it is given anew."""
    tags = front["tags"] if isinstance(front.get("tags"), list) else []
    stated: dict[str, Any] = {
        "language": list(dict.fromkeys(language.code for language in facts.languages)),
        "license": facts.licence,
        "library_name": {"onnx": "onnx"}.get(facts.kind) or front.get("library_name") or "langlift",
        "pipeline_tag": facts.task.pipeline_tag
        if facts.task
        else front.get("pipeline_tag") or ("text-generation" if facts.causal else "fill-mask"),
        "tags": list(dict.fromkeys([*map(str, tags), "langlift", "low-resource-languages"])),
        "datasets": [source.hub_id for source in facts.sources if source.hub_id],
    }
    kept = {key: value for key, value in front.items() if key not in ("base_model", "model-index")}
    merged = {**kept, **{key: value for key, value in stated.items() if value}}
    if facts.base and facts.base_is_public:
        merged["base_model"] = facts.base
    if results := _results(facts):
        merged |= {"model_name": facts.repository.rpartition("/")[2], "eval_results": results}
    return str(ModelCardData(**merged).to_yaml()).rstrip()


def _results(facts: CardFacts) -> list[EvalResult]:
    """A task's metrics on its test data."""
    task, tested_on = facts.task, facts.tested_on
    if task is None or tested_on is None:
        return []
    found = [(metric, facts.metrics.get(f"test_{metric.name}")) for metric in (task.metric, *task.further)]
    return [
        EvalResult(
            task_type=task.pipeline_tag,
            dataset_type=tested_on,
            dataset_name=tested_on,
            dataset_split="test",
            metric_type=metric.hub,
            metric_name=metric.name,
            metric_value=round(value, 2),
        )
        for metric, value in found
        if isinstance(value, float)
    ]


def _scores(facts: CardFacts) -> list[tuple[str, str]]:
    """(what was measured, value)."""
    metrics = facts.metrics
    rows = [
        (f"{key.removeprefix('test_')} on the test split", f"{value:.2f}")
        for key, value in metrics.items()
        if key.startswith("test_") and isinstance(value, float)
    ]
    one_seed = len(metrics.get("seeds", [])) == 1  # its mean is the same score
    rows += [
        (description, f"{metrics[key]:.4g}")
        for key, description in (SCORES[:2] if one_seed else SCORES)
        if key in metrics
    ]
    baseline = metrics.get("baseline")
    if isinstance(baseline, dict):
        rows += [(f"baseline {name} on the test split", f"{value:.2f}") for name, value in baseline.items()]
    return rows
