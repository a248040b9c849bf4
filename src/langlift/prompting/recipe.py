"""The recipe of prompting."""

from dataclasses import dataclass

from langlift.config.settings import MAX_SEED, same_setting, setting
from langlift.tasks.recipe import TaskRecipe
from langlift.training.recipes import PRECISIONS


@dataclass(frozen=True)
class PromptRecipe:
    """How a large model is prompted, and how its answers are scored."""

    shots: int = setting(0, "Solved examples in a prompt, drawn from train by seed", minimum=0, option=True)
    balanced: bool = setting(True, "Tasks that label texts: examples of each label in turn (false: at random)")
    seeds: tuple[int, ...] = setting(
        (1,),
        "One run for each seed; the seed selects the examples",
        minimum=0,
        maximum=MAX_SEED,
        min_items=1,
        option=True,
    )
    temperature: float = setting(
        0.0, "Sampling temperature (0: the most probable answer; above 0: drawn by seed)", minimum=0, maximum=2
    )
    answer_tokens: int = setting(512, "Maximum length of an answer in tokens, including reasoning", minimum=1)
    structured: str = setting("auto", "Server: enforce the JSON schema if supported", choices=("auto", "off"))
    unparsed: str = setting(
        "wrong", "Unreadable answers count as wrong, or are left out as published", choices=("wrong", "left_out")
    )
    failures: str = setting(
        "stop",
        "Prompts without an answer after all retries stop the run, or count as wrong",
        choices=("stop", "wrong"),
    )
    columns: tuple[int, ...] = same_setting(TaskRecipe, "columns")
    concurrency: int = setting(8, "Server: prompts sent at the same time", minimum=1)
    timeout: float = setting(120.0, "Server: seconds to wait for an answer", above=0)
    retries: int = setting(6, "Server: retries per prompt", minimum=0)
    first_wait: float = setting(1.0, "Server: seconds before the first retry, then doubled, up to 60", above=0)
    price_in: float = setting(0.0, "Price of a million prompt tokens (0: unknown)", minimum=0)
    price_out: float = setting(0.0, "Price of a million answer tokens, including reasoning", minimum=0)
    batch_size: int = setting(8, "Local model: prompts per batch", minimum=1)
    precision: str = setting(
        "auto", "Local model: numerical precision; auto uses bf16 on a GPU that supports it", choices=PRECISIONS
    )

    def conflicts(self) -> list[str]:
        """Settings that cannot be combined."""
        conflicts = [] if len(set(self.seeds)) == len(self.seeds) else ["seeds: the same seed twice"]
        if len(self.seeds) > 1 and not self.shots and not self.temperature:
            conflicts.append("seeds: without shots and at temperature 0, all send the same prompts: give one")
        return conflicts
