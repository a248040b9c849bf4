"""Write random samples of a text in several sizes, each contained in the next larger one.

python docs/examples/text_sizes.py CORPUS OUT LANGUAGE...

CORPUS has one file LANGUAGE.txt per language, with a sentence per line. OUT receives folders 10k, 30k, 100k and
300k, each with a file of that size in bytes for every language.
"""

import random
import sys
from itertools import accumulate
from pathlib import Path

corpus, out = map(Path, sys.argv[1:3])
for language in sys.argv[3:]:
    lines = [line for line in (corpus / f"{language}.txt").read_text("utf-8").splitlines() if line.strip()]
    random.Random(0).shuffle(lines)
    ends = list(accumulate(len(line.encode()) + 1 for line in lines))
    for thousands in (10, 30, 100, 300):
        folder = out / f"{thousands}k"
        folder.mkdir(parents=True, exist_ok=True)
        sample = [line for line, end in zip(lines, ends, strict=True) if end <= 1000 * thousands]
        (folder / f"{language}.txt").write_text("\n".join(sample) + "\n", "utf-8")
