"""Collects the problems of a suite file, each with the file and line of its key."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from harness.api import names
from harness.api.errors import Problem, UserError, nearest
from harness.config.schema import DECLARED, NAMED
from harness.config.setting_types import DEVICE, LABEL
from harness.config.yaml_tree import KeyPath, Mark, Node

TYPES = {
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
}
"""Description of the expected type, by pydantic error type."""

_NAME = "a name of letters, digits and any of {}, starting with a letter or digit"
PATTERNS = {
    names.NAME: _NAME.format("._+-"),
    LABEL: _NAME.format("._+=,-"),
    DEVICE: "cpu, cuda, cuda:N or mps",
}
"""Description of the expected string, by the pattern that the value does not match."""


class Diagnostics:
    """The problems of one YAML file. `raise_if_any` reports all of them, in the order of the file."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self._problems: dict[tuple[str, str], tuple[Mark, Problem]] = {}

    def __bool__(self) -> bool:
        return bool(self._problems)

    def add(self, path: KeyPath, message: str) -> None:
        """Add a problem of the value at `path`."""
        mark, key = self.root.mark_of(path), self.dotted(path)
        self.add_at(mark, f"{key}: {message}" if key and str(mark) != f"--set {key}" else message)

    def add_at(self, mark: Mark, message: str) -> None:
        """Add a problem at `mark`. Repeated problems are dropped."""
        self._problems.setdefault((str(mark), message), (mark, Problem(message, str(mark))))

    def extend(self, problems: list[Problem]) -> None:
        """Add problems that already state their file and line in `where`."""
        for problem in problems:
            self.add_at(Mark(problem.where or "", 0, self.root.mark.folder), problem.message)

    def add_validation_error(
        self,
        error: ValidationError,
        model: type[BaseModel],
        to_suite_path: Callable[[KeyPath], KeyPath] = lambda path: path,
    ) -> None:
        """Add the problems that pydantic reports for `model`.

        `to_suite_path` maps a path below `model` to the path of the same value in the suite.
        """
        grouped: dict[KeyPath, dict[str, str]] = {}
        for detail in error.errors():
            location = tuple(key for key in detail["loc"] if key not in (NAMED, DECLARED))
            path = to_suite_path(location)
            message = _message({**detail, "loc": path}, allowed_keys(model, location[:-1]))
            if detail["type"] == "missing":
                self.add(path[:-1], message)
            else:
                grouped.setdefault(self._existing(path), {})[message] = detail["type"]
        for path, messages in grouped.items():
            # Each branch of a union reports an error. Drop the type errors of the branches that were not meant.
            specific = [text for text, kind in messages.items() if kind not in TYPES and kind != "literal_error"]
            self.add(path, "; or ".join(specific or messages))

    def raise_if_any(self) -> None:
        """Raise `UserError` with all problems, if there are any."""
        if self._problems:
            ordered = sorted(self._problems.values(), key=lambda item: (item[0].source, item[0].line))
            raise UserError(*(problem for _, problem in ordered))

    def dotted(self, path: KeyPath) -> str:
        """`path` as a dotted key. Entries of `methods` and declared tasks are named, and have no index."""
        keys = list(path)
        if len(keys) > 2 and keys[0] == "tasks":
            del keys[1]
        if len(keys) > 1 and keys[0] == "methods":
            name = _at(self.root, (*path[:2], "name"))
            inner = [key for key in keys[2:3] if key not in ("name", "options")]
            keys[1:3] = [name.value if name else keys[1], *inner]
            if len(keys) > 4 and keys[2] == "per_task" and keys[4] == "options":
                del keys[4]
        return ".".join(str(key) for key in keys)

    def _existing(self, path: KeyPath) -> KeyPath:
        """The longest prefix of `path` that exists in the file: pydantic appends union branches and `[key]`."""
        while path and _at(self.root, path) is None:
            path = path[:-1]
        return path


def _at(root: Node, path: KeyPath) -> Node | None:
    node: Node | None = root
    for key in path:
        node = node.child(key) if node else None
    return node


def validation_messages(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return the problems that pydantic reports for `model`, each with its dotted key."""
    messages: dict[str, None] = {}
    for detail in error.errors():
        location = [key for key in detail["loc"] if isinstance(key, int) or key in model.model_fields]
        keys = location[:-1] if detail["type"] == "missing" else detail["loc"][: max(len(location), 1)]
        place = ".".join(map(str, keys))
        text = _message(detail, allowed_keys(model, detail["loc"][:-1]))
        messages[f"{place}: {text}" if place else text] = None
    return list(messages)


def allowed_keys(annotation: Any, path: KeyPath) -> list[str]:
    """List the keys that the model allows at `path` below `annotation`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return allowed_keys(get_args(annotation)[0], path)
    if origin in (Union, types.UnionType):
        return [key for branch in get_args(annotation) for key in allowed_keys(branch, path)]
    if origin in (dict, list) and path:
        return allowed_keys(get_args(annotation)[-1], path[1:])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        if not path:
            return list(fields)
        return allowed_keys(fields[str(path[0])].annotation, path[1:]) if path[0] in fields else []
    return []


def format_value(value: Any) -> str:
    """Format a value for a message: as YAML spells it, at most 60 characters."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _message(detail: Any, allowed: list[str]) -> str:
    kind, value, last = detail["type"], detail["input"], detail["loc"][-1] if detail["loc"] else ""
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {nearest(str(last), allowed)}"
    if kind == "missing":
        return f"key {last!r} is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind in TYPES:
        return f"expected {TYPES[kind]}, found {format_value(value)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        close = nearest(value, choices) if isinstance(value, str) else ""
        hint = f"; {close}" if close.startswith("did you mean") else ""
        return f"expected {context['expected']}, found {format_value(value)}{hint}"
    if kind == "too_short":
        return "is empty; give at least one entry"
    if context.get("pattern") in PATTERNS:
        return f"expected {PATTERNS[context['pattern']]}, found {format_value(value)}"
    text = detail["msg"].removeprefix("Input ").removeprefix("String ")
    return f"{text}, found {format_value(value)}"
