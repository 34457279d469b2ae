"""Collects what is wrong with a suite, each problem with the place where it was written."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from harness.api import names
from harness.api.errors import Problem, UserError, nearest
from harness.config import schema
from harness.config.yaml_tree import KeyPath, Mark, Node

TYPES = {
    "model_type": "a map of keys",
    "dict_type": "a map of keys",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}
"""What a value should be, by pydantic's type of error."""

_NAME = "a name of letters, digits and any of {}, beginning with a letter or digit"
PATTERNS = {
    names.NAME: _NAME.format("._+-"),
    schema.LABEL: _NAME.format("._+=,-"),
    schema.DEVICE: "cpu, cuda, cuda:N or mps",
}
"""What a text should be, by the pattern that it does not match."""


class Diagnostics:
    """Problems of one suite. All of them are told at once, in the order of the file."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self._found: dict[tuple[str, str], tuple[Mark, Problem]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, path: KeyPath, message: str) -> None:
        """Note a problem of the value at `path`."""
        mark, key = self.root.mark_of(path), self.dotted(path)
        self.add_at(mark, f"{key}: {message}" if key and str(mark) != f"--set {key}" else message)

    def add_at(self, mark: Mark, message: str) -> None:
        """Note a problem, once."""
        self._found.setdefault((str(mark), message), (mark, Problem(message, str(mark))))

    def extend(self, problems: list[Problem]) -> None:
        """Take over problems that know their place."""
        for problem in problems:
            self.add_at(Mark(problem.where or "", 0, self.root.mark.folder), problem.message)

    def add_validation_error(
        self, error: ValidationError, model: type[BaseModel], place: Callable[[KeyPath], KeyPath] = lambda path: path
    ) -> None:
        """Note what pydantic refused in data for `model`; `place` tells where in the suite a key of `model` stands."""
        grouped: dict[KeyPath, dict[str, str]] = {}
        for detail in error.errors():
            path = place(detail["loc"])
            message = _message({**detail, "loc": path}, allowed_keys(model, detail["loc"][:-1]))
            if detail["type"] == "missing":
                self.add(path[:-1], message)
            else:
                grouped.setdefault(self._existing(path), {})[message] = detail["type"]
        for path, messages in grouped.items():
            # Of a union's branches the one that the value was meant for says more than that it is no other.
            telling = [text for text, kind in messages.items() if kind not in TYPES and kind != "literal_error"]
            self.add(path, "; or ".join(telling or messages))

    def raise_if_any(self) -> None:
        """Raise `UserError` with all problems, if there are any."""
        if self._found:
            ordered = sorted(self._found.values(), key=lambda found: (found[0].source, found[0].line))
            raise UserError(*(problem for _, problem in ordered))

    def dotted(self, path: KeyPath) -> str:
        """`path` as a user would write it: an entry of `methods` goes by its method's name."""
        keys = list(path)
        if len(keys) > 1 and keys[0] == "methods":
            name = _at(self.root, (*path[:2], "name"))
            inner = [key for key in keys[2:3] if key not in ("name", "options")]
            keys[1:3] = [name.value if name else keys[1], *inner]
            if len(keys) > 4 and keys[2] == "per_task" and keys[4] == "options":
                del keys[4]
        return ".".join(str(key) for key in keys)

    def _existing(self, path: KeyPath) -> KeyPath:
        """`path` without what pydantic adds to it: names of a union's branches, the mark of a key."""
        while path and _at(self.root, path) is None:
            path = path[:-1]
        return path


def _at(root: Node, path: KeyPath) -> Node | None:
    node: Node | None = root
    for key in path:
        node = node.child(key) if node else None
    return node


def allowed_keys(annotation: Any, path: KeyPath) -> list[str]:
    """The keys that a model allows at `path` below `annotation`."""
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


def found(value: Any) -> str:
    """A value as a message shows it, in the suite's own spelling and short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return f"{'a map' if isinstance(value, dict) else 'a list'}{'' if value else ' without anything in it'}"
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
        return f"should be {TYPES[kind]}, found {found(value)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        close = nearest(value, choices) if isinstance(value, str) else ""
        hint = f"; {close}" if close.startswith("did you mean") else ""
        return f"should be {context['expected']}, found {found(value)}{hint}"
    if kind == "too_short":
        return "is empty; at least one is needed"
    if context.get("pattern") in PATTERNS:
        return f"should be {PATTERNS[context['pattern']]}, found {found(value)}"
    text = detail["msg"].removeprefix("Input ").removeprefix("String ")
    return f"{text}, found {found(value)}"
