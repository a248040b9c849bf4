"""Draw how much text of each language langlift's nano-graded preset trains on: from 64 KB to 3.6 MB.

python docs/examples/graded_budgets.py CORPUS

CORPUS is the folder of texts of langlift-nano's 25 languages. The budgets are evenly spaced on a logarithmic
scale and assigned to the languages at random. The seed is the first one, from 0, with which every language has
enough text outside the reserved tenth, and Latin script correlates with neither large nor small budgets
(correlation with their logarithm below 0.1). Prints the table in the format of the preset.
"""

import sys
from pathlib import Path

import numpy as np

from langlift.config.loading import resolve
from langlift.training.pretraining_text import corpus_files, split_by_budget
from langlift.training.recipes import PretrainRecipe

LEAST, MOST, MOST_CORRELATION = 64_000, 3_600_000, 0.1

corpus = Path(sys.argv[1])
recipe = resolve(PretrainRecipe, "pretrain", preset="nano")
_, _, there = split_by_budget(corpus_files([corpus], recipe.languages), recipe)
names = list(recipe.languages)
latin = [name.endswith("_Latn") for name in names]
budgets = np.round(np.geomspace(LEAST, MOST, len(names)), -3).astype(int)
seed = 0
while True:
    drawn = dict(zip(names, np.random.default_rng(seed).permutation(budgets).tolist(), strict=True))
    correlation = np.corrcoef(latin, np.log([drawn[name] for name in names]))[0, 1]
    if abs(correlation) < MOST_CORRELATION and all(drawn[name] <= there[name] for name in names):
        break
    seed += 1
print(f"# seed {seed}, correlation of Latin script with log bytes {correlation:+.2f}")  # noqa: T201
for name in sorted(names, key=lambda one: drawn[one]):
    print(f"{name}: {drawn[name]}")  # noqa: T201
