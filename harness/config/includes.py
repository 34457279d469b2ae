"""What lies above and below a suite file: files it includes, and overrides from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.config.paths import expand_path
from harness.config.yaml_tree import Mark, Node, display_path, parse, read_file


def read_included(path: Path, above: Sequence[Path] = ()) -> Node:
    """The map of a suite file, merged over what it includes. Raises `UserError`; `above` are the files including it."""
    root = read_file(path)
    include = root.value.pop("include", None)
    if include is None or include.value is None:
        return root
    where = str(include.mark)
    if not isinstance(include.value, str):
        raise UserError(Problem("include: names one file, such as `include: base.yaml`", where))
    chain = [*above, path.resolve()]
    try:
        target = expand_path(include.value, path.parent)
    except UserError as error:
        raise UserError(Problem(f"include: {error}", where)) from error
    if target.resolve() in chain:
        circle = " -> ".join(display_path(file) for file in [*chain[chain.index(target.resolve()) :], target.resolve()])
        raise UserError(Problem(f"include: files include each other: {circle}", where))
    if not target.is_file():
        raise UserError(Problem(f"include: there is no file {display_path(target)}", where))
    return merge(root, read_included(target, chain))


def merge(top: Node, below: Node) -> Node:
    """`top` over `below`: maps deeply, all else replaced."""
    if not isinstance(top.value, dict) or not isinstance(below.value, dict):
        return top
    merged = {key: merge(top.value[key], node) if key in top.value else node for key, node in below.value.items()}
    return Node(merged | {key: node for key, node in top.value.items() if key not in merged}, top.mark)


def override(root: Node, settings: Sequence[str]) -> Node:
    """`root` with ``a.b.c=VALUE`` for each of the settings. Raises `UserError` with all that cannot be set."""
    problems: list[Problem] = []
    for setting in settings:
        try:
            root = _set(root, setting)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return root


def _set(root: Node, setting: str) -> Node:
    dotted, equals, text = (part.strip() for part in setting.partition("="))
    mark = Mark(f"--set {dotted}", 0, root.mark.folder)
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise UserError(Problem("write a dotted key and a value: --set training.epochs=3", f"--set {setting}"))
    if keys[0] == "include":
        raise UserError(Problem("include is read from the file only", str(mark)))
    return _replaced(root, keys, parse(text, mark), [])


def _replaced(node: Node, keys: Sequence[str], value: Node, parents: Sequence[str]) -> Node:
    """`node` with `value` at `keys` below it. null takes the key out, so that its default holds again."""
    if node.value is None:
        node = replace(node, value={})
    if not isinstance(node.value, dict):
        kind = "a list: set it as a whole" if isinstance(node.value, list) else f"{node.value!r}, not a map"
        raise UserError(Problem(f"{'.'.join(parents)} is {kind}", str(value.mark)))
    key, rest = keys[0], keys[1:]
    children = dict(node.value)
    if rest:
        children[key] = _replaced(children.get(key, Node({}, value.mark)), rest, value, [*parents, key])
    elif value.value is None:
        children.pop(key, None)
    else:
        children[key] = value
    return replace(node, value=children)
