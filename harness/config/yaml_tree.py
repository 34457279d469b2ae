"""Reads a suite's YAML into a tree that knows where each of its values was written.

Plain data only: no tag builds an object, no key stands twice, no alias blows up. Scalars follow the core schema of
YAML 1.2, so that `2e-5` is a number and `no` a word.
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
"""More values than any suite has: what aliases of aliases expand to is stopped here."""

MAX_INTEGER = 2**63 - 1
"""Of whole numbers: no setting needs more, and arrays and floats do not hold it."""

KeyPath = tuple[str | int, ...]
"""Where a value stands in a tree: keys of maps and indices of lists."""


@dataclass(frozen=True)
class Mark:
    """Where a value was written: a line of a file, or (line 0) an option of the command line.

    `folder` is what a relative path that is written there may be relative to.
    """

    source: str
    line: int
    folder: Path

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Node:
    """A value with its mark: a scalar, a list of nodes, or a map of nodes. In a map the mark is the key's."""

    value: Any
    mark: Mark

    def plain(self) -> Any:
        """The value without marks."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """What stands under a key or an index; None where there is nothing."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            found: Node = self.value[key]
            return found
        return None

    def mark_of(self, path: KeyPath) -> Mark:
        """The mark of the value at `path`, or of the innermost one around it that exists."""
        node = self
        for key in path:
            inner = node.child(key)
            if inner is None:
                break
            node = inner
        return node.mark


def display_path(path: Path) -> str:
    """A path as messages name it: relative where that is shorter."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)


def read_file(path: Path, what: str = "a suite") -> Node:
    """The map of the YAML file of `what`. Raises `UserError` with everything that is wrong with it as YAML."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(Problem(f"is not UTF-8 text: {error.reason}", display_path(path))) from error
    except OSError as error:
        raise UserError(Problem(f"cannot be read: {error.strerror or error}", display_path(path))) from error
    root = parse(text, Mark(display_path(path), 1, path.parent.resolve()))
    if not isinstance(root.value, dict):
        found = "nothing" if root.value is None else "a list" if isinstance(root.value, list) else "a single value"
        raise UserError(Problem(f"{what} is a map of keys, found {found}", str(root.mark)))
    return root


def parse(text: str, start: Mark) -> Node:
    """The tree of a YAML text whose first line is at `start`. Raises `UserError`."""
    builder = _Builder(start)
    try:
        tree = _Loader(text).get_single_node()
        root = builder.build(tree, start, ()) if tree else Node(None, start)
    except yaml.MarkedYAMLError as error:
        context = f"{error.context}: " if error.context else ""
        where = builder.at(error.problem_mark or error.context_mark)
        raise UserError(Problem(f"is not YAML: {context}{error.problem}", str(where))) from error
    except yaml.reader.ReaderError as error:
        where = builder.line(text.count("\n", 0, error.position))
        raise UserError(
            Problem(f"is not YAML: character {text[error.position]!r} is not allowed", str(where))
        ) from error
    except RecursionError as error:
        raise UserError(Problem("is nested too deeply", start.source)) from error
    if builder.problems:
        raise UserError(*builder.problems)
    return root


class _Loader(yaml.SafeLoader):
    """Composes nodes only; which scalars are more than text is said below."""


_Loader.yaml_implicit_resolvers = {}

_CORE = "tag:yaml.org,2002:"

for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(_CORE + _name, re.compile(f"^(?:{_pattern})$"), _first)


class _Builder:
    """Turns composed YAML nodes into ours, and collects what a suite may not hold."""

    def __init__(self, start: Mark) -> None:
        self.start = start
        self.problems: list[Problem] = []
        self.values = 0

    def at(self, mark: yaml.Mark | None) -> Mark:
        """Our mark for one of YAML's."""
        return self.start if mark is None else self.line(mark.line)

    def line(self, index: int) -> Mark:
        """The mark of a line, counted from 0; what an option of the command line holds is all at that option."""
        return replace(self.start, line=index + 1) if self.start.line else self.start

    def build(self, node: yaml.Node, mark: Mark, within: Sequence[yaml.Node]) -> Node:
        self.values += 1
        if self.values > MAX_VALUES:
            raise UserError(Problem(f"aliases (*name) expand to more than {MAX_VALUES} values", self.start.source))
        if any(node is outer for outer in within):
            self._problem("an alias (*name) holds itself", mark)
            return Node(None, mark)
        inside = [*within, node]
        if isinstance(node, yaml.MappingNode):
            self._plain_tag(node, "map")
            return Node(self._map(node, inside), mark)
        if isinstance(node, yaml.SequenceNode):
            self._plain_tag(node, "seq")
            return Node([self.build(item, self.at(item.start_mark), inside) for item in node.value], mark)
        return Node(self._scalar(node), mark)

    def _map(self, node: yaml.MappingNode, inside: Sequence[yaml.Node]) -> dict[str, Node]:
        built: dict[str, Node] = {}
        for key_node, value_node in node.value:
            mark = self.at(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _CORE + "str":
                what = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or a map"
                self._problem(f"a key is text, found {what}: write it in quotes", mark)
                continue
            key = key_node.value
            if key in built:
                self._problem(f"key {key!r} stands twice, first at {built[key].mark}", mark)
            elif key == "<<":
                self._problem("merge keys (<<) are not supported; write the keys out, or use `include:`", mark)
            else:
                built[key] = self.build(value_node, mark, inside)
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
            self._problem(f"{text[:40]!r} is not a number or truth value that can be used", self.at(node.start_mark))
        else:
            self._plain_tag(node, "str")
        return None

    def _plain_tag(self, node: yaml.Node, allowed: str) -> None:
        if node.tag != _CORE + allowed:
            tag = node.tag.replace(_CORE, "!!")
            self._problem(f"tag {tag} is not allowed: a suite holds plain data only", self.at(node.start_mark))

    def _problem(self, message: str, mark: Mark) -> None:
        self.problems.append(Problem(message, str(mark)))
