"""Describe the rows and the model shapes of a board, as stored in the plan file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.config.method_schema import StageOverride
from harness.config.schema import SuiteSpec
from harness.resolution.method_rows import has_text_stage
from harness.resolution.suite import MethodVariant, Resolved
from harness.storage.plan_file import EncoderShape, PlannedRow


def rows(resolved: Resolved, protocols: Mapping[str, str]) -> dict[str, PlannedRow]:
    """Return the row of each label. `protocols` holds the training protocol of each label that has runs."""
    return {
        variant.label: _row(variant, resolved.suite.spec, protocols.get(variant.label, ""))
        for variant in resolved.suite.variants
    }


def shapes(resolved: Resolved) -> dict[str, EncoderShape]:
    """Return the encoder shape of each teacher and student whose shape is known."""
    students = resolved.suite.spec.students
    return {
        name: EncoderShape(
            layers=shape.layers,
            hidden=shape.hidden,
            heads=shape.heads,
            ffn=shape.ffn,
            init=f"{students[name].init} of {students[name].init_from}" if name in students else "",
        )
        for name, shape in resolved.shapes.items()
    }


def _row(variant: MethodVariant, suite: SuiteSpec, protocol: str) -> PlannedRow:
    """Return the row of one variant.

    It is `plain` if its entry changes nothing: default options, no stage or task settings, the suite's first teachers,
    and the text stage if both the suite and the method have one.
    """
    models = [name for name, teacher in suite.teachers.items() if teacher.row is None]
    method, teachers = variant.method, models[: variant.method.max_teachers]
    default_general = suite.general is not None and has_text_stage(method)
    defaults_elsewhere = list(variant.teachers) == teachers and variant.general == default_general
    options = variant.config.model_dump(mode="json")
    default_options = options == method.Config().model_dump(mode="json")
    return PlannedRow(
        method=method.name,
        entry=int(variant.path[1]),
        plain=default_options and not variant.stages and not variant.per_task and defaults_elsewhere,
        options=options,
        stages=_dump_stages(variant.stages),
        teachers=list(variant.teachers),
        general=variant.general,
        per_task={
            task: {"options": settings.config.model_dump(mode="json"), "stages": _dump_stages(settings.stages)}
            for task, settings in variant.per_task.items()
            if task in suite.tasks
        },
        protocol=protocol,
    )


def _dump_stages(stages: Mapping[str, StageOverride]) -> dict[str, dict[str, Any]]:
    return {name: stage.model_dump(exclude_none=True) for name, stage in stages.items()}
