"""Compare the terms of a method with an oracle: formulas as plain loops, written without the harness.

An oracle is a function of a `Case` that returns the terms by name. Those of methods that keep their formulas with their
tests are in the method's folder, the others in `formulas`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from harness.api.batch import IGNORED, TaskKind
from harness.plugin_host.host import Host
from harness.testing import loss_terms
from harness.testing.term_evaluation import bind
from tests.reference import reading
from tests.reference.formulas import Case
from tests.reference.settings import Setting, batch_of, models

METHODS = Host.create().methods

Oracle = Callable[[Case], dict[str, float]]


def assert_terms_equal(
    setting: Setting,
    kind: TaskKind,
    oracle: Oracle,
    *,
    batch: Mapping[str, Tensor] | None = None,
    families: tuple[str, str] = ("bert", "bert"),
) -> dict[str, float]:
    """The terms equal the oracle's, on the batch as it is and with more padding; returns them."""
    batch = batch_of(kind) if batch is None else batch
    student, teachers = models(setting, kind, families)
    found, expected = both(setting, kind, batch, student, teachers, lambda stage: oracle)
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)
    padded = terms_of(setting, with_more_padding(batch), student, teachers)
    assert padded == pytest.approx(expected, rel=1e-6, abs=1e-12), "padding counts nowhere"
    return found


def both(
    setting: Setting,
    kind: TaskKind,
    batch: Mapping[str, Tensor],
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    oracle: Callable[[str], Oracle],
) -> tuple[dict[str, float], dict[str, float]]:
    """The terms of a method, and what the oracle of the stage says that they are."""
    found, case = evaluate(setting.method, kind, student, teachers, batch, stage=setting.stage, config=setting.config)
    return found, oracle(case.stage)(case)


def terms_of(
    setting: Setting, batch: Mapping[str, Tensor], student: PreTrainedModel, teachers: Sequence[PreTrainedModel]
) -> dict[str, float]:
    """The terms of a method alone. What an oracle reads, and its loops, take most of the time."""
    terms = loss_terms(
        METHODS[setting.method],
        student=student,
        teachers=teachers,
        batch=batch,
        stage=setting.stage,
        config=setting.config,
    )
    return {name: term.item() for name, term in terms.items()}


def evaluate(
    name: str,
    kind: TaskKind,
    student: PreTrainedModel,
    teachers: Sequence[PreTrainedModel],
    batch: Mapping[str, Tensor],
    *,
    stage: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> tuple[dict[str, float], Case]:
    """The terms of a method, and the case that they were computed from."""
    cls = METHODS[name]
    options = cls.Config.model_validate(config or {})
    terms = loss_terms(cls, student=student, teachers=teachers, batch=batch, stage=stage, config=config)
    linear = {name: each for name, each in terms.step.modules.items() if isinstance(each, nn.Linear)}
    case = Case(
        kind,
        reading.read(student, batch),
        [reading.read(teacher, batch) for teacher in teachers],
        reading.labels(batch, kind),
        options.model_dump(),
        {name: each.weight.double().tolist() for name, each in linear.items()},
        bind(cls, options, kind, student, teachers).notes().get("layer_map", []),
        {name: each.bias.double().tolist() for name, each in linear.items() if each.bias is not None},
        terms.step.stage.name,
    )
    return {name: term.item() for name, term in terms.items()}, case


def with_more_padding(batch: Mapping[str, Tensor], columns: int = 3) -> dict[str, Tensor]:
    """The batch with `columns` more tokens of padding."""
    tokens = batch["input_ids"].shape
    fills = {"labels": IGNORED, "word_ids": -1}
    return {
        name: torch.nn.functional.pad(each, (0, columns), value=fills.get(name, 0)) if each.shape == tokens else each
        for name, each in batch.items()
    }
