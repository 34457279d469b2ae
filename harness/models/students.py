"""Students: checks of their specification, their sizes, and their initial weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.api.model_outputs import ModelShape
from harness.api.wording import counted
from harness.config.student_schema import StudentSpec
from harness.models import families, pretrained

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from harness.api.task import Task

KEYWORDS = ("uniform", "first", "last", "random")
_NUMBERS = ("layers", "hidden", "heads", "ffn")


def checkpoint_of(spec: StudentSpec) -> str | None:
    """The hub id or folder that the student is loaded from; None if its weights are copied or random."""
    return spec.init if isinstance(spec.init, str) and spec.init not in KEYWORDS else None


def shape(spec: StudentSpec, name: str, teacher: ModelShape | None) -> ModelShape | None:
    """The student's sizes, with those of `teacher` for unspecified ones; None if a size is not known.

    For a student loaded from a checkpoint these are the suite's sizes; those of the checkpoint decide.
    """
    sizes = _sizes(spec, teacher)
    if sizes.keys() != set(_NUMBERS):
        return None
    layers, hidden, heads, ffn = (sizes[number] for number in _NUMBERS)
    student = ModelShape(name, layers, hidden, heads, ffn)
    return _of_family(student, teacher) if teacher else student


def _of_family(student: ModelShape, teacher: ModelShape) -> ModelShape:
    """The student's shape, with what `resizing.resized` takes over from the family of its teacher."""
    width = teacher.qkv_width * student.hidden // (teacher.hidden * student.heads) * student.heads
    context = student.hidden if teacher.context_width == teacher.hidden else width
    return replace(
        student, model_type=teacher.model_type, missing=teacher.missing, qkv_width=width, context_width=context
    )


def check(spec: StudentSpec, name: str, teacher: ModelShape | None, own: ModelShape | None) -> list[Problem]:
    """Problems with a student's specification.

    Args:
        teacher: the model whose layers are copied, the suite's first teacher; None: unknown.
        own: the checkpoint that the student is loaded from; None: unknown.
    """
    where = f"students.{name}"
    if checkpoint_of(spec) is not None:
        return [Problem(message, f"{where}.init") for message in _checkpoint_messages(spec, own)]
    student = shape(spec, name, teacher)
    problems = []
    heads, hidden = (student.heads, student.hidden) if student else (spec.heads, spec.hidden)
    if heads and hidden and hidden % heads:
        problems.append(
            Problem(
                f"hidden {hidden} cannot be split among {counted(heads, 'head')}; heads must be one of"
                f" {_listed(n for n in range(1, 65) if hidden % n == 0)}",
                f"{where}.heads",
            )
        )
    problems += [Problem(message, f"{where}.init") for message in _copy_messages(spec, student, teacher)]
    return problems


def source_layers(spec: StudentSpec, teacher_layers: int) -> tuple[int, ...]:
    """For each student layer the teacher layer that it is copied from, counted from 1; empty if none are copied."""
    count = spec.layers
    if isinstance(spec.init, list):
        return tuple(spec.init)
    if spec.init == "uniform":
        return tuple(m * teacher_layers // count for m in range(1, count + 1))
    if spec.init == "first":
        return tuple(range(1, count + 1))
    if spec.init == "last":
        return tuple(range(teacher_layers - count + 1, teacher_layers + 1))
    return ()


def build(
    spec: StudentSpec,
    *,
    name: str,
    task: Task,
    teacher: PreTrainedModel | PretrainedConfig | None,
    checkpoint: Path | None,
    seed: int,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Build the student `name` with initial weights and a new head for `task`: float32, on the CPU, in eval mode.

    The weights depend on the specification, the teacher's weights, the task and the seed only. The global random state
    is not changed.

    Args:
        teacher: gives the family, and the weights that `init` copies. A configuration suffices if nothing is copied;
            None for a student that is loaded from a checkpoint.
        checkpoint: the folder of the checkpoint that `init` names; None: it names none.

    Raises:
        UserError: `check` finds a problem.
    """
    from transformers import PretrainedConfig

    from harness.models import heads, layer_copying

    if checkpoint is not None:
        own = families.shape(pretrained.config_in(checkpoint, trust_remote_code=trust_remote_code), name)
        _raise(check(spec, name, None, own))
        return heads.load(checkpoint, task, seed=seed, trust_remote_code=trust_remote_code)
    if teacher is None:
        raise UserError(
            f"students.{name}: without a teacher, family and vocabulary are unknown; name a teacher, or set init to a"
            " hub id or folder"
        )
    config = teacher if isinstance(teacher, PretrainedConfig) else teacher.config
    source = families.shape(config, "the teacher")
    _raise(check(spec, name, source, None))
    chosen = source_layers(spec, source.layers)
    smaller = resized_config(spec, config)
    student = heads.from_config(smaller, task, seed=seed, trust_remote_code=trust_remote_code)
    if chosen:
        if isinstance(teacher, PretrainedConfig):
            raise TypeError(f"init: {spec.init} copies weights, so it needs a model, not its configuration")
        layer_copying.copy_encoder(teacher, student, chosen)
        if task.kind == "text":
            layer_copying.copy_head(teacher, student)
    return student


def resized_config(spec: StudentSpec, config: PretrainedConfig) -> PretrainedConfig:
    """The configuration of a student of the teacher's family; `config` is the teacher's."""
    from harness.models import resizing

    source = families.shape(config, "the teacher")
    return resizing.resized(config, **_sizes(spec, source), copied=source_layers(spec, source.layers))


def _sizes(spec: StudentSpec, teacher: ModelShape | None) -> dict[str, int]:
    """The known sizes: those of `spec`, else those of `teacher`."""
    sizes = {number: getattr(spec, number) or getattr(teacher, number, None) for number in _NUMBERS}
    return {number: size for number, size in sizes.items() if size is not None}


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise UserError(*problems)


def _checkpoint_messages(spec: StudentSpec, own: ModelShape | None) -> list[str]:
    init = str(spec.init)
    misspelt = get_close_matches(init, KEYWORDS, n=1, cutoff=0.7)
    if misspelt and "/" not in init and not pretrained.is_folder(init):
        return [
            f"{init!r} is neither {', '.join(KEYWORDS)}, a list of layers, nor a hub id or folder;"
            f" did you mean {misspelt[0]!r}?"
        ]
    if own is None:
        return []
    return [
        f"{number} is {getattr(spec, number)} in the suite, but {init} has {getattr(own, number)}; remove it,"
        " or use another checkpoint"
        for number in _NUMBERS
        if getattr(spec, number) not in (None, getattr(own, number))
    ]


def _copy_messages(spec: StudentSpec, student: ModelShape | None, teacher: ModelShape | None) -> list[str]:
    """Problems with copying layers. Sizes are compared only if both are known."""
    if spec.init == "random":
        return []
    if teacher is not None and "hidden" in teacher.missing:
        return [
            f"layers of {teacher.name} cannot be copied: in a {teacher.model_type} encoder there is no sequence of"
            " layers with outputs of one shape; start from init: random or a checkpoint"
        ]
    messages = []
    if isinstance(spec.init, list) and len(spec.init) != spec.layers:
        messages.append(
            f"the list names {counted(len(spec.init), 'layer')}, but the student has {spec.layers}; name a teacher"
            " layer for each"
        )
    if teacher is None:
        return messages
    if isinstance(spec.init, list):
        outside = [layer for layer in spec.init if layer > teacher.layers]
        if outside:
            messages.append(f"there is no layer {_listed(outside)} in {teacher}; its layers are 1 to {teacher.layers}")
    elif spec.layers > teacher.layers:
        messages.append(
            f"{spec.init!r} copies {counted(spec.layers, 'layer')}, but {teacher} has only {teacher.layers}; use fewer"
            " layers, or init: random"
        )
    elif spec.init == "uniform" and teacher.layers % spec.layers:
        divisors = _listed(n for n in range(1, teacher.layers + 1) if teacher.layers % n == 0)
        messages.append(
            f"'uniform' takes every k-th layer, but the {teacher.layers} layers of {teacher.name} cannot be divided by"
            f" {spec.layers}; use {divisors} layers, or list the layers: init: [1, ...]"
        )
    if student and student.heads != teacher.heads and (bound := families.BOUND_TO_HEADS.get(teacher.model_type)):
        messages.append(
            f"heads is {student.heads} in the student and {teacher.heads} in {teacher.name}; a {teacher.model_type}"
            f" encoder {bound}, so its layers can be copied only with equal heads"
        )
    messages += [
        f"{number} is {getattr(student, number)} in the student and {getattr(teacher, number)} in {teacher.name}, so"
        " its layers cannot be copied; make them equal, or start from init: random or a checkpoint"
        for number in ("hidden", "ffn")
        if student and getattr(student, number) != getattr(teacher, number)
    ]
    return messages


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(str(number) for number in numbers)
