"""Checks of gradients: they reach the student, never the teacher, and vanish where student and teacher are equal."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from harness.api.errors import UserError
from harness.api.model_outputs import ModelOutputs
from harness.testing.label_changes import reads_labels
from harness.testing.later_cases import cases_over_time
from harness.testing.method_cases import (
    LATER_STEPS,
    Case,
    CheckFailed,
    CheckNotApplicable,
    Sizes,
    Subject,
    gradient_norm,
    random_model,
)
from harness.testing.tiny_runs import RunFactory, RunWatch, observed, run_factory

OTHER_TEACHER_SEED = 20
"""Seed of a teacher whose weights differ from the student's."""

IDENTICAL_STEPS = 2
"""Steps of each stage of the run that starts from a student that equals its teacher."""

ZERO_TOLERANCE = 1e-3
"""A value or gradient counts as zero below this share of what it is with another teacher."""


def gradients(subject: Subject) -> None:
    """Every term has a gradient for parameters of the student at some step, and finite gradients at all steps.

    Isolated steps are tried first, then those of a run of several epochs: without dropout, or before there is state, a
    correct term may have no gradient.
    """
    for steps in subject.steps:
        _check_module_terms(steps)
        missing = _without_gradient(steps[0]) - steps[0].stage.module_terms
        for case in steps[1:]:
            if missing:  # a term that has no gradient may be missing at other steps
                missing &= _without_gradient(case)
        if missing:
            seen = observed(subject)
            missing -= seen.with_gradient.get(steps[0].stage.name, set())
            if missing:
                failed = f" (a short run failed: {seen.error})" if seen.error else ""
                listed = ", ".join(sorted(missing))
                raise CheckFailed(f"{steps[0]}: {listed}: no gradient reaches a parameter of the student{failed}")


def _check_module_terms(steps: Sequence[Case]) -> None:
    """The terms that a stage declares as terms of the modules have a gradient for these at some step."""
    missing = set(steps[0].stage.module_terms)
    for case in steps if missing else ():
        evaluated = case.evaluate()
        parameters = [*evaluated.step.modules.parameters()]
        for name in missing & evaluated.terms.keys():
            found = torch.autograd.grad(evaluated.terms[name], parameters, retain_graph=True, allow_unused=True)
            if gradient_norm([gradient for gradient in found if gradient is not None]) > 0:
                missing = missing - {name}
    if missing:
        listed = ", ".join(sorted(missing))
        raise CheckFailed(f"{steps[0]}: {listed}: declared in module_terms, but no gradient reaches a module")


def _without_gradient(case: Case) -> set[str]:
    """Names of the terms without a gradient for the student. Raises `CheckFailed` if a gradient is not finite."""
    norms = {name: gradient_norm(case.gradients(term)) for name, term in case.evaluate().terms.items()}
    for name, norm in norms.items():
        if not math.isfinite(norm):
            raise CheckFailed(f"{case}: the gradient of {name} is not finite")
    return {name for name, norm in norms.items() if norm == 0}


def teacher_frozen(subject: Subject) -> None:
    """No term changes teacher outputs or the batch in place, or has a gradient for the teacher's parameters."""
    for case in cases_over_time(subject):
        parameters = [parameter for teacher in case.teachers for parameter in teacher.model.parameters()]
        before = [parameter.detach().clone() for parameter in parameters]
        shared = [("the batch", tensor, tensor._version) for tensor in case.batch.tensors()]
        terms = case.evaluate(hook=partial(_record_versions, shared)).terms
        total = torch.stack([term.reshape(()) for term in terms.values()]).sum()
        for owner, tensor, version in shared:
            if tensor._version != version:
                raise CheckFailed(f"{case}: a tensor of {owner}, which other runs share, was changed in place")
        if parameters and total.requires_grad:
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            if any(gradient is not None for gradient in gradients):
                raise CheckFailed(f"{case}: a gradient reaches the teacher's parameters")
        if not all(torch.equal(old, new) for old, new in zip(before, parameters, strict=True)):
            raise CheckFailed(f"{case}: the teacher's parameters have changed")


def _record_versions(shared: list[tuple[str, Tensor, int]], model: str, outputs: ModelOutputs) -> ModelOutputs:
    """Record the version of every teacher tensor, which torch increments on each in-place change."""
    if model != "student":
        shared += [(model, tensor, tensor._version) for tensor in outputs.tensors()]
    return outputs


@dataclass(frozen=True)
class _TermGradient:
    """A term's value, the norm of its gradient for the student, and whether it depends on trainable parameters of the
    method that are not initialized to the identity."""

    value: float
    gradient: float
    through_modules: bool


def identity(subject: Subject) -> str:
    """If the student equals its teacher, terms that compare the two are zero or have no gradient.

    This holds for squared errors, divergences, cosine distances and cross-entropies with the teacher's predictions. It
    is required of terms that depend on the teacher, at one step of the stage at least. Exempt are terms that also
    depend on labels, on other examples of the batch, on random numbers, or on trainable modules that are not
    initialized to the identity.
    """
    zero_terms: set[str] = set()
    exempt: dict[str, str] = {}
    cases = _identical_cases(subject)
    for case in cases:
        for name, messages in _by_term(case).items():
            if None in messages:
                zero_terms.add(name)
            elif reason := _exemption(case, name):
                exempt[name] = reason
            else:
                raise CheckFailed(f"{case}: where the student equals its teacher, {name} {messages[0]}")
    if cases:
        _require_finite_run(subject, cases[0])
    exemptions = [f"{name} {reason}" for name, reason in exempt.items()]
    if not zero_terms:
        raise CheckNotApplicable("; ".join(exemptions) or "no term compares with a teacher")
    return "; ".join([f"zero: {', '.join(sorted(zero_terms))}", *exemptions, *_mapping_remarks(subject, zero_terms)])


def _by_term(case: Case) -> dict[str, list[str | None]]:
    """For each term that depends on the teacher: what `_nonzero` says of it at each step at which it is a term."""
    by_step = [_nonzero(case)]
    if any(by_step[0].values()) or any(later.drawn.keys() != case.drawn.keys() for later in _later(case)):
        by_step += [_nonzero(later) for later in _later(case)]
    names = dict.fromkeys(name for terms in by_step for name in terms)
    return {name: [terms[name] for terms in by_step if name in terms] for name in names}


def _mapping_remarks(subject: Subject, zero_terms: Collection[str]) -> list[str]:
    """Remarks on terms that are zero for models of one layer, and not for equal models of two.

    With one layer every mapping is the identity. A mapping of two layers to others may be meant, so this is no failure.
    """
    sizes = Sizes(2)
    try:
        cases = [case for case in subject.cases_for(sizes, sizes, same_model=True) if case.teachers]
    except UserError:
        return []
    found = {
        name: None
        for case in cases
        for name, messages in _by_term(case).items()
        if name in zero_terms and None not in messages and not _exemption(case, name)
    }
    return [f"{name} is not zero with two layers: is its layer mapping meant?" for name in found]


def _later(case: Case) -> list[Case]:
    return [replace(case, progress=progress) for progress in LATER_STEPS]


def _require_finite_run(subject: Subject, case: Case) -> None:
    """Train a student that equals its teacher, without dropout: all weights must stay finite."""
    usual = run_factory(subject)
    if usual.finished.error or usual.watch.not_finite:
        return  # the check `training` reports it
    factory = RunFactory(subject, identical=Sizes(case.bind().student.layers))
    watch = RunWatch()
    factory.train(factory.run(seed=1, watch=watch, steps=IDENTICAL_STEPS))
    if watch.not_finite:
        raise CheckFailed(f"where training starts from a student that equals its teacher: {watch.not_finite}")


def _identical_cases(subject: Subject) -> list[Case]:
    """Cases in which the student and all teachers are one model: of one layer if the method accepts that, so that every
    layer mapping is the identity."""
    for layers in (1, *(sizes.layers for sizes in subject.sizes)):
        sizes = Sizes(layers)
        try:
            cases = subject.cases_for(sizes, sizes, same_model=True)
        except UserError:
            continue
        return [case for case in cases if case.teachers]
    raise CheckNotApplicable("it refuses a student of its teacher's sizes")


def _nonzero(identical: Case) -> dict[str, str | None]:
    """For each term that depends on the teacher: how it differs from zero, or None if it is zero."""
    other_teacher = random_model(identical.batch.kind, Sizes(identical.bind().student.layers), OTHER_TEACHER_SEED)
    terms = _term_gradients(identical)
    other_terms = _term_gradients(replace(identical, teachers=(other_teacher,) * len(identical.teachers)))
    return {
        name: _describe_nonzero(terms[name], other_terms[name])
        for name in terms
        if name in other_terms and terms[name] != other_terms[name]
    }


def _term_gradients(case: Case) -> dict[str, _TermGradient]:
    """What each term is. Raises `CheckFailed` if a gradient is not finite."""
    evaluated = case.evaluate()
    parameters = [parameter for parameter in evaluated.modules.parameters() if not _is_identity(parameter)]

    def through_modules(term: Tensor) -> bool:
        if not parameters or not term.requires_grad:
            return False
        gradients = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
        return any(gradient is not None for gradient in gradients)

    found = {
        name: _TermGradient(term.item(), gradient_norm(case.gradients(term)), through_modules(term))
        for name, term in evaluated.terms.items()
    }
    for name, term in found.items():
        if not math.isfinite(term.gradient):
            where = "where the student equals its teacher, "
            raise CheckFailed(f"{case}: {where}{name} has a gradient that is not finite")
    return found


def _is_identity(parameter: Tensor) -> bool:
    square = parameter.ndim == 2 and len(set(parameter.shape)) == 1
    return square and torch.equal(parameter, torch.eye(len(parameter)))


def _describe_nonzero(term: _TermGradient, with_other_teacher: _TermGradient) -> str | None:
    small_value = abs(term.value) <= ZERO_TOLERANCE * abs(with_other_teacher.value)
    if small_value or term.gradient <= ZERO_TOLERANCE * with_other_teacher.gradient:
        return None
    return (
        f"is {term.value:.3g} with gradient norm {term.gradient:.3g} (with another teacher"
        f" {with_other_teacher.value:.3g} and {with_other_teacher.gradient:.3g})"
    )


def _exemption(case: Case, name: str) -> str | None:
    """Why a term need not be zero where student and teacher are equal; None if it has to be."""
    if name in case.stage.batch_dependent:
        return "compares the examples of a batch"
    if name in case.random:
        return "draws random numbers"
    if reads_labels(case, name):
        return "reads the labels"
    return "depends on trained modules" if _term_gradients(case)[name].through_modules else None
