"""Tests trained taggers or parsers on the test split of a treebank that they were not trained for.

python docs/examples/other_treebank.py TREEBANK RUN...

Zero-shot on a second language costs no second training: TREEBANK is a folder of CoNLL-U files, each RUN a folder of
``langlift task pos`` or ``dependencies``, or one of its seeds. Prints a JSON object a line.
"""

import json
import sys
from pathlib import Path

from langlift.tasks.prediction import load_trained_task

for run in map(Path, sys.argv[2:]):
    trained = load_trained_task(run)
    test = trained.task.read(sys.argv[1], [sys.argv[1]], strict=False).test
    answers = list(trained(test.sentences))
    scores = {trained.task.metric: trained.task.score(test, answers), **trained.task.further(test, answers)}
    print(json.dumps({"run": run.name, "treebank": Path(sys.argv[1]).name, **scores}))  # noqa: T201
