"""The table of tasks: the one place where what is known of a task stands."""

import ast
from collections.abc import Iterator
from pathlib import Path

import langlift
from langlift.adapted import Adapted
from langlift.evaluation.metrics import Metric
from langlift.prompting.template import load_template
from langlift.tasks.learner import Learner
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import PROMPTED, TASKS

PACKAGE = Path(langlift.__file__).parent


def named(node: ast.AST) -> set[str]:
    """The names of tasks in an expression that is a text, or a collection of texts."""
    items = getattr(node, "elts", None) or getattr(node, "keys", None) or [node]
    return {item.value for item in items if isinstance(item, ast.Constant) and item.value in TASKS}


def places(source: str) -> Iterator[int]:
    """The lines on which a task's name is compared, or several are listed."""
    for node in ast.walk(ast.parse(source)):
        compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if isinstance(node, ast.MatchValue):
            compared = [node.value]
        if any(map(named, compared)):
            yield node.lineno
        if isinstance(node, ast.Dict | ast.List | ast.Set | ast.Tuple) and len(named(node)) > 1:
            yield node.lineno


def test_outside_tasks_no_module_knows_a_task_by_name() -> None:
    modules = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "tasks"]
    assert len(modules) > 150
    found = [f"{path}:{line}" for path in modules for line in places(path.read_text(encoding="utf-8"))]
    assert not found, "ask the task's row in tasks/task.py instead"
    known = ('task == "ner"', 'task in ("pos", "x")', '{"topic": 1, "ner": 2}', '["pos", "ner"]')
    assert all(list(places(one)) == [1] for one in known)


def test_a_row_is_whole() -> None:
    settings = set(TaskRecipe.__dataclass_fields__)
    for name, task in TASKS.items():
        assert task.name == name and task.unused <= settings
        assert isinstance(task.metric, Metric) and isinstance(task.learner, Learner)
        assert hasattr(Adapted, task.verb)
    for name in PROMPTED:
        assert load_template(name, None).parts
