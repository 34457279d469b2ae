"""Options that a suite sets and that change nothing: their row of the board would tell of a difference there is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.config.diagnostics import Diagnostics
from harness.resolution import text_stages
from harness.resolution.suite import Cell, MethodVariant, Suite

Shapes = Mapping[str, ModelShape]


def note(suite: Suite, variant: MethodVariant, cells: Sequence[Cell], shapes: Shapes, diagnostics: Diagnostics) -> None:
    """Note the options of a row that its runs know nothing of (`MethodConfig.apart`), and that decide nothing before
    them either. `cells` are those that run; where the shapes of one are not known, nobody can tell."""
    if not cells or not {name for cell in cells for name in (cell.student, *variant.teachers)} <= shapes.keys():
        return
    grid = suite.spec.methods[int(variant.path[1])].grid
    for option, plain in _without_each(variant):
        try:
            why = _why(suite, variant, plain, cells, shapes)
        except Exception:  # the method's own mistake: told where the cell itself is asked, if its runs come to it
            continue
        if why:
            diagnostics.add((*variant.path, "grid" if option in grid else "options", option), f"changes nothing: {why}")


def _without_each(variant: MethodVariant) -> Iterator[tuple[str, MethodVariant]]:
    """Each option of `apart` that the row sets to another value than its default, and the row with the default."""
    config, defaults = variant.config, variant.method.Config()
    for option in sorted(config.apart & config.model_fields_set):
        default = getattr(defaults, option)
        if getattr(config, option) != default:
            yield option, replace(variant, config=config.model_copy(update={option: default}))


def _why(
    suite: Suite, variant: MethodVariant, plain: MethodVariant, cells: Sequence[Cell], shapes: Shapes
) -> str | None:
    """Why `variant` is the same as `plain`, and what to do; None, if it is another."""
    if any(_for_task(suite, variant, cell, shapes) != _for_task(suite, plain, cell, shapes) for cell in cells):
        return None
    if any(_on_text(suite, variant, cell, shapes) != _on_text(suite, plain, cell, shapes) for cell in cells):
        if variant.general:
            return None
        if suite.spec.general is not None:
            return "it is of the stage on unlabelled text, which `general: false` leaves out: take out one of them"
        return (
            "it is of the stage on unlabelled text, and the suite has none: add `general: {data: ..., steps: ...}`, or"
            " take it out"
        )
    tasks = dict.fromkeys(cell.task.name for cell in cells)
    return f"the method has no use for it on {', '.join(tasks)}: take it out"


def _for_task(suite: Suite, variant: MethodVariant, cell: Cell, shapes: Shapes) -> tuple[object, ...]:
    """What the method decides for a cell before its runs, as far as it is part of their keys."""
    task, teachers = cell.task, [shapes[name] for name in variant.teachers]
    method = variant.method(
        variant.config,
        task=TaskInfo(task.name, task.kind, task.num_labels),
        student=shapes[cell.student],
        teachers=teachers,
        seed=suite.spec.seeds[0],
    )
    data, group = method.augmentation(), method.cofinetuning() if teachers else None
    return data and (data.options, data.model, list(data.files)), group and group.options


def _on_text(suite: Suite, variant: MethodVariant, cell: Cell, shapes: Shapes) -> Sequence[text_stages.TextStage]:
    """The stages on text that the cell's student begins with, or would begin with if the suite had any."""
    if not variant.teachers:
        return []
    return text_stages.stages(variant, shapes[cell.student], shapes[variant.teachers[0]], suite.spec.seeds[0])
