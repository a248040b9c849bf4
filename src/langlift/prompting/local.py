"""A causal model of one's own machine: a folder or a hub id, through transformers."""

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
from langlift.prompting.asking import Answer, Answered, Outcome, Prompt
from langlift.prompting.recipe import PromptRecipe

HINT = "give a folder written by save_pretrained, a hub id such as Qwen/Qwen3-0.6B, or a server's base URL"
CAUSAL = ("CausalLM", "LMHeadModel", "ForConditionalGeneration")
"""What the class of a model is called that continues text."""


class LocalModel:
    """A causal model; its chat template is used where its tokenizer has one, else the turns stand as plain text.

    Without a chat template an answer ends with its line. Weights are loaded when something is asked.

    Raises:
        InputError: it cannot be found or read, or is no causal model.
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
                f"only models that continue text can be asked; {HINT}",
            )
        self._config, self._tokenizer = config, tokenizer
        self.name, self._location = self._model.name, model_location(model)
        folder = Path(self._location)
        where = folder.resolve() if folder.exists() else self._location
        self.identity = f"{where} {_fingerprint(folder)} {self._dtype()}"

    def require(self, prompts: Sequence[Prompt]) -> None:
        """Every prompt and its answer must fit the model's positions."""
        places = getattr(self._config, "max_position_embeddings", None)
        lengths = zip(self.tokens(prompts), prompts, strict=True)
        longest = max((tokens + prompt.answer_tokens for tokens, prompt in lengths), default=0)
        if places is not None and longest > places:
            raise InputError(
                f"{self.name}: takes {places} tokens, and the longest prompt with its answer may have {longest}",
                "give fewer --shots, or --set answer_tokens=N",
            )

    def tokens(self, prompts: Sequence[Prompt]) -> list[int]:
        """The length of each prompt."""
        return [len(self._ids(prompt)) for prompt in prompts]

    def ask(self, prompts: dict[str, Prompt], answered: Answered) -> Outcome:
        """Ask all in batches of similar length."""
        if not prompts:
            return Outcome()
        model = self._load()
        ids = {key: self._ids(prompt) for key, prompt in prompts.items()}
        keys = sorted(prompts, key=lambda key: len(ids[key]), reverse=True)
        size = self._recipe.batch_size
        for start in range(0, len(keys), size):
            batch = keys[start : start + size]
            began = time.monotonic()
            texts = self._generate(model, [ids[key] for key in batch], prompts[batch[0]])
            each = round((time.monotonic() - began) / len(batch), 3)
            for key, (text, finish, count) in zip(batch, texts, strict=True):
                answered(key, Answer(text, "", finish, len(ids[key]), count, seconds=each))
        return Outcome()

    def _generate(self, model: Any, ids: list[list[int]], prompt: Prompt) -> list[tuple[str, str, int]]:
        """(text, how it ended, tokens) of each answer."""
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
        found = []
        for row in output[:, batch["input_ids"].shape[1] :].tolist():
            last = next((number + 1 for number, token in enumerate(row) if token in ends), None)
            kept = row[:last] if last is not None else row
            text = tokenizer.decode(kept, skip_special_tokens=True)
            if not tokenizer.chat_template and "\n" in text:
                text, last = text.partition("\n")[0], 0
            found.append((text, "length" if last is None else "stop", len(kept)))
        return found

    def _ids(self, prompt: Prompt) -> list[int]:
        tokenizer = self._tokenizer
        if tokenizer.chat_template:
            text = tokenizer.apply_chat_template(prompt.messages, tokenize=False, add_generation_prompt=True)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])
        ids: list[int] = tokenizer(as_plain_text(prompt))["input_ids"]
        # Some tokenizers end a text, which would end the answer before it began.
        return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else list(ids)

    def _dtype(self) -> torch.dtype:
        fit = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        wanted = self._recipe.precision == "bf16" or (self._recipe.precision == "auto" and fit)
        return torch.bfloat16 if wanted else torch.float32

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
    """The turns for a model without a chat template: each answer follows its question, a blank line each shot."""
    text = ""
    for turn in prompt.messages:
        text += f" {turn['content']}\n\n" if turn["role"] == "assistant" else turn["content"]
    return text


def _fingerprint(folder: Path) -> str:
    """The names, sizes and times of a folder's files; nothing for a hub id."""
    if not folder.is_dir():
        return ""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return " ".join(f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files)
