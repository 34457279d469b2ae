"""Normalizes the entries of `methods` and expands them into the rows of the board."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.api.errors import nearest
from harness.config.diagnostics import Diagnostics, format_value
from harness.config.method_schema import RESERVED, MethodSpec
from harness.config.setting_types import MAX_LABEL_LENGTH
from harness.config.yaml_tree import KeyPath, Node
from harness.resolution.references import broken_plugins, models
from harness.resolution.suite import MethodVariant, TaskOverride

if TYPE_CHECKING:  # torch, through the method interface
    from harness.api.method import Method, MethodConfig
    from harness.plugin_host.host import Host

MAX_GRID_CELLS = 1000
"""Largest number of combinations of one grid."""


def normalize(root: Node, diagnostics: Diagnostics) -> Node:
    """Return `root` with every entry of `methods` as a mapping: `name`, `options` and any reserved keys."""
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
            item.mark, f"methods: expected a name or `name: {{options}}`, found {format_value(item.plain())}"
        )
        return None
    name, body = next(iter(item.value.items()))
    entry = {"name": Node(name, body.mark)}
    if len(item.value) > 1:
        keys = ", ".join(repr(key) for key in item.value)
        diagnostics.add_at(
            item.mark,
            f"methods: expected one method per entry, found {keys}; start a new entry with `-`, or indent"
            f" the options of {name!r} below it",
        )
    if isinstance(body.value, dict):
        entry |= _split_options(body, RESERVED).value
        tasks = entry.get("per_task")
        if tasks is not None and isinstance(tasks.value, dict):
            per_task = {task: _split_options(node, {"stages"}) for task, node in tasks.value.items()}
            entry["per_task"] = Node(per_task, tasks.mark)
    elif body.value is not None:
        diagnostics.add_at(
            body.mark, f"methods.{name}: expected a mapping of options, found {format_value(body.plain())}"
        )
    return Node(entry, body.mark)


def _split_options(body: Node, reserved: Collection[str]) -> Node:
    """Move all keys that are not reserved to `options`."""
    if not isinstance(body.value, dict):
        return body
    reserved_items = {key: node for key, node in body.value.items() if key in reserved}
    options = {key: node for key, node in body.value.items() if key not in reserved}
    return Node({**reserved_items, "options": Node(options, body.mark)}, body.mark)


def expand(
    entries: Sequence[Mapping[str, Any]],
    *,
    host: Host,
    teachers: Mapping[str, Any],
    students: Sequence[str],
    general: bool,
    diagnostics: Diagnostics,
) -> tuple[MethodVariant, ...]:
    """Return the board rows of all entries and report their problems to `diagnostics`.

    `teachers`: the suite's section of that name. `general`: whether the suite has a text stage.
    """
    variants: list[MethodVariant] = []
    labels: dict[str, KeyPath] = {}
    for index, entry in enumerate(entries):
        path = ("methods", index)
        spec = _valid_part(entry)
        method = host.methods.get(spec.name)
        if method is None:
            hint = nearest(spec.name, host.methods)
            diagnostics.add(path, f"unknown method {spec.name!r}; {hint}{broken_plugins(host)}")
            continue
        own_teachers = _teachers(spec, method, teachers, path, diagnostics)
        own_students = _select("student", spec.students, students, (*path, "students"), diagnostics)
        starts_on_text = _text_stage(spec, method, general, path, diagnostics)
        for label, config in _cells(spec, method, path, diagnostics):
            if label in labels and spec.label == entry.get("label"):
                first = diagnostics.root.mark_of(labels[label])
                diagnostics.add(path, f"duplicate label {label!r} (first used at {first}); set another `label:`")
            labels.setdefault(label, path)
            per_task = _task_overrides(spec, config, path, diagnostics)
            variants.append(
                MethodVariant(
                    label, method, config, spec.stages, own_students, own_teachers, path, starts_on_text, per_task
                )
            )
    return tuple(variants)


def _valid_part(entry: Mapping[str, Any]) -> MethodSpec:
    """Validate an entry without its invalid keys, which the schema's check reports."""
    try:
        return MethodSpec.model_validate(entry)
    except ValidationError as error:
        invalid = {detail["loc"][0] for detail in error.errors()}
        return MethodSpec.model_validate({key: value for key, value in entry.items() if key not in invalid})


def _teachers(
    spec: MethodSpec, method: type[Method], known: Mapping[str, Any], path: KeyPath, diagnostics: Diagnostics
) -> tuple[str, ...]:
    """Return the teachers of an entry; by default as many of the suite's as the method takes.

    A row of the suite is the teacher of those entries only that name it: its own row takes the defaults, too.
    """
    fewest, most = method.min_teachers, method.max_teachers
    if spec.teachers is None:
        defaults = models(known)
        if len(defaults) < fewest:
            others = len(known) - len(defaults)
            hint = "; name those that are rows of the suite in the entry's `teachers`" if others else ""
            diagnostics.add(
                path, f"the method needs {_count(fewest)}, the suite's `teachers` has {len(defaults)}{hint}"
            )
        return tuple(defaults[:most])
    names = _select("teacher", spec.teachers, list(known), (*path, "teachers"), diagnostics)
    if len(spec.teachers) < fewest or (most is not None and len(spec.teachers) > most):
        if fewest == most:
            allowed = _count(fewest)
        else:
            allowed = f"at least {_count(fewest)}" if most is None else f"{fewest} to {most} teachers"
        diagnostics.add((*path, "teachers"), f"the method takes {allowed}, found {len(spec.teachers)}")
    return names


def _text_stage(
    spec: MethodSpec, method: type[Method], suite_has_text: bool, path: KeyPath, diagnostics: Diagnostics
) -> bool:
    """Whether the entry's students start with the text stage of the method."""
    has_one = has_text_stage(method)
    if spec.general and not has_one:
        diagnostics.add((*path, "general"), f"{spec.name} has no stage on unlabelled text; remove the key")
    elif spec.general and not suite_has_text:
        diagnostics.add((*path, "general"), "the suite has no text; add `general: {data: ..., steps: ...}`")
    return has_one and suite_has_text and spec.general is not False


def has_text_stage(method: type[Method]) -> bool:
    """Whether the method has a text stage (distillation on unlabelled text)."""
    from harness.api.method import Method as Base  # imports torch, as the method has done already

    return method.general is not Base.general and method.max_teachers != 0


def _count(number: int) -> str:
    return {0: "no teacher", 1: "one teacher"}.get(number, f"{number} teachers")


def _select(
    kind: str, names: Sequence[str] | None, known: Sequence[str], path: KeyPath, diagnostics: Diagnostics
) -> tuple[str, ...]:
    """Return the selected names, by default all known ones; report names that are unknown or duplicate."""
    for index, name in enumerate(names or ()):
        if name not in known:
            diagnostics.add((*path, index), f"unknown {kind} {name!r}; {nearest(name, known)}")
        elif name in (names or ())[:index]:
            diagnostics.add((*path, index), f"duplicate {kind} {name!r}")
    return tuple(known) if names is None else tuple(names)


def _cells(
    spec: MethodSpec, method: type[Method], path: KeyPath, diagnostics: Diagnostics
) -> Iterator[tuple[str, MethodConfig]]:
    """Yield the label and the validated options of each combination of the grid; one without a grid."""
    base = spec.label or spec.name
    for option in spec.grid:
        if option in spec.options:
            diagnostics.add(
                (*path, "grid", option), f"option {option!r} is both fixed and in the grid; remove one of them"
            )
        if option not in method.Config.model_fields:
            diagnostics.add((*path, "grid", option), f"unknown option; {nearest(option, method.Config.model_fields)}")
            return
    if (size := math.prod(len(values) for values in spec.grid.values())) > MAX_GRID_CELLS:
        diagnostics.add((*path, "grid"), f"the grid has {size} combinations; at most {MAX_GRID_CELLS} are allowed")
        return
    varied = [option for option, values in spec.grid.items() if len(values) > 1]
    for indices in itertools.product(*(range(len(values)) for values in spec.grid.values())):
        cell_indices = dict(zip(spec.grid, indices, strict=True))
        cell = {option: spec.grid[option][index] for option, index in cell_indices.items()}
        try:
            config = method.Config.model_validate({**spec.options, **cell})
        except ValidationError as error:
            diagnostics.add_validation_error(error, method.Config, partial(_grid_path, path, cell_indices))
            continue
        label = base + "".join(
            f"{',' if i else '-'}{option}={_format_label_value(cell[option])}" for i, option in enumerate(varied)
        )
        if len(label) > MAX_LABEL_LENGTH:
            diagnostics.add(
                (*path, "grid"),
                f"label {label!r} is longer than {MAX_LABEL_LENGTH} characters; set a shorter `label:`",
            )
        yield label, config


def _grid_path(path: KeyPath, indices: Mapping[str, int], loc: KeyPath) -> KeyPath:
    """Map a path below a method's Config to the suite: to the value in the grid, or to the option of the entry."""
    option = str(loc[0]) if loc else ""
    return (*path, "grid", option, indices[option], *loc[1:]) if option in indices else _option_path(path, loc)


def _option_path(path: KeyPath, loc: KeyPath) -> KeyPath:
    return (*path, "options", *loc)


def _task_overrides(
    spec: MethodSpec, config: MethodConfig, path: KeyPath, diagnostics: Diagnostics
) -> dict[str, TaskOverride]:
    """Return the options and stages of one combination of the grid on each task of `per_task`."""
    overrides: dict[str, TaskOverride] = {}
    for task, settings in spec.per_task.items():
        task_path = (*path, "per_task", task)
        for option in settings.options.keys() & spec.grid.keys():
            diagnostics.add(
                (*task_path, "options", option), f"option {option!r} is in the grid, too; remove one of them"
            )
        try:
            options = {**config.model_dump(exclude_unset=True), **settings.options}
            task_config = type(config).model_validate(options)
        except ValidationError as error:
            diagnostics.add_validation_error(error, type(config), partial(_option_path, task_path))
            continue
        stages = dict(spec.stages)
        for name, stage in settings.stages.items():
            stages[name] = stages[name].merged(stage) if name in stages else stage
        overrides[task] = TaskOverride(task_config, stages)
    return overrides


def _format_label_value(value: Any) -> str:
    """Format a value of a grid for a label."""
    if isinstance(value, list):
        return "+".join(_format_label_value(item) for item in value) or "none"
    if isinstance(value, dict):
        return "+".join(f"{key}={_format_label_value(item)}" for key, item in value.items()) or "none"
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^A-Za-z0-9._+=,-]+", "-", text)
