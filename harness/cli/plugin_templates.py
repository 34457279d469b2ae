"""The files of a new plugin, with ``@NAME@``, ``@CLASS@``, ``@MODULE@`` and ``@PROJECT@`` in place of its names."""

from __future__ import annotations

METHOD = '''"""@NAME@: a knowledge-distillation method for kd-harness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step, hookimpl
from harness.api.losses import soft_target_loss, task_loss

harness_api = "1"


class @CLASS@(Method):
    """Compares logits with the teacher's; the place to begin for losses of your own."""

    name = "@NAME@"
    summary = "soft targets from the teacher's logits, and the labels"

    class Config(MethodConfig):
        """Options of @NAME@."""

        temperature: float = Field(2.0, gt=0, description="temperature of the soft targets")
        alpha: Annotated[float, Search(0.1, 10, log=True)] = Field(1.0, ge=0, description="weight of the soft targets")

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits"], teachers=[["logits"]]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        return {
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
            "task": task_loss(student.logits, batch),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"kd": self.config.alpha}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(@CLASS@)
'''

METHOD_TEST = '''"""Conformance of @NAME@ on every kind of task, and the value of its loss."""

from pathlib import Path

import pytest

from harness.testing import check_method, load_plugin, loss_terms, tiny_batch, tiny_model

METHOD = load_plugin(@PLUGIN@).methods["@NAME@"]


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "token_classification", "qa"])
def test_conformance(kind):
    conformance = check_method(METHOD, kinds=[kind])
    assert conformance.ok, str(conformance)


def test_a_student_that_equals_its_teacher_learns_nothing_from_it():
    model = tiny_model()
    terms = loss_terms(METHOD, student=model, teachers=[model], batch=tiny_batch("classification"))
    assert terms["kd"].item() == pytest.approx(0, abs=1e-6)
    assert terms["task"].item() > 0
'''

METHOD_README = """# @NAME@

A knowledge-distillation method for kd-harness.

## Losses

`kd`: KL divergence from the teacher's soft targets, times the squared temperature. `task`: the loss of the labels. The
total is `alpha * kd + task`.

## Options

| option | default | meaning |
|---|---|---|
| `temperature` | 2 | temperature of the soft targets |
| `alpha` | 1 | weight of the soft targets |

## Use

@USE@
"""

TASK = '''"""@NAME@: a task for kd-harness, on the files beside this one."""

from __future__ import annotations

from collections.abc import Callable

from harness import hookimpl, tabular_task
from harness.api.task import Task

harness_api = "1"


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    register(
        tabular_task(
            "@NAME@",
            folder=__file__,
            kind="classification",
            train="train.csv",
            validation="validation.csv",
            text="text",
            label="label",
            labels={0: "negative", 1: "positive"},
            metrics=["accuracy", "f1"],
        )
    )
'''

TASK_TEST = '''"""The data of @NAME@."""

from harness.testing import load_plugin

TASK = load_plugin(@PLUGIN@).tasks["@NAME@"]


def test_the_splits_have_examples_of_both_classes():
    splits = TASK.load(None)
    assert set(splits.train["label"]) == set(splits.validation["validation"]["label"]) == {0, 1}
    assert TASK.labels == ("negative", "positive")
'''

TASK_README = """# @NAME@

A task for kd-harness: `train.csv` and `validation.csv` have a column `text` and a column `label`, 0 or 1. Replace the
examples with yours; docs/your-data.md describes all keys of `tabular_task`.

## Use

@USE@
"""

_POSITIVE = (
    "a warm and funny film",
    "the best book of the year",
    "great acting and a good story",
    "i loved every page",
)
_NEGATIVE = ("a slow and boring film", "the worst book of the year", "bad acting", "i hated every page")


def examples(count: int, first: int = 0) -> str:
    """CSV rows of reviews, alternately negative and positive."""
    rows = [
        f"{texts[(first + i) % len(texts)]} ({first + i}),{label}"
        for i in range(count)
        for label, texts in enumerate((_NEGATIVE, _POSITIVE))
    ]
    return "\n".join(["text,label", *rows, ""])


PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "@PROJECT@"
version = "0.1.0"
description = "A plugin for kd-harness"
requires-python = ">=3.11"
dependencies = ["kd-harness"]

[project.entry-points.harness]
@MODULE@ = "@MODULE@"

[tool.setuptools]
packages = ["@MODULE@"]

[tool.setuptools.package-data]
"@MODULE@" = ["*.csv"]

[tool.pytest.ini_options]
addopts = "--import-mode=importlib"
"""
