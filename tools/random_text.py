"""Writes a built folder of random words, to measure memory with large corpora: random_text.py FOLDER MEGABYTES."""

import json
import random
import sys
from pathlib import Path

out, megabytes = Path(sys.argv[1]), int(sys.argv[2])
words = ["".join(random.Random(n).choices("abcdefghijklmnoprstuwxz", k=2 + n % 9)) for n in range(20_000)]
out.mkdir()
draw = random.Random(0)
for split, share in (("train", 0.8), ("dev", 0.1), ("test", 0.1)):
    with (out / f"{split}.jsonl").open("w") as file:
        size = 0
        while size < share * megabytes * 1e6:
            text = " ".join(draw.choices(words, k=30))
            size += len(text) + 1
            file.write(json.dumps({"text": text}) + "\n")
