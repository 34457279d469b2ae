"""Checks that loss terms are invariant to padding, to the order and split of a batch, and to half precision."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch.nn.functional import pad

from harness.api.batch import IGNORED, TOKEN_LABELS, Batch
from harness.testing.later_cases import cases_over_time
from harness.testing.method_cases import (
    Case,
    CheckFailed,
    Subject,
    check_cases,
    deterministic_terms,
    expect_equal_terms,
    gradient_norm,
)
from harness.testing.tiny_models import PAD

EXTRA_PADDING = 5
"""Columns of padding to add."""

ORDER = [2, 0, 3, 1]
PARTS = (slice(0, 1), slice(1, 4))

ROUNDING = {"rel": 1e-3, "least": 1e-5}
"""Tolerance for float32 rounding. A broken invariance shows in the first digit or two."""

HALF_ROUNDING = {"rel": 0.1, "least": 1e-3}
"""Tolerance for bfloat16 rounding, which is a few per cent after some layers (of the shipped methods at most 5 %). The
least is for terms that are zero but for rounding."""

ALL_RANDOM = "every term draws random numbers"


def padding(subject: Subject) -> None:
    """More padding changes no term."""

    def check(case: Case) -> bool:
        terms = deterministic_terms(case, case.values())
        padded = replace(case, batch=add_padding(case.batch, EXTRA_PADDING))
        actual = deterministic_terms(case, padded.values())
        expect_equal_terms(case, terms, actual, f"with {EXTRA_PADDING} more columns of padding", **ROUNDING)
        return bool(terms)

    check_cases(cases_over_time(subject), check, ALL_RANDOM)


def add_padding(batch: Batch, more: int) -> Batch:
    """The batch with `more` columns of padding appended."""
    fills = {"input_ids": PAD}
    inputs = {name: pad(tensor, (0, more), value=fills.get(name, 0)) for name, tensor in batch.inputs.items()}
    return replace(
        batch,
        inputs=inputs,
        labels=pad(batch.labels, (0, more), value=IGNORED) if batch.kind in TOKEN_LABELS else batch.labels,
        answer_mask=None if batch.answer_mask is None else pad(batch.answer_mask, (0, more)),
        word_ids=None if batch.word_ids is None else pad(batch.word_ids, (0, more), value=-1),
    )


def order(subject: Subject) -> None:
    """The order of a batch's examples changes no term."""

    def check(case: Case) -> bool:
        terms = deterministic_terms(case, case.values())
        shuffled = replace(case, batch=reorder(case.batch, ORDER))
        actual = deterministic_terms(case, shuffled.values())
        expect_equal_terms(case, terms, actual, "with its examples in another order", **ROUNDING)
        return bool(terms)

    check_cases(cases_over_time(subject), check, ALL_RANDOM)


def reorder(batch: Batch, rows: list[int]) -> Batch:
    """The batch with its examples in the order `rows`."""
    return replace(
        batch,
        ids=tuple(batch.ids[row] for row in rows),
        rows=tuple(batch.rows[row] for row in rows),
        inputs={name: tensor[rows] for name, tensor in batch.inputs.items()},
        labels=batch.labels[rows],
        answer_mask=None if batch.answer_mask is None else batch.answer_mask[rows],
        word_ids=None if batch.word_ids is None else batch.word_ids[rows],
    )


def examples(subject: Subject) -> None:
    """A term that is not declared `batch_dependent` is a mean over examples: the weighted mean over parts of a batch
    equals the term of the batch."""

    def check(case: Case) -> bool:
        batch_dependent = case.stage.batch_dependent
        terms = deterministic_terms(case, case.values(), exclude=batch_dependent)
        parts = [case.batch.part(rows) for rows in PARTS]
        shares = [len(part.ids) / len(case.batch.ids) for part in parts]
        of_parts = [
            deterministic_terms(case, replace(case, batch=part).values(), exclude=batch_dependent) for part in parts
        ]
        if any(part.keys() != terms.keys() for part in of_parts):
            raise CheckFailed(f"{case}: the batch has the terms {', '.join(terms)}, but a part of it has other terms")
        mean = {name: sum(s * part[name] for s, part in zip(shares, of_parts, strict=True)) for name in terms}
        expect_equal_terms(case, terms, mean, "as the mean over the batch's parts", **ROUNDING)
        return bool(terms)

    check_cases(cases_over_time(subject), check, "every term is declared batch_dependent or draws random numbers")


def half_precision(subject: Subject) -> None:
    """Under bfloat16 autocast, terms are close to those in float32 and their gradients are finite."""
    for case in cases_over_time(subject):
        terms = deterministic_terms(case, case.values())
        with torch.autocast("cpu", torch.bfloat16):
            halved = case.evaluate().terms
        for name, term in halved.items():
            if not math.isfinite(term.item()):
                raise CheckFailed(f"{case}: {name} is {term.item()} in bfloat16")
            if not math.isfinite(gradient_norm(case.gradients(term))):
                raise CheckFailed(f"{case}: the gradient of {name} is not finite in bfloat16")
        half = deterministic_terms(case, {name: term.item() for name, term in halved.items()})
        expect_equal_terms(case, terms, half, "in bfloat16", **HALF_ROUNDING)
