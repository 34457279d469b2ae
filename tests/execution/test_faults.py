"""A plugin that fails at its third step: only its run fails, and the other runs stay bit-identical."""

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from harness.cli import app

PLUGIN = '''
"""A method that learns from the labels, until its third step."""

from typing import Literal

import torch
from pydantic import Field

from harness import Method, MethodConfig, Needs, Stage, hookimpl
from harness.api.losses import task_loss


class FaultyConfig(MethodConfig):
    """How it fails."""

    by: Literal["exception", "nan", "memory"] = Field("exception", description="what it fails by")
    batch_dependent: bool = Field(False, description="whether its term compares examples")


class Faulty(Method):
    """Fails on purpose."""

    name = "faulty"
    Config = FaultyConfig

    def stages(self):
        terms = frozenset({"task"}) if self.config.batch_dependent else frozenset()
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]), batch_dependent=terms)]

    def losses(self, step, batch, student, teachers):
        loss = task_loss(student.logits, batch)
        if step.index != 2:
            return {"task": loss}
        if self.config.by == "exception":
            raise ZeroDivisionError("on purpose")
        if self.config.by == "memory":
            torch.empty(1 << 50)
        return {"task": loss * float("nan")}


@hookimpl
def harness_register_methods(register):
    register(Faulty)
'''

FAULTS = [
    {"label": "exception", "by": "exception"},
    {"label": "nan", "by": "nan"},
    {"label": "memory", "by": "memory"},
    {"label": "memory-whole", "by": "memory", "batch_dependent": True},
]
SOUND = ["finetune", "tinybert", "mlkd_bert"]
WORDS = {
    "exception": "step 3 (only): ZeroDivisionError: on purpose",
    "nan": "NonFiniteLoss",
    "memory": "memory does not suffice for one example of a batch",
    "memory-whole": "memory does not suffice for 16 examples, which task compare with each other",
}


@pytest.fixture
def suite(small):
    """The suite with faulty methods in addition to working ones."""
    (small.folder / "faulty.py").write_text(PLUGIN, encoding="utf-8")

    def write(methods):
        content = yaml.safe_load(small.path.read_text(encoding="utf-8"))
        content |= {"plugins": ["order.py", "faulty.py"], "methods": methods, "seeds": [1]}
        small.path.write_text(yaml.safe_dump(content), encoding="utf-8")

    small.write = write
    return small


def results(store):
    """Label -> the complete results of the runs of working methods."""
    outcomes = {}
    for record in store.records():
        if record.label in SOUND:
            assert record.status == "completed"
            predictions = pd.read_parquet(store.run_folder(record.key) / "predictions.parquet")
            weights = (store.run_folder(record.key) / "student" / "model.safetensors").read_bytes()
            terms = [point.terms for point in record.losses]
            outcomes[record.label] = (
                record.key,
                record.metrics,
                terms,
                predictions.to_json(double_precision=15),
                weights,
            )
    return outcomes


def test_a_fault_fails_only_its_own_run(suite):
    suite.write(SOUND)
    suite.run()
    expected = results(suite.store())
    for key, *_ in expected.values():
        (suite.store().run_folder(key) / "record.json").unlink()
    suite.write([{"faulty": FAULTS[0]}, SOUND[0], *({"faulty": fault} for fault in FAULTS[1:]), *SOUND[1:]])
    outcome = suite.run()
    assert {record.label for record in outcome.failed} == set(WORDS)
    for record in outcome.failed:
        assert record.status == "failed"
        assert WORDS[record.label] in record.error
        assert record.score is None
        assert record.cost.steps >= 2 if record.label == "nan" else record.cost.steps == 2
        assert not suite.store().checkpoint(record.key).exists()
    assert results(suite.store()) == expected
    assert {r.label for r in suite.store().records() if r.status == "failed"} == set(WORDS)


def test_a_suite_with_a_failed_run_ends_with_1(suite):
    suite.write(["finetune", {"faulty": FAULTS[2]}])
    done = CliRunner().invoke(app.app, ["run", str(suite.path), "--results", str(suite.folder / "results")])
    assert done.exit_code == 1, done.output
    assert "memory does not suffice" in done.output
    assert {r.label: r.status for r in suite.store().records()} == {"finetune": "completed", "memory": "failed"}
