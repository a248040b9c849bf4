"""Model cards: the README.md of a run folder, ready for the hub."""

from typing import Any

from langlift.config.recipes import AdaptRecipe
from langlift.languages import Language

METHOD_NAMES = {
    "seq_bn": "sequential bottleneck adapter (Seq_bn)",
    "seq_bn_inv": "sequential bottleneck adapter with an invertible adapter (Seq_bn_inv)",
    "lora": "LoRA adapter",
    "full": "fully fine-tuned masked language model",
}
TAGS = {
    "seq_bn": "adapter-transformers",
    "seq_bn_inv": "adapter-transformers",
    "lora": "peft",
    "full": "fill-mask",
}


def adaptation_card(language: Language, base: str, data: str, recipe: AdaptRecipe, result: Any) -> str:
    """The card of ``langlift adapt``; ``result`` is its AdaptResult."""
    use = (
        f"langlift score --base {base} --adapter THIS_FOLDER --text your_sentences.txt"
        if recipe.method != "full"
        else "langlift score --base THIS_FOLDER --text your_sentences.txt"
    )
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
tags: [langlift, {TAGS[recipe.method]}, low-resource-languages]
---

# {language.name} ({language}): {METHOD_NAMES[recipe.method]} for {base}

Trained by langlift on `{data}` with masked language modelling.

| | |
|---|---|
| trainable parameters | {result.trainable_parameters:,} |
| tokens seen | {result.tokens:,} |
| masked loss on held-out text, before | {result.validation_loss_before:.4f} nats |
| masked loss on held-out text, after (step {result.best_step}) | {result.validation_loss:.4f} nats |
{settings}

All settings are in `recipe.yaml`, library versions in `versions.json`, the course of training in
`progress.jsonl`.

## Use

    {use}

## Limits

It knows its language only from the text named above; whoever trained it should say here where that
text comes from, under which licence, and what it leaves out.
"""
