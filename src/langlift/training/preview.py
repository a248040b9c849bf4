"""What a run is about to be trained on, for people, before it starts."""

from collections import Counter
from collections.abc import Collection
from itertools import islice
from typing import Any

from langlift.corpus.characters import LETTER, LIMIT, OTHER_LETTER, kinds
from langlift.corpus.language_check import warn_of_other_language
from langlift.errors import InputError
from langlift.languages import Language
from langlift.progress import say
from langlift.training.examples import evenly_spread
from langlift.training.recipes import AdaptRecipe
from langlift.training.training_data import TrainingData

ROWS, WIDTH, SAMPLED = 10, 78, 300
"""How many rows are shown, of how many characters, and how many texts are examined for their script."""


def show_preview(
    language: Language, texts: Collection[str], data: TrainingData, tokenizer: Any, recipe: AdaptRecipe
) -> None:
    """Print the size of the data, a few rows as tokens, and a warning if its letters are not the language's."""
    rows, tokens = len(data.train), int(data.train.lengths.sum())
    times = recipe.steps * recipe.batch_size / rows
    say(
        f"data: {rows:,} rows with {tokens:,} tokens to train on, each seen about {times:.1f} times in "
        f"{recipe.steps:,} steps; the model reads them as"
    )
    for number in evenly_spread(rows, ROWS):
        line = " ".join(tokenizer.convert_ids_to_tokens(data.train[number].ids.tolist(), skip_special_tokens=True))
        say(f"  {line if len(line) <= WIDTH else line[: WIDTH - 1] + '…'}")
    share = script_share(language.script, islice(texts, SAMPLED))
    if share is not None and share < 0.5:
        say(
            f"warning: only {share:.0%} of the letters are in the script of {language}; if this is the right "
            "text, name the language with the text's script, as in srp_Latn"
        )
    else:
        warn_of_other_language(language, texts)


def script_share(script: str, texts: Collection[str] | islice) -> float | None:
    """The share of a script (ISO 15924) among the letters that belong to any.

    ``None`` without letters, and for a script that Unicode does not have.
    """
    try:
        table = kinds(script)
    except InputError:
        return None
    found = Counter(int(table[min(ord(character), LIMIT)]) for text in texts for character in text)
    letters = found[LETTER] + found[OTHER_LETTER]
    return found[LETTER] / letters if letters else None
