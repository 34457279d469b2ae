"""Checks of what must not change a term: padding, order, the batch that an example sits in, half precision."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch.nn.functional import pad

from harness.api.batch import NOT_MASKED, Batch
from harness.testing.method_cases import Case, CheckFailed, Subject, compare, held, size, steady
from harness.testing.tiny_models import PAD

MORE = 5
"""Columns of padding that are added."""

ORDER = [2, 0, 3, 1]
PARTS = (slice(0, 1), slice(1, 4))

ROUNDING = {"rel": 1e-3, "least": 1e-5}
"""By how much float32 may have terms differ that are equal. What breaks a law shows in the first digit or two."""

HALF_ROUNDING = {"rel": 0.1, "least": 0.05}
"""Likewise bfloat16, which has three digits less: a few per cent after some layers."""

DRAWN = "every term draws random numbers"


def padding(subject: Subject) -> None:
    """More padding changes no term."""

    def hold(case: Case) -> bool:
        terms = steady(case, case.values())
        padded = replace(case, batch=padded_further(case.batch, MORE))
        compare(case, terms, steady(case, padded.values()), f"with {MORE} more columns of padding", **ROUNDING)
        return bool(terms)

    held(subject.steps, hold, DRAWN)


def padded_further(batch: Batch, more: int) -> Batch:
    """The same examples with more padding behind them."""
    fills = {"input_ids": PAD}
    inputs = {name: pad(tensor, (0, more), value=fills.get(name, 0)) for name, tensor in batch.inputs.items()}
    return replace(
        batch,
        inputs=inputs,
        labels=pad(batch.labels, (0, more), value=NOT_MASKED) if batch.kind == "text" else batch.labels,
        answer_mask=None if batch.answer_mask is None else pad(batch.answer_mask, (0, more)),
        word_ids=None if batch.word_ids is None else pad(batch.word_ids, (0, more), value=-1),
    )


def order(subject: Subject) -> None:
    """The order of a batch's examples changes no term."""

    def hold(case: Case) -> bool:
        terms = steady(case, case.values())
        shuffled = replace(case, batch=in_order(case.batch, ORDER))
        compare(case, terms, steady(case, shuffled.values()), "with its examples in another order", **ROUNDING)
        return bool(terms)

    held(subject.steps, hold, DRAWN)


def in_order(batch: Batch, rows: list[int]) -> Batch:
    """The same examples in another order."""
    return replace(
        batch,
        ids=tuple(batch.ids[row] for row in rows),
        inputs={name: tensor[rows] for name, tensor in batch.inputs.items()},
        labels=batch.labels[rows],
        answer_mask=None if batch.answer_mask is None else batch.answer_mask[rows],
        word_ids=None if batch.word_ids is None else batch.word_ids[rows],
    )


def examples(subject: Subject) -> None:
    """A term that is not declared `batch_dependent` is the mean over its examples: parts of a batch, weighted by their
    shares of it, give the whole."""

    def hold(case: Case) -> bool:
        batch_dependent = case.stage.batch_dependent
        terms = steady(case, case.values(), but=batch_dependent)
        parts = [case.batch.part(rows) for rows in PARTS]
        shares = [len(part.ids) / len(case.batch.ids) for part in parts]
        found = [steady(case, replace(case, batch=part).values(), but=batch_dependent) for part in parts]
        if any(each.keys() != terms.keys() for each in found):
            raise CheckFailed(f"{case}: a batch has the terms {', '.join(terms)}, and not every part of it has these")
        mean = {name: sum(s * each[name] for s, each in zip(shares, found, strict=True)) for name in terms}
        compare(case, terms, mean, "as the mean over the batch's parts", **ROUNDING)
        return bool(terms)

    held(subject.steps, hold, "every term is declared batch_dependent, or draws random numbers")


def half_precision(subject: Subject) -> None:
    """Under bfloat16's autocast terms come near those of float32, and their gradients are finite."""
    for case in subject.steps:
        terms = steady(case, case.values())
        with torch.autocast("cpu", torch.bfloat16):
            halved = case.compute().terms
        for name, term in halved.items():
            if not math.isfinite(term.item()):
                raise CheckFailed(f"{case}: {name} is {term.item()} in bfloat16")
            if not math.isfinite(size(case.gradients(term))):
                raise CheckFailed(f"{case}: {name} has a gradient in bfloat16 that is not finite")
        half = steady(case, {name: term.item() for name, term in halved.items()})
        compare(case, terms, half, "in bfloat16", **HALF_ROUNDING)
