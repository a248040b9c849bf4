"""A causal model on this machine, a folder or a hub id, run with transformers."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import (
    default_device,
    load_tokenizer,
    model_location,
    quiet_transformers,
    read_config,
    unloadable,
)
from langlift.errors import InputError
from langlift.prompting.asking import Answer, OnAnswer, Outcome, Prompt
from langlift.prompting.recipe import PromptRecipe

HINT = "give a folder written by save_pretrained, a hub id such as Qwen/Qwen3-0.6B, or a server's base URL"
CAUSAL = ("CausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Part of the class names of models that generate text."""


class LocalModel:
    """A causal model, prompted with its chat template if it has one, and otherwise with plain text.

    Without a chat template, an answer ends at the end of its line. Weights are loaded by ``ask``. Raises an
    InputError if it cannot be found or read, or is not a causal model.
    """

    def __init__(self, model: BaseName | str, recipe: PromptRecipe) -> None:
        self._model, self._recipe = BaseName.of(model), recipe
        try:
            config, tokenizer = read_config(model), load_tokenizer(model)
        except InputError as error:
            raise InputError(f"--model {error.message}", HINT) from error
        tokenizer.padding_side = "left"
        classes = config.architectures or []
        if config.is_encoder_decoder or not any(word in one for one in classes for word in CAUSAL):
            raise InputError(
                f"{model}: not a causal model ({', '.join(classes) or config.model_type})",
                f"only models that generate text can be prompted; {HINT}",
            )
        self._config, self._tokenizer = config, tokenizer
        self.name, self._location = self._model.name, model_location(model)
        folder = Path(self._location)
        files = [(path.name, path.stat()) for path in sorted(folder.glob("*")) if path.is_file()]
        of_files = " ".join(f"{name}:{stat.st_size}:{stat.st_mtime_ns}" for name, stat in files)
        where = folder.resolve() if folder.exists() else self._location
        self.identity = f"{where} {of_files} {self._dtype()}"

    def require(self, prompts: Sequence[Prompt]) -> None:
        """Check that every prompt and its answer fit into the model's positions."""
        positions = getattr(self._config, "max_position_embeddings", None)
        lengths = zip(self.tokens(prompts), prompts, strict=True)
        longest = max((tokens + prompt.answer_tokens for tokens, prompt in lengths), default=0)
        if positions is not None and longest > positions:
            raise InputError(
                f"{self.name}: takes {positions} tokens, but the longest prompt and answer may need {longest}",
                "use fewer --shots, or --set answer_tokens=N",
            )

    def tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """The number of tokens of each prompt."""
        return [len(self._ids(prompt)) for prompt in prompts]

    def ask(self, prompts: dict[str, Prompt], on_answer: OnAnswer) -> Outcome:
        """Answer all prompts, in batches of similar length."""
        model = self._load()
        ids = {key: self._ids(prompt) for key, prompt in prompts.items()}
        keys = sorted(prompts, key=lambda key: len(ids[key]), reverse=True)
        size = self._recipe.batch_size
        for start in range(0, len(keys), size):
            batch = keys[start : start + size]
            started = time.monotonic()
            answers = self._generate(model, [ids[key] for key in batch], prompts[batch[0]])
            seconds = round((time.monotonic() - started) / len(batch), 3)
            for key, (text, finish, tokens) in zip(batch, answers, strict=True):
                on_answer(key, Answer(text, "", finish, len(ids[key]), tokens, seconds=seconds))
        return Outcome()

    def _generate(self, model: Any, ids: list[list[int]], prompt: Prompt) -> list[tuple[str, str, int]]:
        """(text, finish, number of tokens) of each answer."""
        tokenizer = self._tokenizer
        batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(model.device)
        options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if prompt.temperature:
            options = {"do_sample": True, "temperature": prompt.temperature, "top_p": 1.0, "top_k": 0}
            torch.manual_seed(prompt.seed or 0)
        if not tokenizer.chat_template:
            options |= {"stop_strings": ["\n"], "tokenizer": tokenizer}
        with torch.inference_mode(), quiet_transformers():
            output = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=prompt.answer_tokens,
                pad_token_id=tokenizer.pad_token_id,
                **options,
            )
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends])
        answers = []
        for row in output[:, batch["input_ids"].shape[1] :].tolist():
            last = next((number + 1 for number, token in enumerate(row) if token in ends), None)
            kept = row[:last] if last is not None else row
            text = tokenizer.decode(kept, skip_special_tokens=True)
            if not tokenizer.chat_template and "\n" in text:
                text, last = text.partition("\n")[0], 0
            answers.append((text, "length" if last is None else "stop", len(kept)))
        return answers

    def _ids(self, prompt: Prompt) -> list[int]:
        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(prompt.messages, tokenize=False, add_generation_prompt=True)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])
        ids: list[int] = tokenizer(as_plain_text(prompt))["input_ids"]
        # An end-of-text token would end the answer before it starts.
        return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else list(ids)

    def _dtype(self) -> torch.dtype:
        precision = self._recipe.precision
        if precision == "auto" and torch.cuda.is_available() and torch.cuda.is_bf16_supported():
            precision = "bf16"
        return torch.bfloat16 if precision == "bf16" else torch.float32

    def _load(self) -> Any:
        from transformers import AutoModelForCausalLM

        try:
            with quiet_transformers():
                model = AutoModelForCausalLM.from_pretrained(
                    self._location,
                    config=self._config,
                    dtype=self._dtype(),
                    trust_remote_code=self._model.trust_remote_code,
                )
        except Exception as error:
            raise InputError(f"--model {unloadable(self.name, error).message}", HINT) from error
        return model.eval().to(default_device())


def as_plain_text(prompt: Prompt) -> str:
    """The turns for a model without a chat template, with a blank line after each solved example."""
    turns = ((turn["role"], turn["content"]) for turn in prompt.messages)
    return "".join(f" {content}\n\n" if role == "assistant" else content for role, content in turns)
