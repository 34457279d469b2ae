"""Reports options of a suite that have no effect: their row would repeat the results of another row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import KeyPath
from harness.resolution import text_stages
from harness.resolution.request_options import options_of
from harness.resolution.suite import Cell, MethodVariant, Suite

Shapes = Mapping[str, ModelShape]


def check_unused_options(
    suite: Suite, variant: MethodVariant, cells: Sequence[Cell], shapes: Shapes, diagnostics: Diagnostics
) -> None:
    """Report options of a row that affect neither its runs (`MethodConfig.keyed_separately`) nor their preparation.

    `cells` are the cells of the row that run. Nothing is reported if the shape of one of their models is unknown.
    """
    if not cells or not {name for cell in cells for name in (cell.student, *variant.teachers)} <= shapes.keys():
        return
    for option, path, set_variant, set_cells in _settings(suite, variant, cells):
        default_variant = _with_default(set_variant, option)
        if default_variant is None or not set_cells:
            continue
        try:
            reason = _unused_reason(suite, set_variant, default_variant, set_cells, shapes)
        except Exception:  # a fault of the method; cell_resolution reports it if a cell is affected
            continue
        if reason:
            diagnostics.add(path, f"has no effect: {reason}")


def _settings(
    suite: Suite, variant: MethodVariant, cells: Sequence[Cell]
) -> Iterator[tuple[str, KeyPath, MethodVariant, list[Cell]]]:
    """Yield each option that the row's entry sets, its path, the row that has it, and the cells that it applies to."""
    entry = suite.spec.methods[int(variant.path[1])]
    on_task = {task: settings.options for task, settings in entry.per_task.items()}
    for option in sorted(entry.options.keys() | entry.grid.keys()):
        section = "grid" if option in entry.grid else "options"
        own_cells = [cell for cell in cells if option not in on_task.get(cell.task.name, {})]
        yield option, (*variant.path, section, option), variant, own_cells
    for task, options in on_task.items():
        task_cells = [cell for cell in cells if cell.task.name == task]
        for option in sorted(options):
            yield option, (*variant.path, "per_task", task, "options", option), variant.on(task), task_cells


def _with_default(variant: MethodVariant, option: str) -> MethodVariant | None:
    """Return the row with the default of an option; None if it has that already, or the option is in its own key."""
    config = variant.config
    if option not in config.keyed_separately:
        return None
    default = getattr(variant.method.Config(), option)
    if getattr(config, option) == default:
        return None
    return replace(variant, config=config.model_copy(update={option: default}))


def _unused_reason(
    suite: Suite, variant: MethodVariant, default: MethodVariant, cells: Sequence[Cell], shapes: Shapes
) -> str | None:
    """Why `variant` gives the same results as `default`, with a remedy; None if they differ."""
    if any(_preparation(suite, variant, cell, shapes) != _preparation(suite, default, cell, shapes) for cell in cells):
        return None
    if any(_text_stages(suite, variant, cell, shapes) != _text_stages(suite, default, cell, shapes) for cell in cells):
        if variant.general:
            return None
        if suite.spec.general is not None:
            return "it belongs to the text stage, which `general: false` skips; remove one of them"
        return (
            "it belongs to the text stage, and the suite has none; add `general: {data: ..., steps: ...}` or remove"
            " the option"
        )
    tasks = dict.fromkeys(cell.task.name for cell in cells)
    return f"the method does not use it on {', '.join(tasks)}; remove it"


def _preparation(suite: Suite, variant: MethodVariant, cell: Cell, shapes: Shapes) -> tuple[object, ...]:
    """The method's augmentation and co-finetuning for a cell, as far as they are part of its keys."""
    task, teachers = cell.task, [shapes[name] for name in variant.teachers]
    info = TaskInfo(task.name, task.kind, task.num_labels)
    method = variant.bind(info, shapes[cell.student], teachers, suite.spec.seeds[0])
    data, group = method.augmentation(), method.cofinetuning() if teachers else None
    return (
        data and (options_of(data, variant.config), data.model, list(data.files)),
        group and options_of(group, variant.config),
    )


def _text_stages(suite: Suite, variant: MethodVariant, cell: Cell, shapes: Shapes) -> Sequence[object]:
    """The text stages of the cell's student with their options, computed also if the suite has no `general`."""
    if not variant.teachers:
        return []
    found = text_stages.stages(variant, shapes[cell.student], shapes[variant.teachers[0]], suite.spec.seeds[0])
    return [(stage, options_of(stage.general, variant.config)) for stage in found]
