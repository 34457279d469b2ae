"""The model outputs that a method reads at one step, which must be among those that its stage declares."""

from __future__ import annotations

from harness.api.method import Method, Needs, Step


def needs_at(method: Method, step: Step) -> Needs:
    """The outputs of `method.needs` at a step, with an entry for each teacher of the stage.

    Raises:
        ValueError: an output is not declared in the stage's `Needs`.
    """
    declared, needs = step.stage.needs, method.needs(step)
    if needs is declared:
        return needs
    teachers = needs.teachers or (frozenset(),) * len(declared.teachers)
    if len(teachers) != len(declared.teachers):
        raise ValueError(
            f"needs() returned outputs of {len(teachers)} teachers; stage {step.stage.name!r} declares"
            f" {len(declared.teachers)}"
        )
    models = [("the student", needs.student, declared.student)]
    models += [
        (f"teacher {i}", names, allowed)
        for i, (names, allowed) in enumerate(zip(teachers, declared.teachers, strict=True), 1)
    ]
    for model, names, allowed in models:
        if undeclared := ", ".join(sorted(names - allowed)):
            raise ValueError(
                f"needs() returned {undeclared} of {model}, which stage {step.stage.name!r} does not declare; add it to"
                " the Needs of the stage"
            )
    return Needs(needs.student, teachers)
