"""Checks of a method's declarations: its stages, the outputs that they need, and the form of its loss terms."""

from __future__ import annotations

import math
from dataclasses import replace

from harness.api.errors import describe
from harness.api.method import Needs
from harness.testing.label_changes import ignores_class_weights
from harness.testing.method_cases import Case, CheckFailed, CheckNotApplicable, Subject
from harness.testing.recording import RecordingOutputs, Undeclared
from harness.testing.term_evaluation import StepPosition
from harness.testing.tiny_runs import observed
from harness.training.method_results import modules_of

DRAWS = 40
"""Steps, each of another epoch and random seed, that are tried for methods that choose what they read."""


def stages(subject: Subject) -> None:
    """Stage names are unique, and `stages()` returns the same on every call and every instance."""
    for case in subject.cases:
        method, second_instance, planned = case.bind(), case.bind(), case.bind(examples=0)
        expected = list(subject.stages(method))
        names = [stage.name for stage in expected]
        if len(set(names)) < len(names):
            raise CheckFailed(f"duplicate stage name; the stages are named {', '.join(names)}")
        modules_of(method)
        for instance in (method, second_instance):
            if list(subject.stages(instance)) != expected:
                raise CheckFailed(
                    "stages() returned different stages on another call; it may depend on the options, the task, the"
                    " shapes and the seed only"
                )
        if list(subject.stages(planned)) != expected:
            raise CheckFailed("stages() depends on task.examples, which is 0 in planning, where the data are not read")


def needs(subject: Subject) -> None:
    """Every output that is read is declared, and every declared output is read at some step, for some random seed.

    Isolated steps are tried first, over many epochs and random numbers; then those of a run, whose state may decide
    what is read.
    """
    for steps in subject.steps:
        unread = _declared(steps[0].stage.needs)
        for case in steps:
            unread -= _read(case, 0)
        for draw in range(1, DRAWS):
            if unread:
                epochs = StepPosition(draw, DRAWS, float(DRAWS))
                unread -= _read(replace(steps[0], progress=epochs, seed=draw), draw)
        if unread:
            unread -= observed(subject).reads.get(steps[0].stage.name, set())
        if unread:
            raise CheckFailed(f"{steps[0]}: {', '.join(sorted(unread))}: declared and never read")


def _declared(needs: Needs) -> set[str]:
    models = {"student": needs.student} | {f"teacher {i}": names for i, names in enumerate(needs.teachers, start=1)}
    return {f"{name} of {model}" for model, names in models.items() for name in names}


def _read(case: Case, draw: int) -> set[str]:
    """The outputs that are read; `draw` seeds all random numbers."""
    read: set[str] = set()
    try:
        case.evaluate(draws=draw, hook=lambda model, outputs: RecordingOutputs.of(outputs, model, read))
    except Undeclared as error:
        raise CheckFailed(f"{case}: {error.args[0]} is read but not declared") from error
    except Exception as error:
        if _has_terms(case, draw):
            message = f"{case}: {describe(error)}, only while it is recorded which outputs are read"
            raise CheckFailed(f"{message}; read them by attribute and layer, such as student.hidden[1]") from error
        raise CheckNotApplicable(f"{case}: no terms") from error  # the check `terms` reports it
    return read


def _has_terms(case: Case, draw: int) -> bool:
    """Whether the method computes its terms on the case while nothing is recorded."""
    try:
        case.evaluate(draws=draw)
    except Exception:  # an author's code may raise anything; the check `terms` reports what
        return False
    return True


def terms(subject: Subject) -> str:
    """`losses` returns at least one term; all are finite scalars with valid, unique names.

    A remark names terms that read the labels and not the class weights that a task may have.
    """
    for steps in subject.steps:
        for case in steps:
            try:
                values = case.values()
            except KeyError as error:
                if "not declared" in str(error):
                    raise CheckNotApplicable(f"{case}: it reads undeclared outputs") from error
                raise CheckFailed(f"{case}: {describe(error)}") from error
            for name, value in values.items():
                if not math.isfinite(value):
                    raise CheckFailed(f"{case}: {name} is {value}")
    unweighted = {name: None for case in subject.cases for name in case.values() if ignores_class_weights(case, name)}
    remedy = "task_loss or weights of its own would count them"
    return f"{', '.join(unweighted)}: labels without batch.class_weights; {remedy}" if unweighted else ""
