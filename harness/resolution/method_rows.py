"""The entries of `methods`: brought into one form, and expanded to the rows of the board."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.api.errors import nearest
from harness.config.diagnostics import Diagnostics, found
from harness.config.schema import MAX_LABEL_LENGTH, RESERVED, MethodSpec
from harness.config.yaml_tree import KeyPath, Node
from harness.resolution.suite import MethodVariant, TaskOverride

if TYPE_CHECKING:  # torch, through the method interface
    from harness.api.method import Method, MethodConfig
    from harness.plugin_host.host import Host

MAX_GRID_CELLS = 1000
"""More rows than anybody runs: a grid beyond it is a slip."""


def normalise(root: Node, diagnostics: Diagnostics) -> Node:
    """`root` with every entry of `methods` a map {name, options, and the reserved keys given}."""
    methods = root.child("methods")
    if methods is None or not isinstance(methods.value, list):
        return root
    entries = [entry for item in methods.value if (entry := _entry(item, diagnostics)) is not None]
    return Node(root.value | {"methods": Node(entries, methods.mark)}, root.mark)


def _entry(item: Node, diagnostics: Diagnostics) -> Node | None:
    if isinstance(item.value, str):
        return Node({"name": item}, item.mark)
    if not isinstance(item.value, dict) or not item.value:
        diagnostics.add_at(
            item.mark, f"methods: an entry is a name or `name: {{options}}`, found {found(item.plain())}"
        )
        return None
    name, body = next(iter(item.value.items()))
    entry = {"name": Node(name, body.mark)}
    if len(item.value) > 1:
        keys = ", ".join(repr(key) for key in item.value)
        diagnostics.add_at(
            item.mark,
            f"methods: an entry holds one method, found {keys}; begin another entry with `-`, or indent"
            f" the options of {name!r} below it",
        )
    if isinstance(body.value, dict):
        entry |= _parted(body, RESERVED).value
        tasks = entry.get("per_task")
        if tasks is not None and isinstance(tasks.value, dict):
            parted = {task: _parted(node, {"stages"}) for task, node in tasks.value.items()}
            entry["per_task"] = Node(parted, tasks.mark)
    elif body.value is not None:
        diagnostics.add_at(body.mark, f"methods.{name}: options should be a map of keys, found {found(body.plain())}")
    return Node(entry, body.mark)


def _parted(body: Node, reserved: Collection[str]) -> Node:
    """A map with all keys but the reserved ones moved to `options`."""
    if not isinstance(body.value, dict):
        return body
    kept = {key: node for key, node in body.value.items() if key in reserved}
    options = {key: node for key, node in body.value.items() if key not in reserved}
    return Node({**kept, "options": Node(options, body.mark)}, body.mark)


def expand(
    entries: Sequence[Mapping[str, Any]],
    *,
    host: Host,
    teachers: Sequence[str],
    students: Sequence[str],
    general: bool,
    diagnostics: Diagnostics,
) -> tuple[MethodVariant, ...]:
    """Return the board rows of all entries and report their problems to `diagnostics`.

    `general`: whether the suite has a text stage.
    """
    variants: list[MethodVariant] = []
    labels: dict[str, KeyPath] = {}
    for index, entry in enumerate(entries):
        path = ("methods", index)
        spec = _sound(entry)
        method = host.methods.get(spec.name)
        if method is None:
            diagnostics.add(path, _unknown_method(spec.name, host))
            continue
        own_teachers = _teachers(spec, method, teachers, path, diagnostics)
        own_students = _chosen("student", spec.students, students, (*path, "students"), diagnostics)
        own_general = _general(spec, method, general, path, diagnostics)
        for label, config in _cells(spec, method, path, diagnostics):
            if label in labels and spec.label == entry.get("label"):
                other = diagnostics.root.mark_of(labels[label])
                diagnostics.add(path, f"label {label!r} is taken, at {other}; give one of them a `label:` of its own")
            labels.setdefault(label, path)
            on_tasks = _on_tasks(spec, config, path, diagnostics)
            variants.append(
                MethodVariant(
                    label, method, config, spec.stages, own_students, own_teachers, path, own_general, on_tasks
                )
            )
    return tuple(variants)


def _sound(entry: Mapping[str, Any]) -> MethodSpec:
    """The entry without those of its keys that are refused; the schema's check has told of them."""
    try:
        return MethodSpec.model_validate(entry)
    except ValidationError as error:
        bad = {detail["loc"][0] for detail in error.errors()}
        return MethodSpec.model_validate({key: value for key, value in entry.items() if key not in bad})


def _unknown_method(name: str, host: Host) -> str:
    message = f"unknown method {name!r}; {nearest(name, host.methods)}"
    broken = "; ".join(f"{plugin}: {why}" for plugin, why in host.broken.items())
    return f"{message}; plugins that could not be loaded: {broken}" if broken else message


def _teachers(
    spec: MethodSpec, method: type[Method], known: Sequence[str], path: KeyPath, diagnostics: Diagnostics
) -> tuple[str, ...]:
    """The teachers of an entry: those it names, or else as many of the suite's as the method takes."""
    least, most = method.min_teachers, method.max_teachers
    if spec.teachers is None:
        if len(known) < least:
            diagnostics.add(path, f"the method needs {_count(least)}, the suite's `teachers` has {len(known)}")
        return tuple(known[:most])
    named = _chosen("teacher", spec.teachers, known, (*path, "teachers"), diagnostics)
    if len(spec.teachers) < least or (most is not None and len(spec.teachers) > most):
        takes = _count(least) if least == most else f"{least} to {'any number of' if most is None else most} teachers"
        diagnostics.add((*path, "teachers"), f"the method takes {takes}, found {len(spec.teachers)}")
    return named


def _general(spec: MethodSpec, method: type[Method], suite: bool, path: KeyPath, diagnostics: Diagnostics) -> bool:
    """Whether the entry's students begin with the method's general stage."""
    has_one = has_text_stage(method)
    if spec.general and not has_one:
        diagnostics.add((*path, "general"), f"{spec.name} has no stage on unlabelled text: take it out")
    elif spec.general and not suite:
        diagnostics.add((*path, "general"), "the suite does not say which text: add `general: {data: ..., steps: ...}`")
    return has_one and suite and spec.general is not False


def has_text_stage(method: type[Method]) -> bool:
    """Whether the method has a stage on unlabelled text."""
    from harness.api.method import Method as Base  # torch, which is there once a method is

    return method.general is not Base.general and method.max_teachers != 0


def _count(number: int) -> str:
    return {0: "no teacher", 1: "one teacher"}.get(number, f"{number} teachers")


def _chosen(
    kind: str, names: Sequence[str] | None, known: Sequence[str], path: KeyPath, diagnostics: Diagnostics
) -> tuple[str, ...]:
    for index, name in enumerate(names or ()):
        if name not in known:
            diagnostics.add((*path, index), f"unknown {kind} {name!r}; {nearest(name, known)}")
        elif name in (names or ())[:index]:
            diagnostics.add((*path, index), f"{kind} {name!r} stands twice")
    return tuple(known) if names is None else tuple(names)


def _cells(
    spec: MethodSpec, method: type[Method], path: KeyPath, diagnostics: Diagnostics
) -> Iterator[tuple[str, MethodConfig]]:
    """The label and the settled options of each cell of an entry's grid; of an entry without one, its only cell."""
    base = spec.label or spec.name
    for option in spec.grid:
        if option in spec.options:
            diagnostics.add((*path, "grid", option), f"option {option!r} is both fixed and in the grid")
        if option not in method.Config.model_fields:
            diagnostics.add((*path, "grid", option), f"unknown option; {nearest(option, method.Config.model_fields)}")
            return
    if (size := math.prod(len(values) for values in spec.grid.values())) > MAX_GRID_CELLS:
        diagnostics.add((*path, "grid"), f"the grid has {size} cells; at most {MAX_GRID_CELLS} are allowed")
        return
    varied = [option for option, values in spec.grid.items() if len(values) > 1]
    for indices in itertools.product(*(range(len(values)) for values in spec.grid.values())):
        at = dict(zip(spec.grid, indices, strict=True))
        cell = {option: spec.grid[option][index] for option, index in at.items()}

        def place(loc: KeyPath, at: Mapping[str, int] = at) -> KeyPath:
            option = str(loc[0]) if loc else ""
            return (*path, "grid", option, at[option], *loc[1:]) if option in at else (*path, "options", *loc)

        try:
            config = method.Config.model_validate({**spec.options, **cell})
        except ValidationError as error:
            diagnostics.add_validation_error(error, method.Config, place)
            continue
        label = base + "".join(f"{',' if i else '-'}{option}={_word(cell[option])}" for i, option in enumerate(varied))
        if len(label) > MAX_LABEL_LENGTH:
            diagnostics.add(
                (*path, "grid"),
                f"label {label!r} is longer than {MAX_LABEL_LENGTH} characters; give a shorter `label:`",
            )
        yield label, config


def _below(path: KeyPath, option: KeyPath) -> KeyPath:
    return (*path, "options", *option)


def _on_tasks(
    spec: MethodSpec, config: MethodConfig, path: KeyPath, diagnostics: Diagnostics
) -> dict[str, TaskOverride]:
    """The options and stages of one cell of an entry, on each task for which the entry says what differs."""
    found: dict[str, TaskOverride] = {}
    for task, own in spec.per_task.items():
        here = (*path, "per_task", task)
        for option in own.options.keys() & spec.grid.keys():
            diagnostics.add((*here, "options", option), f"option {option!r} is in the grid: take it out of one of them")
        try:
            settled = type(config).model_validate({**config.model_dump(exclude_unset=True), **own.options})
        except ValidationError as error:
            diagnostics.add_validation_error(error, type(config), partial(_below, here))
            continue
        stages = dict(spec.stages)
        for name, stage in own.stages.items():
            stages[name] = stages[name].merged(stage) if name in stages else stage
        found[task] = TaskOverride(settled, stages)
    return found


def _word(value: Any) -> str:
    """A value of a grid as part of a label."""
    if isinstance(value, list):
        return "+".join(_word(item) for item in value) or "none"
    if isinstance(value, dict):
        return "+".join(f"{key}={_word(item)}" for key, item in value.items()) or "none"
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9._+=,-]+", "-", text)
