"""Reads a YAML file node by node, so that every error is reported with its line."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

VARIABLE = re.compile(r"\$(\w+|\{\w*\})")


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
