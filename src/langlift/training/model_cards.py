"""Model cards: the README.md of a run folder, ready for the hub."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from langlift.adapters.method import METHODS
from langlift.config.recipes import CAUSAL, FurtherRecipe, PretrainRecipe, TaskRecipe
from langlift.languages import Language
from langlift.training.recipes import AdaptRecipe, FamilyRecipe

FLORES_CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
LEARNING_CURVES = "learning_curves.svg"
OBJECTIVE_NAMES = {
    "mlm": "masked language modelling",
    "full_word": "masked language modelling of full words",
    "targeted": "targeted masking of the arguments of triples",
    "causal": "causal language modelling (the next token)",
}


def adaptation_card(
    language: Language,
    base: str,
    data: Sequence[str],
    recipe: AdaptRecipe,
    result: Any,
    init: str | None = None,
    with_head: bool = False,
) -> str:
    """The card of ``langlift adapt``; ``result`` is its AdaptResult, ``init`` the adapter it went on from.

    ``with_head``: a masked head stands in a file of its own beside the adapter.
    """
    method = METHODS[recipe.method]
    sources = ", ".join(f"`{name}`" for name in data)
    apart = with_head and not method.whole_model
    head = "\nThe masked head trained with it is in `masked_head.safetensors`.\n" if apart else ""
    use = (
        f"langlift score --base {base} --adapter THIS_FOLDER --text your_sentences.txt"
        if not method.whole_model
        else "langlift score --base THIS_FOLDER --text your_sentences.txt"
    )
    start = f", starting from the adapter `{init}`" if init else ""
    tag, loss = (method.causal_tag, "loss") if recipe.objective == CAUSAL else (method.tag, "masked loss")
    settings = "\n".join(
        f"| {name} | {getattr(recipe, field)} |"
        for name, field in (
            ("objective", "objective"),
            ("steps", "steps"),
            ("sentences a step", "batch_size"),
            ("learning rate", "learning_rate"),
            ("seed", "seed"),
        )
    )
    return f"""---
language: {language.code}
base_model: {base}
library_name: langlift
tags: [langlift, {tag}, low-resource-languages]
---

# {language.name} ({language}): {method.label} for {base}

Trained by langlift on {sources} with {OBJECTIVE_NAMES[recipe.objective]}{start}.
{head}
| | |
|---|---|
| trainable parameters | {result.trainable_parameters:,} |
| tokens seen | {result.tokens:,} |
| {loss} on held-out text, before | {result.validation_loss_before:.4f} nats |
| {loss} on held-out text, after (step {result.best_step}) | {result.validation_loss:.4f} nats |
{settings}

All settings are in `recipe.yaml`, library versions in `versions.json`, the course of training in
`progress.jsonl`.

## Use

    {use}

## Limits

It knows its language only from the text named above; whoever trained it should say here where that
text comes from, under which licence, and what it leaves out.
"""


def pretraining_card(recipe: PretrainRecipe, result: Any) -> str:
    """The card of ``langlift pretrain``; ``result`` is its PretrainResult."""
    languages = "\n".join(f"| {name} | {count:,} |" for name, count in sorted(result.text_bytes.items()))
    codes = [name.partition("_")[0] for name in result.text_bytes if FLORES_CODE.fullmatch(name)]
    known = f"language: [{', '.join(dict.fromkeys(codes))}]\n" if codes else ""
    shape = f"{recipe.layers} layers x {recipe.hidden_size}, {recipe.attention_heads} heads"
    spelled = "byte fallback" if recipe.byte_fallback else "no byte fallback"
    kind, pipeline, architecture, loss = ("masked", "fill-mask", "XLM-R", "masked loss")
    if recipe.objective == CAUSAL:
        kind, pipeline, architecture, loss = ("causal", "text-generation", "Llama", "loss")
    return f"""---
{known}library_name: transformers
pipeline_tag: {pipeline}
tags: [langlift, {"llama" if recipe.objective == CAUSAL else "xlm-roberta"}]
---

# A {kind} language model pre-trained by langlift

| | |
|---|---|
| architecture | {architecture}: {shape}, at most {recipe.max_tokens} tokens |
| parameters | {result.parameters:,} |
| vocabulary | {result.vocabulary_size:,} unigram pieces, {spelled} |
| steps | {result.steps:,} of {recipe.batch_size * recipe.accumulation} rows of {recipe.row_tokens} tokens |
| tokens seen | {result.tokens:,} |
| {loss} on reserved text | {result.validation_loss:.4f} nats |

Text that was there to train on. {recipe.reserved_share:.0%} of the documents of each file are reserved, and not
counted:

| file | bytes |
|---|--:|
{languages}
| all | {sum(result.text_bytes.values()):,} |

All settings are in the run's `recipe.yaml`, the course of training in `progress.jsonl`.

## Limits

It knows languages only from these files; whoever trained it should say here where they come from, under which
licence, and what they leave out.
"""


def further_card(recipe: FurtherRecipe, result: Any, lineage: Sequence[str]) -> str:
    """The card of ``langlift pretrain --from``; ``result`` is its PretrainResult.

    ``lineage`` has a line for each step in which the base was made.
    """
    rows = "\n".join(
        f"| {name} | {count:,} | {result.validation_losses.get(name, float('nan')):.4f} |"
        for name, count in sorted(result.text_bytes.items())
    )
    codes = [name.partition("_")[0] for name in result.text_bytes if FLORES_CODE.fullmatch(name)]
    known = f"language: [{', '.join(dict.fromkeys(codes))}]\n" if codes else ""
    layers = "all layers" if recipe.train_layers < 0 else f"the last {recipe.train_layers} layers"
    trained = layers if recipe.train_layers else "no layer"
    head = "made here: the base had none" if result.made_head else "the base's, trained further"
    kept = (
        f"\n| term that keeps the states of tokens that are not predicted | weight {recipe.keep_states:g} |"
        if recipe.keep_states
        else ""
    )
    trained += f", the head{', the embeddings' if recipe.train_embeddings else ''}"
    origins = "".join(f"\n- {line}" for line in lineage)
    made_from = f"\nHow the base was made:\n{origins}\n" if origins else ""
    before, after = f"{result.validation_loss_before:.4f}", f"{result.validation_loss:.4f}"
    return f"""---
{known}base_model: {result.base}
library_name: transformers
pipeline_tag: fill-mask
tags: [langlift]
---

# A masked language model that langlift trained on from {result.base}

| | |
|---|---|
| base | `{result.base}` |
| masked head | {head} |
| trained | {trained}: {result.trained_parameters:,} of {result.parameters:,} parameters |
| vocabulary | {result.vocabulary_size:,} entries |
| steps | {result.steps:,} of {recipe.batch_size * recipe.accumulation} rows of {recipe.row_tokens} tokens |
| tokens seen here | {result.tokens:,} |{kept}
| masked loss on reserved text, before and after | {before} and {after} nats (mean of the files) |
{made_from}
Text that was there to train on. {recipe.reserved_share:.0%} of the documents of each file are reserved for the
losses, and not counted:

| file | bytes | masked loss |
|---|--:|--:|
{rows}

All settings are in the run's `recipe.yaml`, the course of training in `progress.jsonl`.

## Limits

Beside what its base has seen, it knows languages only from these files; whoever trained it should say here where
they come from, under which licence, and what they leave out.
"""


def family_card(recipe: FamilyRecipe, result: Any) -> str:
    """The card of ``langlift adapt-family``; ``result`` is its FamilyResult."""
    languages = "\n".join(
        f"| {one.name} (`{code}`) | {one.examples:,} | {one.share:.1%} | {one.tokens:,} "
        f"| {one.validation_loss_before:.4f} | {one.validation_loss:.4f} |"
        for code, one in result.languages.items()
    )
    method = METHODS[recipe.method]
    head = " and the masked head" if recipe.train_head and not method.whole_model else ""
    use = "--base THIS_FOLDER" if method.whole_model else f"--base {result.base} --adapter THIS_FOLDER"
    before, after = f"{result.validation_loss_before:.4f}", f"{result.validation_loss:.4f}"
    return f"""---
language: [{", ".join(dict.fromkeys(code.partition("_")[0] for code in result.languages))}]
base_model: {result.base}
library_name: langlift
tags: [langlift, {method.tag}, low-resource-languages]
---

# {result.family}: {method.label}{head} for {result.base}

Trained by langlift on the text of {len(result.languages)} languages together, with
{OBJECTIVE_NAMES[recipe.objective]}. A language's share of the training examples goes with the number of its own to
the power of {recipe.alpha:g}.

| language | examples | share | tokens trained on | loss before | loss after |
|---|--:|--:|--:|--:|--:|
{languages}
| all (losses: mean of the languages) | | | {result.tokens:,} | {before} | {after} |

Losses are masked losses on held-out text, in nats per masked token. The weights are those of step
{result.best_step} of {result.steps}, whose mean over languages was lowest. Training took {result.flops:.2e}
floating point operations and {result.seconds:,.0f} seconds.

All settings are in `recipe.yaml`, library versions in `versions.json`, the course of training in
`progress.jsonl` and `{LEARNING_CURVES}`.

## Use

    langlift score {use} --text your_sentences.txt

## Limits

It knows its languages only from the texts named in `recipe.yaml`; whoever trained it should say here where those
come from, under which licence, and what they leave out.
"""


def task_card(
    title: str,
    tag: str,
    metric: str,
    metric_title: str,
    inputs: Mapping[str, Any],
    recipe: TaskRecipe,
    labels: Sequence[str],
    metrics: Mapping[str, Any],
) -> str:
    """The card of one seed of ``langlift task``; ``metric`` is the measure's key in ``metrics``."""
    below = f", stacked on `{inputs['language_adapter']}`" if inputs.get("language_adapter") else ""
    if fused := inputs.get("fused_adapters"):
        below = f", on the fusion of {' and '.join(f'`{name}`' for name in fused)}"
    what = METHODS[recipe.method].task_label
    trained_on = inputs["train_data"] or inputs["data"]
    return f"""---
base_model: {inputs["base"]}
library_name: langlift
tags: [langlift, {tag}]
---

# {title}: {what} for {inputs["base"]}{below}

Trained by langlift on `{trained_on}`, tested on `{inputs["data"]}`. Classes: {", ".join(labels)}.

| | |
|---|---|
| {metric_title} on test | {metrics[f"test_{metric}"]:.1f} |
| {metric_title} on dev (weights of step {metrics["best_step"]}) | {metrics[f"dev_{metric}"]:.1f} |
| trainable parameters | {metrics["trainable_parameters"]:,} |
| seed | {metrics["seed"]} |

The head is in `head.safetensors` and `head.json`; all settings are in `recipe.yaml`.
"""
