"""NaN weights or outputs end as a failed run, teacher or text stage, never as a score."""

import re

import pytest
import torch
import yaml
from typer.testing import CliRunner

from harness.cli import app
from harness.training import finetuning
from harness.training.text_distillation import TextStageMethod

PLUGIN = '''
"""A method whose loss is finite, and whose gradients are NaN in its last step."""

from harness import Method, Needs, Stage, hookimpl
from harness.api.losses import task_loss


class LastStep(Method):
    """Fails in the last step."""

    name = "laststep"
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        if step.index == step.steps - 1:
            student.logits.register_hook(lambda gradient: gradient * float("nan"))
        return {"task": task_loss(student.logits, batch)}


@hookimpl
def harness_register_methods(register):
    register(LastStep)
'''


@pytest.fixture
def suite(small):
    (small.folder / "laststep.py").write_text(PLUGIN, encoding="utf-8")
    content = yaml.safe_load(small.path.read_text(encoding="utf-8"))
    content |= {"plugins": ["order.py", "laststep.py"], "methods": ["laststep", "finetune"], "seeds": [1]}
    small.path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return small


def nan_gradients_at_the_end(losses):
    """The loss function, with NaN gradients in the last step."""

    def broken(self, step, batch, student, teachers):
        if step.index == step.steps - 1:
            hidden = student.tensors()[0]
            hidden.register_hook(lambda gradient: gradient * float("nan"))
        return losses(self, step, batch, student, teachers)

    return broken


@pytest.mark.parametrize("selection", [[], ["--set", "selection=validation"]])
def test_nan_gradients_in_the_last_step_are_a_failed_run(suite, selection):
    command = ["run", str(suite.path), "--results", str(suite.folder / "results"), *selection]
    done = CliRunner().invoke(app.app, command)
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    records = {record.label: record for record in suite.store().records()}
    assert records["finetune"].status == "completed", done.output
    failed = records["laststep"]
    assert (failed.status, failed.score, failed.metrics) == ("failed", None, {})
    assert "NotFinite: weights are not finite" in failed.error
    assert f"step {failed.cost.steps}" in failed.error or "step 9" in failed.error
    assert "embeddings" in failed.error
    assert not (suite.store().run_folder(failed.key) / "student").exists()
    assert "weights are not finite" in done.output


def test_a_teacher_with_nan_weights_is_not_stored(suite, monkeypatch):
    supervised = finetuning.SupervisedFineTuning
    monkeypatch.setattr(supervised, "losses", nan_gradients_at_the_end(supervised.losses))
    (failure,) = suite.run().failures
    assert failure.cause.startswith("teacher base on order failed: weights are not finite after the last step, 8")
    assert not list((suite.folder / "cache" / "teachers").glob("*/fit.json"))
    assert suite.store().teachers() == []


def test_a_student_with_nan_weights_is_not_stored_after_its_text_stage(suite, monkeypatch):
    from tests.execution.test_text_students import pretrained

    (suite.folder / "corpus.txt").write_text("sun lamp fire\nnight cave coal\n" * 40, encoding="utf-8")
    pretrained(suite.folder / "base")
    content = yaml.safe_load(suite.path.read_text(encoding="utf-8"))
    content["teachers"] = {"base": {"model": "./base", "epochs": 1, "lr": 1e-3}}
    content["methods"] = ["tinybert"]
    content["general"] = {"data": "corpus.txt", "steps": 6, "batch_size": 8, "max_length": 12, "lr": 1e-3}
    suite.path.write_text(yaml.safe_dump(content), encoding="utf-8")
    monkeypatch.setattr(TextStageMethod, "losses", nan_gradients_at_the_end(TextStageMethod.losses))
    (failure,) = suite.run().failures
    assert re.search(r"on text failed: after step 6: NotFinite: weights are not finite", failure.cause)
    assert not list((suite.folder / "cache" / "general").glob("*/record.json"))


def test_teacher_outputs_that_are_not_finite_are_not_cached(suite, monkeypatch):
    from harness.teacher_outputs import fill

    rows = fill._rows

    def broken(name, *rest):
        tensor = rows(name, *rest)
        return torch.full_like(tensor, float("inf")) if name == "hidden[2]" else tensor

    monkeypatch.setattr(fill, "_rows", broken)
    (failure,) = suite.run("methods=[tinybert]").failures
    assert re.search(r"outputs of teacher base are not finite: hidden\[2\] .* set of order", failure.error)
    assert not list((suite.folder / "cache" / "tensors").glob("*/manifest.json"))
