"""Test trained taggers or parsers on the test split of another treebank.

python docs/examples/other_treebank.py TREEBANK TRAINED_ON RUN...

Zero-shot evaluation on a second language needs no second training. TREEBANK is a folder of CoNLL-U files.
TRAINED_ON are the folders that the runs were trained on, separated by commas (the baseline learns from them).
RUN is a run of ``langlift task pos`` or ``dependencies``, or one of its seeds. Prints one JSON object per line.
"""

import json
import sys
from pathlib import Path

from langlift.tasks.prediction import load_trained_task

treebank, trained_on = sys.argv[1], sys.argv[2].split(",")
for run in map(Path, sys.argv[3:]):
    trained = load_trained_task(run)
    learner = trained.task.learner
    data = learner.read(treebank, trained_on, strict=False)
    answers = list(trained(data.test.inputs))
    scores = {**learner.measure(data.test, answers), "baseline": learner.baselines(data.train, data.test)}
    print(json.dumps({"run": run.name, "treebank": Path(treebank).name, **scores}))  # noqa: T201
