"""Checks the stages of a method against the suite and the models of a cell."""

from __future__ import annotations

from collections.abc import Sequence

from harness.api.errors import Problem, nearest
from harness.api.method import Method, Stage, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.api.wording import counted
from harness.config.diagnostics import Diagnostics
from harness.config.yaml_tree import KeyPath
from harness.models import available_heads, output_names
from harness.models.parameter_groups import missing_layers
from harness.resolution import text_stages
from harness.resolution.suite import MethodVariant, Suite


def check_definitions(
    suite: Suite,
    method: Method,
    variant: MethodVariant,
    stages: Sequence[Stage],
    on_text: Sequence[text_stages.TextStage],
    diagnostics: Diagnostics,
) -> None:
    """Check the names of the stages, the start of the first one, and that the suite's `stages` overrides fit them."""
    names = [stage.name for stage in stages]
    all_names = [*names, *dict.fromkeys(text_stage.general.stage.name for text_stage in on_text)]
    method_name = variant.method.name
    if not names:
        diagnostics.add(variant.path, f"method {method_name!r} has no stages")
    elif len(set(all_names)) < len(all_names):
        diagnostics.add(variant.path, f"method {method_name!r} has duplicate stage names: {', '.join(all_names)}")
    if stages and stages[0].starts_from == "best":
        message = (
            f"method {method_name!r}, stage {names[0]!r}: starts_from is 'best', but the first stage follows no other"
        )
        diagnostics.add(variant.path, message)
    for name, stage in variant.stages.items():
        path = _path_of(suite, variant, method.task, name)
        if name not in names:
            diagnostics.add(path, f"the method has no stage {name!r}; {nearest(name, names)}")
        elif stage.data == "augmented" and method.augmentation() is None:
            message = f"with these options the method makes no augmented data for a {method.task.kind} task"
            diagnostics.add((*path, "data"), f"{message}; change its options or remove `data`")


def _path_of(suite: Suite, variant: MethodVariant, task: TaskInfo, stage: str) -> KeyPath:
    """Return the path of a stage override in the suite: below `per_task`, or below the entry."""
    override = suite.spec.methods[int(variant.path[1])].per_task.get(task.name)
    section = ("per_task", task.name) if override and stage in override.stages else ()
    return (*variant.path, *section, "stages", stage)


def check_needs(stage: Stage, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> list[Problem]:
    """Return problems for the model outputs that a stage needs and its models do not have."""
    requested = stage.needs.teachers
    if len(requested) not in (0, len(teachers)):
        named = counted(len(requested), "teacher")
        return [Problem(f"stage {stage.name!r} needs outputs of {named}, but there are {len(teachers)}")]
    pairs = [(student, stage.needs.student), *zip(teachers, requested, strict=False)]
    return [
        problem
        for model, names in pairs
        for problem in output_names.check(
            names,
            layers=model.layers,
            kind=task.kind,
            who=model.name,
            family=model.model_type,
            missing=model.missing,
        )
    ]


def check_frozen(stage: Stage, student: ModelShape) -> list[Problem]:
    """Return problems for layers that a stage freezes and the student does not have."""
    if missing := missing_layers(stage.frozen, student.layers):
        names = ", ".join(missing)
        depth = counted(student.layers, "layer")
        return [Problem(f"stage {stage.name!r} freezes {names}, but {student.name} has {depth}")]
    return []


def check_text_stage(stage: text_stages.TextStage) -> list[Problem]:
    """Return problems for heads and model outputs that a text stage needs and its models do not have."""
    problems = [problem for model in (stage.student, stage.teacher) for problem in available_heads.check(model, "text")]
    problems += check_needs(stage.general.stage, text_stages.TASK_INFO, stage.student, [stage.teacher])
    return [Problem(f"{problem.message}; {text_stages.OPT_OUT}") for problem in problems]
