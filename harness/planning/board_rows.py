"""What the rows and the students of a board stand for, as the store keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.config.schema import StageOverride, SuiteSpec
from harness.resolution.method_rows import has_text_stage
from harness.resolution.suite import MethodVariant, Resolved
from harness.storage.records import EncoderShape, PlannedRow


def rows(resolved: Resolved, protocols: Mapping[str, str]) -> dict[str, PlannedRow]:
    """Of each label; `protocols` are those of labels that have runs."""
    return {
        variant.label: _row(variant, resolved.suite.spec, protocols.get(variant.label, ""))
        for variant in resolved.suite.variants
    }


def shapes(resolved: Resolved) -> dict[str, EncoderShape]:
    """Of each teacher and student whose shape is known."""
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
    """A method takes the first of the suite's teachers, and its stage on text, unless its entry says otherwise."""
    method, teachers = variant.method, list(suite.teachers)[: variant.method.max_teachers]
    begins = suite.general is not None and has_text_stage(method)
    as_usual = list(variant.teachers) == teachers and variant.general == begins
    options = variant.config.model_dump(mode="json")
    usual = options == method.Config().model_dump(mode="json")
    return PlannedRow(
        method=method.name,
        entry=int(variant.path[1]),
        plain=usual and not variant.stages and not variant.per_task and as_usual,
        options=options,
        stages=_plain(variant.stages),
        teachers=list(variant.teachers),
        general=variant.general,
        per_task={
            task: {"options": own.config.model_dump(mode="json"), "stages": _plain(own.stages)}
            for task, own in variant.per_task.items()
            if task in suite.tasks
        },
        protocol=protocol,
    )


def _plain(stages: Mapping[str, StageOverride]) -> dict[str, dict[str, Any]]:
    return {name: stage.model_dump(exclude_none=True) for name, stage in stages.items()}
