"""Write the tenth of a language's text that langlift-nano's pre-training reserved: text the model has not seen.

python docs/examples/reserved_text.py CORPUS OUT LANGUAGE...

CORPUS is the folder of texts that the model was trained on, with one file LANGUAGE.txt per language. OUT
receives files with the same names, with a blank line between documents.
"""

import sys
from pathlib import Path

from langlift.config.loading import resolve
from langlift.progress import say
from langlift.training.pretraining_text import split_by_budget
from langlift.training.recipes import PretrainRecipe

corpus, out = map(Path, sys.argv[1:3])
recipe = resolve(PretrainRecipe, "pretrain", preset="nano")
out.mkdir(parents=True, exist_ok=True)
for language in sys.argv[3:]:
    _, by_file, _ = split_by_budget([corpus / f"{language}.txt"], recipe)
    reserved = by_file[language]
    (out / f"{language}.txt").write_text("\n\n".join("\n".join(document) for document in reserved) + "\n", "utf-8")
    say(f"{out / language}.txt: {sum(map(len, reserved)):,} lines")
