"""Checks of what a term teaches, and whom: the student, never the teacher, and nothing where both agree."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from harness.api.batch import NOT_MASKED, Batch
from harness.api.errors import UserError
from harness.api.model_outputs import ModelOutputs
from harness.testing.method_cases import (
    BEGINNING,
    CLASSES,
    LATER,
    Case,
    CheckFailed,
    NotApplicable,
    Sizes,
    Subject,
    model,
    size,
)

STRANGER = 20
"""Seed of a teacher that the student is not."""

AT_REST = 1e-3
"""Of a term's value, or of its gradient, what may be left of it where student and teacher are the same."""


def gradients(subject: Subject) -> None:
    """Every term reaches parameters of the student at some step, with finite gradients at all."""
    for case in subject.cases:
        silent: set[str] | None = None
        for at in (BEGINNING, *LATER):
            terms = replace(case, at=at).compute().terms
            sizes = {name: size(case.gradients(term)) for name, term in terms.items()}
            for name, found in sizes.items():
                if not math.isfinite(found):
                    raise CheckFailed(f"{case}: the gradient of {name} is not finite")
            quiet = {name for name, found in sizes.items() if found == 0}
            silent = quiet if silent is None else silent & quiet
        if silent:
            raise CheckFailed(f"{case}: {', '.join(sorted(silent))}: no gradient reaches a parameter of the student")


def teacher_frozen(subject: Subject) -> None:
    """No term changes what the teacher or the batch holds, and none has a gradient for the teacher's parameters."""
    for case in subject.steps:
        parameters = [each for teacher in case.teachers for each in teacher.model.parameters()]
        before = [parameter.detach().clone() for parameter in parameters]
        shared = [("the batch", tensor, tensor._version) for tensor in case.batch.tensors()]
        terms = case.compute(show=partial(_note, shared)).terms
        total = torch.stack([term.reshape(()) for term in terms.values()]).sum()
        for whose, tensor, version in shared:
            if tensor._version != version:
                raise CheckFailed(f"{case}: a tensor of {whose}, which other runs share, was changed in place")
        if parameters and total.requires_grad:
            reached = torch.autograd.grad(total, parameters, allow_unused=True)
            if any(gradient is not None for gradient in reached):
                raise CheckFailed(f"{case}: a gradient reaches the teacher's parameters")
        if not all(torch.equal(old, new) for old, new in zip(before, parameters, strict=True)):
            raise CheckFailed(f"{case}: the teacher's parameters have changed")


def _note(shared: list[tuple[str, Tensor, int]], who: str, tensors: ModelOutputs) -> ModelOutputs:
    """Torch counts the changes in place of every tensor."""
    if who != "student":
        shared += [(who, tensor, tensor._version) for tensor in tensors.tensors()]
    return tensors


@dataclass(frozen=True)
class _Pull:
    """A term's value, the size of its gradient for the student, and whether it goes through learnt parameters that do
    not begin as the identity."""

    value: float
    gradient: float
    mapped: bool


def identity(subject: Subject) -> str:
    """Where the student is its teacher, a term that compares them has no gradient left: there is nothing to learn.

    That holds for squared errors, divergences, cosines and cross-entropies with the teacher's predictions alike. It is
    asked of terms that another teacher would change, at one step of the stage at least, and of none in which something
    else may have a part: labels, the other examples of a batch, random numbers, or learnt modules that do not begin as
    the identity.
    """
    resting: set[str] = set()
    excused: dict[str, str] = {}
    for case in _twins(subject):
        seen = [_compared(replace(case, at=at)) for at in (BEGINNING, *LATER)]
        for name in dict.fromkeys(name for terms in seen for name in terms):
            left = [terms[name] for terms in seen if name in terms]
            if None in left:
                resting.add(name)
            elif reason := _excuse(case, name):
                excused[name] = reason
            else:
                raise CheckFailed(f"{case}: where the student is its teacher, {name} {left[0]}")
    told = [f"{name} {reason}" for name, reason in excused.items()]
    if not resting:
        raise NotApplicable("; ".join(told) or "no term compares with a teacher")
    return "; ".join([f"at rest: {', '.join(sorted(resting))}", *told])


def _twins(subject: Subject) -> list[Case]:
    """Cases in which student and teachers are one model. Of one layer where the method takes that, so that every way to
    map layers is the identity."""
    for layers in (1, *(sizes.layers for sizes in subject.sizes)):
        sizes = Sizes(layers)
        try:
            found = subject.on(sizes, sizes, twins=True)
        except UserError:
            continue
        return [case for case in found if case.teachers]
    raise NotApplicable("it refuses a student that is like its teacher")


def _compared(twin: Case) -> dict[str, str | None]:
    """Of the terms that another teacher changes: what is left of them, or None for one that is at rest."""
    stranger = model(twin.batch.kind, Sizes(twin.bound().student.layers), STRANGER)
    pulls, strange = _pulls(twin), _pulls(replace(twin, teachers=(stranger,) * len(twin.teachers)))
    both = pulls.keys() & strange.keys()
    return {name: _left(pulls[name], strange[name]) for name in pulls if name in both and pulls[name] != strange[name]}


def _pulls(case: Case) -> dict[str, _Pull]:
    computed = case.compute()
    learnt = [each for each in computed.modules.parameters() if not _is_identity(each)]

    def mapped(term: Tensor) -> bool:
        if not learnt or not term.requires_grad:
            return False
        found = torch.autograd.grad(term, learnt, retain_graph=True, allow_unused=True)
        return any(gradient is not None for gradient in found)

    return {name: _Pull(t.item(), size(case.gradients(t)), mapped(t)) for name, t in computed.terms.items()}


def _is_identity(parameter: Tensor) -> bool:
    square = parameter.ndim == 2 and len(set(parameter.shape)) == 1
    return square and torch.equal(parameter, torch.eye(len(parameter)))


def _left(pull: _Pull, strange: _Pull) -> str | None:
    if not math.isfinite(pull.gradient):
        return "has a gradient that is not finite"
    if abs(pull.value) <= AT_REST * abs(strange.value) or pull.gradient <= AT_REST * strange.gradient:
        return None
    return (
        f"is {pull.value:.3g} with a gradient of {pull.gradient:.3g} (with another teacher {strange.value:.3g} and"
        f" {strange.gradient:.3g})"
    )


def _excuse(case: Case, name: str) -> str | None:
    """What else has a part in a term, if something has."""
    if name in case.stage.batch_dependent:
        return "compares the examples of a batch"
    if name in case.random:
        return "draws random numbers"
    if replace(case, batch=_with_other_labels(case.batch)).values().get(name) != case.values()[name]:
        return "reads the labels"
    return "goes through learnt modules" if _pulls(case)[name].mapped else None


def _with_other_labels(batch: Batch) -> Batch:
    labels = batch.labels
    others = {
        "classification": lambda: (labels + 1) % CLASSES,
        "regression": lambda: labels + 1,
        "qa": lambda: torch.zeros_like(labels),
        "text": lambda: torch.where(labels == NOT_MASKED, labels, labels - 1),
    }
    return replace(batch, labels=others[batch.kind]())
