"""Parses YAML into a tree in which each value has its file and line.

Only plain data: tags that build objects, duplicate keys, merge keys and recursive aliases are errors. Scalars follow
the YAML 1.2 core schema: `2e-5` is a number and `no` is a string.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from harness.api.errors import Problem, UserError

MAX_VALUES = 50_000
"""Limit on the number of values in a file: stops nested aliases that expand exponentially."""

MAX_INTEGER = 2**63 - 1
"""Largest absolute value of an integer."""

MAPPINGS_OF_VALUES = frozenset({"labels", "class_weights"})
"""Keys whose mappings have values of a data set as keys: numbers and booleans too, as they are written."""

KeyPath = tuple[str | int, ...]
"""Path of a value in the tree: keys of mappings and indices of lists."""


@dataclass(frozen=True)
class Mark:
    """Source position of a value: a line of a file, or an option of the command line (line 0).

    `folder` is the base of relative paths in that source.
    """

    source: str
    line: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Node:
    """A value and its position: a scalar, a list of nodes or a mapping of nodes. In a mapping, `mark` is the key's."""

    value: Any
    mark: Mark

    def plain(self) -> Any:
        """Return the value as plain lists, dicts and scalars, without positions."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """Return the child at a key or an index, or None."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            item: Node = self.value[key]
            return item
        return None

    def mark_of(self, path: KeyPath) -> Mark:
        """Return the position of the value at `path`, or of its innermost parent that exists."""
        node = self
        for key in path:
            child = node.child(key)
            if child is None:
                break
            node = child
        return node.mark


def display_path(path: Path) -> str:
    """Format a path for messages: relative if it is below the working folder."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def read_file(path: Path, description: str = "a suite file") -> Node:
    """Read a YAML file whose top level is a mapping. Raises `UserError` with all YAML errors of the file.

    `description` names the kind of file in messages.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(Problem(f"not valid UTF-8: {error.reason}", display_path(path))) from error
    except OSError as error:
        raise UserError(Problem(f"cannot be read: {error.strerror or error}", display_path(path))) from error
    root = parse(text, Mark(display_path(path), 1, path.parent.resolve()))
    if not isinstance(root.value, dict):
        actual = "an empty file" if root.value is None else "a list" if isinstance(root.value, list) else "a scalar"
        raise UserError(Problem(f"{description}: expected a mapping, found {actual}", str(root.mark)))
    return root


def parse(text: str, start: Mark) -> Node:
    """Parse YAML whose first line is at `start`. Raises `UserError` with all errors."""
    builder = _Builder(start)
    try:
        tree = _Loader(text).get_single_node()
        root = builder.build(tree, start, ()) if tree else Node(None, start)
    except yaml.MarkedYAMLError as error:
        context = f"{error.context}: " if error.context else ""
        where = builder.at(error.problem_mark or error.context_mark)
        raise UserError(Problem(f"invalid YAML: {context}{error.problem}", str(where))) from error
    except yaml.reader.ReaderError as error:
        where = builder.line(text.count("\n", 0, error.position))
        raise UserError(
            Problem(f"invalid YAML: character {text[error.position]!r} is not allowed", str(where))
        ) from error
    except RecursionError as error:
        raise UserError(Problem("YAML is nested too deeply", start.source)) from error
    if builder.problems:
        raise UserError(*builder.problems)
    return root


class _Loader(yaml.SafeLoader):
    """Composes nodes. Its scalar types are those registered below, not the YAML 1.1 types of PyYAML."""


_Loader.yaml_implicit_resolvers = {}

_CORE = "tag:yaml.org,2002:"

_VALID = {
    "bool": "write true or false",
    "int": f"expected an integer with an absolute value less than or equal to {MAX_INTEGER}",
    "float": "it is not a finite number",
}
"""Remedies for scalars, by tag."""

for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_CORE + _name, re.compile(f"^(?:{_pattern})$"), _first)


class _Builder:
    """Converts composed YAML nodes to `Node` and collects the problems."""

    def __init__(self, start: Mark) -> None:
        self.start = start
        self.problems: list[Problem] = []
        self.values = 0

    def at(self, mark: yaml.Mark | None) -> Mark:
        """Convert a PyYAML mark."""
        return self.start if mark is None else self.line(mark.line)

    def line(self, index: int) -> Mark:
        """Return the position of a line, counted from 0. All lines of a command-line option have the same position."""
        return replace(self.start, line=index + 1) if self.start.line else self.start

    def build(self, node: yaml.Node, mark: Mark, parents: Sequence[yaml.Node], key: str = "") -> Node:
        """Convert the value of `key`; `parents` are the nodes around it, to detect recursion."""
        self.values += 1
        if self.values > MAX_VALUES:
            raise UserError(Problem(f"aliases (*name) expand to more than {MAX_VALUES} values", self.start.source))
        if any(node is parent for parent in parents):
            self._problem("recursive alias (*name): it contains itself", mark)
            return Node(None, mark)
        chain = [*parents, node]
        if isinstance(node, yaml.MappingNode):
            self._plain_tag(node, "map")
            return Node(self._mapping(node, chain, of_values=key in MAPPINGS_OF_VALUES), mark)
        if isinstance(node, yaml.SequenceNode):
            self._plain_tag(node, "seq")
            return Node([self.build(item, self.at(item.start_mark), chain) for item in node.value], mark)
        return Node(self._scalar(node), mark)

    def _mapping(self, node: yaml.MappingNode, chain: Sequence[yaml.Node], *, of_values: bool) -> dict[str, Node]:
        allowed = {_CORE + kind for kind in (("str", "int", "float", "bool") if of_values else ("str",))}
        built: dict[str, Node] = {}
        for key_node, value_node in node.value:
            mark = self.at(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in allowed:
                actual = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or a mapping"
                self._problem(f"keys must be strings, found {actual}; put the key in quotes", mark)
                continue
            key = key_node.value
            if key in built:
                self._problem(f"duplicate key {key!r} (first defined at {built[key].mark})", mark)
            elif key == "<<":
                self._problem("merge keys (<<) are not supported; repeat the keys, or use `include:`", mark)
            else:
                built[key] = self.build(value_node, mark, chain, key)
        return built

    def _scalar(self, node: yaml.Node) -> Any:
        tag, text = node.tag.removeprefix(_CORE), node.value
        try:
            match tag:
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int" if abs(int(text)) <= MAX_INTEGER:
                    return int(text)
                case "float" if math.isfinite(float(text)):
                    return float(text)
        except (ValueError, KeyError):
            pass
        if tag in ("bool", "int", "float"):
            self._problem(f"{text[:40]!r} is not a valid {tag}: {_VALID[tag]}", self.at(node.start_mark))
        else:
            self._plain_tag(node, "str")
        return None

    def _plain_tag(self, node: yaml.Node, allowed: str) -> None:
        if node.tag != _CORE + allowed:
            tag = node.tag.replace(_CORE, "!!")
            self._problem(f"tag {tag} is not allowed; write plain data without tags", self.at(node.start_mark))

    def _problem(self, message: str, mark: Mark) -> None:
        self.problems.append(Problem(message, str(mark)))
