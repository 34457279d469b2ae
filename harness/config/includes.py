"""Merges a suite file with the files it includes and with ``--set`` overrides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.api.errors import Problem, UserError
from harness.api.names import NAME_RULE, is_name
from harness.config.diagnostics import format_value
from harness.config.paths import expand_path, locate
from harness.config.shipped_suites import shipped_suite
from harness.config.yaml_tree import Mark, Node, display_path, parse, read_file

NULL_IS_A_VALUE = (
    ("training", "max_grad_norm"),
    ("training", "checkpoint_every"),
    ("training", "per_task", "*", "max_grad_norm"),
    ("training", "per_task", "*", "micro_batch_size"),
    ("training", "per_task", "*", "token_budget"),
    ("tuning", "lr"),
)
"""Settings for which null differs from a missing key, such as `off`; ``*`` is any key."""


def read_included(path: Path, parents: Sequence[Path] = ()) -> Node:
    """Read a suite file and merge it over the file it includes: one relative to it, else a shipped suite.

    Args:
        path: the file.
        parents: the files that include it, outermost first.

    Raises:
        UserError: the file cannot be read or is not a YAML mapping, the included file is missing, or there is an
            include cycle.
    """
    root = read_file(path)
    include = root.value.pop("include", None)
    if include is None or include.value is None:
        return root
    chain = [*parents, path.resolve()]
    included = _included_file(include, path.parent)
    file = included.resolve()
    if file in chain:
        cycle = " -> ".join(display_path(parent) for parent in [*chain[chain.index(file) :], file])
        raise UserError(Problem(f"include cycle: {cycle}", str(include.mark)))
    return merge(root, read_included(included, chain))


def _included_file(include: Node, folder: Path) -> Path:
    """The file that `include` names, relative to `folder`, or a shipped suite. Raises `UserError` if there is none."""
    where = str(include.mark)
    if not isinstance(include.value, str):
        expected = "one path, such as `include: base.yaml`"
        raise UserError(Problem(f"include: expected {expected}, found {format_value(include.plain())}", where))
    try:
        file = expand_path(include.value, folder)
    except UserError as error:
        raise UserError(Problem(f"include: {error}", where)) from error
    found = file if file.is_file() else shipped_suite(Path(include.value))
    if found is None:
        message = f"include: file not found: {display_path(file)}, and no shipped suite of this name"
        raise UserError(Problem(message, where))
    return found


def suite_name(path: str | Path) -> str:
    """The name in a suite file, or in the file that it includes. Nothing else in it is validated: it may need plugins.

    Raises:
        UserError: the file cannot be read or has no valid name.
    """
    root = read_included(locate(path))
    name = root.value.get("name")
    if name is None:
        raise UserError(Problem("name: missing; it names the results folder of the suite", str(root.mark)))
    if not is_name(name.value):
        message = f"name: {format_value(name.plain())} is not a name of {NAME_RULE}"
        raise UserError(Problem(message, str(name.mark)))
    return str(name.value)


def merge(top: Node, below: Node) -> Node:
    """Merge `top` over `below`: mappings key by key, recursively; anything else in `top` replaces `below`."""
    if not isinstance(top.value, dict) or not isinstance(below.value, dict):
        return top
    merged = {key: merge(top.value[key], node) if key in top.value else node for key, node in below.value.items()}
    return Node(merged | {key: node for key, node in top.value.items() if key not in merged}, top.mark)


def override(root: Node, settings: Sequence[str]) -> Node:
    """Return `root` with each ``a.b.c=VALUE`` applied. Raises `UserError` with every setting that is invalid."""
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
        raise UserError(
            Problem("expected a dotted key and a value, such as --set training.epochs=3", f"--set {setting}")
        )
    if keys[0] == "include":
        raise UserError(Problem("include cannot be set on the command line; write it in the file", str(mark)))
    return _replaced(root, keys, parse(text, mark), [])


def _replaced(node: Node, keys: Sequence[str], value: Node, parents: Sequence[str]) -> Node:
    """Return `node` with `value` at `keys` below it.

    null removes the key, which restores its default, unless the schema gives null another meaning.
    """
    if node.value is None:
        node = replace(node, value={})
    if not isinstance(node.value, dict):
        kind = "a list; set the whole list" if isinstance(node.value, list) else f"{node.value!r}, not a mapping"
        raise UserError(Problem(f"{'.'.join(parents)} is {kind}", str(value.mark)))
    key, rest = keys[0], keys[1:]
    children = dict(node.value)
    if rest:
        children[key] = _replaced(children.get(key, Node({}, value.mark)), rest, value, [*parents, key])
    elif value.value is None and not _null_is_a_value((*parents, key)):
        children.pop(key, None)
    else:
        children[key] = value
    return replace(node, value=children)


def _null_is_a_value(keys: Sequence[str]) -> bool:
    """Whether null is a value of the setting, see `NULL_IS_A_VALUE`."""
    return any(
        len(pattern) == len(keys) and all(part in ("*", key) for part, key in zip(pattern, keys, strict=True))
        for pattern in NULL_IS_A_VALUE
    )
