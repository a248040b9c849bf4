"""The model card of what goes to the hub: the run's own card, and what a stranger needs beside it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from langlift.bundled_models import BUNDLED
from langlift.checkpoints.cards import split_front_matter
from langlift.languages import Language
from langlift.tasks.task import Task

SCORES = (
    ("validation_loss_before", "loss on held-out text before, nats"),
    ("validation_loss", "loss on held-out text after, nats"),
    ("mean", "test score, mean over seeds"),
    ("std", "its standard deviation over seeds"),
)


@dataclass(frozen=True)
class DataSource:
    """Where training text came from: its name, its id on the hub if it is there, and its licence as recorded."""

    name: str
    hub_id: str | None
    licence: str


@dataclass(frozen=True)
class CardFacts:
    """What the card of a repository says; ``trained_on`` are names of data sets, ``sources`` what is in them."""

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
    """The run's card with its facts completed, and with the sections that it lacks."""
    front, text = split_front_matter(readme)
    if facts.kind != "onnx":  # there the folder is downloaded first
        text = text.replace("THIS_FOLDER", facts.repository)
    if not text:
        text = f"# {facts.repository.partition('/')[2] or facts.repository}"
    sections = {
        "Language": _language(facts),
        "Data and licences": _data(facts),
        "Recipe": _recipe(facts),
        "Scores": _scores(facts),
        "Limits": _limits(facts),
        "How to load": _loading(facts),
    }
    for title, content in sections.items():
        if content and not re.search(rf"^## {title}$", text, flags=re.MULTILINE):
            body = content.strip("\n")
            text += f"\n\n## {title}\n\n{body}"
    return f"---\n{_front_matter(front, facts)}\n---\n\n{text}\n"


def _front_matter(front: Mapping[str, Any], facts: CardFacts) -> str:
    """The facts at the head; what the owner wrote there stays, unless it is stated anew."""
    stated: dict[str, Any] = {
        "language": list(dict.fromkeys(language.code for language in facts.languages)),
        "license": facts.licence,
        "library_name": {"onnx": "onnx"}.get(facts.kind) or front.get("library_name") or "langlift",
        "pipeline_tag": facts.task.pipeline_tag
        if facts.task
        else front.get("pipeline_tag") or ("text-generation" if facts.causal else "fill-mask"),
        "tags": _tags(front, facts),
        "datasets": [source.hub_id for source in facts.sources if source.hub_id],
    }
    kept = {key: value for key, value in front.items() if key not in ("base_model", "model-index")}
    merged = {**kept, **{key: value for key, value in stated.items() if value}}
    if facts.base and facts.base_is_public:
        merged["base_model"] = facts.base
    if results := _results(facts):
        merged |= {"model_name": facts.repository.rpartition("/")[2], "eval_results": results}
    return str(ModelCardData(**merged).to_yaml()).rstrip()


def _tags(front: Mapping[str, Any], facts: CardFacts) -> list[str]:
    given = front.get("tags")
    tags = [str(tag) for tag in given] if isinstance(given, list) else []
    return list(dict.fromkeys([*tags, "langlift", "low-resource-languages"]))


def _results(facts: CardFacts) -> list[EvalResult]:
    """A task's measure on its test data."""
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


def _language(facts: CardFacts) -> str:
    if not facts.languages:
        return "The run does not say which language its data is in.\n"
    return "\n".join(f"- {one.name} (`{one}`, ISO 639-3 `{one.code}`)" for one in facts.languages)


def _data(facts: CardFacts) -> str:
    """The data by name, and the sources with their licences."""
    if not facts.trained_on and not facts.sources:
        return ""
    text = f"Trained on {', '.join(f'`{name}`' for name in facts.trained_on)}." if facts.trained_on else ""
    if facts.tested_on:
        text += f" Tested on `{facts.tested_on}`."
    if not facts.sources:
        return f"{text} Its sources and licences were not stated when this was published; ask the owner.\n"
    rows = "\n".join(
        f"| {source.name} | {f'`{source.hub_id}`' if source.hub_id else ''} | {source.licence} |"
        for source in facts.sources
    )
    table = f"| source | on the hub | licence |\n|---|---|---|\n{rows}"
    return f"{text}\n\n{table}\n\nNone of the text is part of this repository.\n"


def _recipe(facts: CardFacts) -> str:
    if not facts.settings:
        return ""
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.settings.items() if value is not None)
    base = f"| base model | {facts.base} |\n" if facts.base else ""
    return f"| setting | value |\n|---|---|\n{base}{rows}\n"


def _scores(facts: CardFacts) -> str:
    rows = [
        f"| {key.removeprefix('test_')} on the test split | {value:.2f} |"
        for key, value in facts.metrics.items()
        if key.startswith("test_") and isinstance(value, float)
    ]
    one_seed = len(facts.metrics.get("seeds", [])) == 1  # its mean says nothing new
    told = SCORES[:2] if one_seed else SCORES
    rows += [f"| {said} | {facts.metrics[key]:.4g} |" for key, said in told if key in facts.metrics]
    baseline = facts.metrics.get("baseline")
    if isinstance(baseline, dict):
        rows += [f"| baseline {name} on the test split | {value:.2f} |" for name, value in baseline.items()]
    return "| measure | value |\n|---|--:|\n" + "\n".join(rows) + "\n" if rows else ""


def _limits(facts: CardFacts) -> str:
    subject = "It labels" if facts.task else "It knows its language"
    what = "text like that which it was trained on" if facts.task else "only from the data named above"
    named = f" and those of its base model, {facts.base}, are in it too" if facts.base else " are in it too"
    return (
        f"{subject} {what}; on other kinds of text, dialects and spellings it is worse, by how much was not "
        f"measured here. The errors and the one-sidedness of its data{named}. Look at its answers before they "
        "decide anything.\n"
    )


def _loading(facts: CardFacts) -> str:
    """Commands and code that load the repository."""
    repository = facts.repository
    base = facts.base or "YOUR_BASE_MODEL"
    if facts.kind == "onnx":
        return f"    hf download {repository} --local-dir THIS_FOLDER\n\nand then as above, without langlift.\n"
    if facts.kind == "task":
        verb = facts.task.verb if facts.task else "classify"
        return f"""With langlift:

    langlift predict {repository} --text your_sentences.txt --out labels.tsv

From Python:

    import langlift

    run = langlift.Adapted.load("{repository}")
    run.{verb}(["your sentence"])
"""
    if facts.kind == "model":
        if facts.layout == "transformers" or facts.task:
            return f"The code above, with `{repository}` as the name.\n"
        kind = "AutoModelForCausalLM" if facts.causal else "AutoModelForMaskedLM"
        return f"""    langlift score --base {repository} --text your_sentences.txt

With transformers alone:

    from transformers import {kind}, AutoTokenizer

    model = {kind}.from_pretrained("{repository}")
    tokenizer = AutoTokenizer.from_pretrained("{repository}")
"""
    filled = f"""
From Python:

    import langlift

    model = langlift.Adapted.load("{repository}")
    model.fill("your text with a ___ in it")
"""
    bundled = f"\nThe base model `{base}` comes with langlift.\n" if base in BUNDLED else ""
    return f"""With langlift:

    langlift score --base {base} --adapter {repository} --text your_sentences.txt
{"" if facts.causal else filled}{bundled}"""
