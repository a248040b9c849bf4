"""The tasks by name."""

from typing import Any

from langlift.tasks.dependencies import DEPENDENCIES
from langlift.tasks.ner import NER
from langlift.tasks.pos import POS
from langlift.tasks.sentiment import SENTIMENT
from langlift.tasks.task import Task
from langlift.tasks.topic import TOPIC

TASKS: dict[str, Task[Any]] = {task.name: task for task in (TOPIC, SENTIMENT, NER, POS, DEPENDENCIES)}
