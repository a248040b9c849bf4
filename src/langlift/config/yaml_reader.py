"""Reads YAML from anywhere safely, and files node by node, so that every error is reported with its line."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

VARIABLE = re.compile(r"\$(\w+|\{\w*\})")
DEEPEST, LARGEST = 50, 100_000


class YamlLoader(yaml.SafeLoader):
    """PyYAML's safe loader with limits: 50 levels, and 100,000 nodes once aliases are expanded."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth, self._nodes = 0, 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node; a YAMLError if it is nested too deeply, contains itself or is one too many."""
        mark, is_alias, before = self.peek_event().start_mark, self.check_event(yaml.AliasEvent), self._nodes
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an alias within its own value", problem_mark=mark)
        self._nodes += self._sizes[id(node)] if is_alias else 1
        self._sizes.setdefault(id(node), self._nodes - before)
        if self._nodes > LARGEST:
            raise yaml.MarkedYAMLError(problem=f"more than {LARGEST:,} values", problem_mark=mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node, or a YAMLError."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, OverflowError) as error:  # such as for !!int ''
            raise yaml.MarkedYAMLError(problem=str(error), problem_mark=node.start_mark) from None


def load_yaml(text: str) -> Any:
    """The value of a YAML text; a YAMLError if it is not valid, or larger or deeper than ``YamlLoader`` allows."""
    try:
        return yaml.load(text, Loader=YamlLoader)
    except (ValueError, OverflowError) as error:  # the scanner, at "\UFFFFFFFF"
        raise yaml.YAMLError(str(error)) from None


@dataclass
class YamlReader:
    """A file being read, and the errors found in it, each as ``FILE:LINE: what is wrong``."""

    path: Path
    mistakes: list[str] = field(default_factory=list)

    def place(self, node: yaml.Node) -> str:
        """``FILE:LINE`` of a node."""
        return f"{self.path}:{node.start_mark.line + 1}"

    def pairs(self, mapping: yaml.MappingNode, what: str) -> Iterator[tuple[str, str, yaml.Node]]:
        """(FILE:LINE, key, value) of each pair; a repeated key is an error."""
        seen = set()
        for key, value in mapping.value:
            place = self.place(key)
            if not isinstance(key, yaml.ScalarNode):
                self.mistakes.append(f"{place}: a {what} needs a name")
            elif key.value in seen:
                self.mistakes.append(f"{place}: the {what} '{key.value}' is given twice")
            else:
                seen.add(key.value)
                yield place, key.value, value

    def text(self, place: str, what: str, node: yaml.Node) -> str:
        """A scalar with its environment variables replaced; on an error an empty text."""
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            self.mistakes.append(f"{place}: {what} must be one text")
            return ""
        named = [name.strip("{}") for name in VARIABLE.findall(node.value)]
        missing = [name for name in named if name not in os.environ]
        if missing:
            name = missing[0] or "(without a name)"
            self.mistakes.append(f"{place}: the environment variable {name} is not set")
            return ""
        return os.path.expandvars(node.value.strip())
