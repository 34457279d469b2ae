"""Decides for each cell of the board whether it can run, before any training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import UserError, describe, problem_list
from harness.api.method import Method, Stage, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import Mark, Node, display_path
from harness.models import available_heads
from harness.resolution import (
    augmentation_inputs,
    finetuned_teachers,
    length_limits,
    row_teachers,
    stage_checks,
    text_stages,
    unused_options,
)
from harness.resolution.model_shapes import read_models
from harness.resolution.suite import Cell, MethodVariant, Resolved, Suite
from harness.resolution.suite_loader import LoadedSuite

if TYPE_CHECKING:
    from harness.api.task import Task


def resolve(loaded: LoadedSuite, *, online: bool, allow_empty_rows: bool = False) -> Resolved:
    """Resolve a suite into the cells of its board: to be run, or n/a with a reason.

    Args:
        loaded: the result of `load`.
        online: whether to fetch model configurations from the hub. A cell with a model of unknown shape is not
            checked; `Resolved.unchecked` lists these models.
        allow_empty_rows: whether a method may fit no student; all cells of its row are then n/a.

    Raises:
        UserError: with all problems: students that cannot be built, methods that fit no student, problems that
            plugins report.
    """
    suite = loaded.suite
    diagnostics = Diagnostics(suite.tree or Node({}, Mark(display_path(suite.path), 0, suite.path.parent)))
    models = read_models(suite, diagnostics, online=online)
    length_limits.check_lengths(suite, models.limits, diagnostics)
    finetuned_teachers.check(suite, diagnostics)
    cells = _cells(suite, models.shapes, diagnostics, allow_empty_rows=allow_empty_rows)
    diagnostics.extend(loaded.host.validate(suite))
    diagnostics.raise_if_any()
    unchecked = models.unchecked if online else (*models.unchecked, *_sources_on_the_hub(suite))
    return Resolved(suite, tuple(cells), models.shapes, unchecked)


def unavailable_assistant(
    suite: Suite, variant: MethodVariant, task: str, reasons: Mapping[tuple[str, str, str], str | None]
) -> str | None:
    """Return why a teacher of the row that is itself a row is not trained on the task; None if all are.

    `reasons`: (task, label, student) -> why that cell is n/a.
    """
    for name in variant.teachers:
        assistant = suite.rows.get(name)
        if assistant and (reason := reasons[task, assistant.label, assistant.student]):
            return f"its teacher {name}, row {assistant.label} on {assistant.student}, is n/a: {reason}"
    return None


def _sources_on_the_hub(suite: Suite) -> Iterator[str]:
    for source, value in suite.sources.items():
        if not Path(value).is_absolute():
            yield f"source {source}: whether the hub has {value}"


def _cells(
    suite: Suite, shapes: Mapping[str, ModelShape], diagnostics: Diagnostics, *, allow_empty_rows: bool
) -> list[Cell]:
    """Return the cells in the order of the suite. A row is decided after the rows that it learns from."""
    reasons: dict[tuple[str, str, str], str | None] = {}
    rows: dict[str, list[Cell]] = {}
    for variant in row_teachers.training_order(suite.variants, suite.rows):
        row = rows[variant.label] = [
            Cell(
                task,
                task_variant,
                student,
                unavailable_assistant(suite, task_variant, task.name, reasons)
                or _obstacle(suite, task, task_variant, student, shapes, diagnostics),
            )
            for task in suite.tasks
            for task_variant in [variant.on(task.name)]
            for student in variant.students
        ]
        reasons |= {(cell.task.name, variant.label, cell.student): cell.reason for cell in row}
        runnable = [cell for cell in row if not cell.reason]
        if not runnable and not allow_empty_rows:
            found = dict.fromkeys(f"{cell.student}: {cell.reason}" for cell in row)
            diagnostics.add(variant.path, f"{variant.label} fits no student of the suite: {'; '.join(found)}")
        unused_options.check_unused_options(suite, variant, runnable, shapes, diagnostics)
    return [cell for variant in suite.variants for cell in rows[variant.label]]


def _obstacle(
    suite: Suite,
    task: Task,
    variant: MethodVariant,
    student: str,
    shapes: Mapping[str, ModelShape],
    diagnostics: Diagnostics,
) -> str | None:
    """Return why the cell cannot run; None if it can, or if a shape is unknown."""
    if student not in shapes or any(name not in shapes for name in variant.teachers):
        return None
    shape, teachers = shapes[student], [shapes[name] for name in variant.teachers]
    info = TaskInfo(task.name, task.kind, task.num_labels)
    try:
        method = variant.bind(info, shape, teachers, suite.spec.seeds[0])
        stages, on_text = _stages_of(method, suite, variant, info, shape, teachers)
    except UserError as error:
        problems = list(error.problems)
    except Exception as error:  # a fault of the plugin
        diagnostics.add(variant.path, f"method {variant.method.name!r} failed for {shape}: {describe(error)}")
        return None
    else:
        stage_checks.check_definitions(suite, method, variant, stages, on_text, diagnostics)
        problems = [problem for model in (shape, *teachers) for problem in available_heads.check(model, task.kind)]
        problems += [problem for stage in stages for problem in stage_checks.check_needs(stage, info, shape, teachers)]
        problems += [problem for stage in stages for problem in stage_checks.check_frozen(stage, shape)]
        problems += [problem for stage in on_text for problem in stage_checks.check_text_stage(stage)]
    return "; ".join(dict.fromkeys(problem.message for problem in problems)) or None


def _stages_of(
    method: Method,
    suite: Suite,
    variant: MethodVariant,
    task: TaskInfo,
    student: ModelShape,
    teachers: Sequence[ModelShape],
) -> tuple[Sequence[Stage], Sequence[text_stages.TextStage]]:
    """Return the stages of the method on the task and on text; calls its preparation hooks, too.

    Raises:
        UserError: the method does not support the task or the models, or a model or file that it reads is missing.
    """
    if problems := problem_list(method.check(task, student, teachers)):
        raise UserError(*problems)
    stages, general = list(method.stages()), suite.spec.general
    on_text = text_stages.stages(variant, student, teachers[0], general.seed) if variant.general and general else []
    if variant.teachers:
        method.cofinetuning()
    if augmentation := method.augmentation():
        augmentation_inputs.model_of(augmentation, suite, variant)
        augmentation_inputs.files_of(augmentation, suite, variant)
    return stages, on_text
