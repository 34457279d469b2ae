"""A failure fails what depends on it, and nothing else."""

import pytest

from harness import hookimpl
from harness.planning import run_status

METHODS = '''
"""Methods that fail in a certain place."""

from pathlib import Path

from torch import nn
from harness import Method, Needs, Stage, hookimpl
from harness.api.losses import task_loss

class Base(Method):
    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits"]]))]
    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}

class Modules(Base):
    name = "modules"
    def modules(self, student, teachers):
        raise RuntimeError("no modules")

class Notes(Base):
    name = "notes"
    def notes(self):
        return {"not JSON": object()}

class Exits(Base):
    name = "exits"
    def losses(self, step, batch, student, teachers):
        raise SystemExit(0)

class ExitsEarly(Base):
    name = "exits_early"
    def modules(self, student, teachers):
        raise SystemExit("enough")

class Device(Base):
    name = "device"
    def modules(self, student, teachers):
        class Immovable(nn.ModuleDict):
            def to(self, *args, **kwargs):
                raise ValueError("immovable")
        return Immovable()

class NotesKey(Base):
    name = "notes_key"
    def notes(self):
        return {1: "one"}

class NoNotes(Base):
    name = "no_notes"
    def notes(self):
        pass

class OneModule(Base):
    name = "one_module"
    def modules(self, student, teachers):
        return nn.Linear(2, 2)

@hookimpl
def harness_register_methods(register):
    for method in (Modules, Notes, NotesKey, NoNotes, OneModule, Exits, ExitsEarly, Device):
        register(method)
'''

ERRORS = {
    "modules": "before step 1 (only): RuntimeError: no modules",
    "notes": "before step 1 (only): TypeError: notes()['not JSON'] is of type object; expected plain values",
    "notes_key": "before step 1 (only): TypeError: notes() has the name 1; expected a string",
    "no_notes": "before step 1 (only): TypeError: notes() returned a NoneType; expected a mapping",
    "one_module": "before step 1 (only): TypeError: modules() returned a Linear; expected an nn.ModuleDict",
    "exits": "step 1 (only): SystemExit: 0",
    "exits_early": "before step 1 (only): SystemExit: enough",
    "device": "before step 1 (only): ValueError: immovable",
}


def test_an_exception_of_a_method_fails_its_run_only(small):
    plugin = small.folder / "methods.py"
    plugin.write_text(METHODS)
    methods = f"methods=[{', '.join(ERRORS)}, logit_kd]"
    outcome = small.run(methods, "seeds=[1]", plugins=(str(plugin),))
    errors = {record.label: record.error for record in outcome.failed}
    assert errors.keys() == ERRORS.keys()
    assert {label: errors[label] for label in errors if not errors[label].startswith(ERRORS[label])} == {}
    records = {record.label: record for record in small.store().records()}
    assert records["logit_kd"].status == "completed"
    assert {records[label].status for label in ERRORS} == {"failed"}
    assert not outcome.failures


def test_a_student_that_cannot_be_built_fails_its_run_only(small, monkeypatch):
    from harness.models import students

    build = students.build

    def broken(spec, *, name, **others):
        if name == "2x32":
            raise ValueError("cannot be built")
        return build(spec, name=name, **others)

    monkeypatch.setattr(students, "build", broken)
    outcome = small.run(
        "students={1x32: {layers: 1, init: uniform}, 2x32: {layers: 2, init: uniform}}",
        "seeds=[1]",
        "methods=[finetune]",
    )
    (failed,) = outcome.failed
    assert (failed.student, failed.error, failed.size) == ("2x32", "before step 1: ValueError: cannot be built", None)
    assert {record.student: record.status for record in small.store().records()} == {
        "1x32": "completed",
        "2x32": "failed",
    }


TWO = "teachers={base: %s, other: %s}"
NET = "architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}, epochs: 1, lr: 1e-3"


@pytest.fixture
def nan_teacher(monkeypatch):
    """Teacher `other` learns from labels that make its loss NaN."""
    from harness.training.finetuning import SupervisedFineTuning

    losses = SupervisedFineTuning.losses

    def broken(self, step, batch, student, teachers):
        terms = losses(self, step, batch, student, teachers)
        return {name: term * float("nan") if self.student.name == "other" else term for name, term in terms.items()}

    monkeypatch.setattr(SupervisedFineTuning, "losses", broken)


class Ends:
    """An observer that notes which runs have failed, with the error, and which have finished."""

    def __init__(self):
        self.failed = {}
        self.finished = []

    @hookimpl
    def harness_run_failed(self, event):
        self.failed[event.run.role, event.run.label] = event.error

    @hookimpl
    def harness_run_finished(self, event):
        self.finished.append((event.run.role, event.run.label))


def test_a_failed_teacher_fails_the_runs_that_learn_from_it(small, nan_teacher):
    teachers = TWO % (f"{{{NET}}}", f"{{{NET}, seed: 2}}")
    methods = "methods=[finetune, logit_kd, {logit_kd: {label: from_other, teachers: [other]}}]"
    ends = Ends()
    outcome = small.run(teachers, methods, "seeds=[1]", observers=(ends,))
    (failure,) = outcome.failures
    assert ends.failed == {("teacher", "other"): failure.error, ("student", "from_other"): failure.cause}
    assert sorted(ends.finished) == [("student", "finetune"), ("student", "logit_kd"), ("teacher", "base")]
    assert failure.title == "outputs of teacher other on order" or failure.title == "teacher other on order"
    (failed,) = outcome.failed
    assert failed.label == "from_other"
    assert failed.error.startswith("teacher other on order failed: ")
    statuses = {record.label: record.status for record in small.store().records()}
    assert statuses == {"finetune": "completed", "logit_kd": "completed", "from_other": "failed"}
    assert {teacher.name for teacher in small.store().teachers()} == {"base"}


def test_a_teacher_below_its_floor_fails_the_runs_that_learn_from_it(small):
    floor = "teachers.base.floor={order: 1.0}"
    students = "students.1x32={layers: 1, init: random}"
    ends = Ends()
    outcome = small.run(floor, students, "seeds=[1]", "methods=[finetune, logit_kd]", observers=(ends,))
    (failure,) = outcome.failures
    assert failure.title == "teacher base on order"
    assert ends.failed["teacher", "base"] == failure.error
    assert ends.finished == [("student", "finetune")]
    assert "below its floor of 1: " in failure.error
    assert [record.label for record in outcome.failed] == ["logit_kd"]
    assert outcome.failed[0].error == failure.cause
    assert not small.run(
        "teachers.base.floor={order: 0.01}", students, "seeds=[1]", "methods=[finetune, logit_kd]"
    ).failed
    outcome = small.run(floor, students, "seeds=[1]", "methods=[finetune, logit_kd]")
    assert not outcome.failed, "they are done"
    assert len(outcome.failures) == 1
    assert not small.run(floor, "training.limit.train=40", students, "methods=[finetune]", "seeds=[1]").failures


def test_failed_runs_are_tried_again_unless_told_otherwise(small):
    from harness.execution.outcome import ExecutionOptions

    plugin = small.folder / "methods.py"
    plugin.write_text(METHODS)
    overrides = ("methods=[exits, logit_kd]", "seeds=[1]")
    small.run(*overrides, plugins=(str(plugin),))
    plugin.write_text(METHODS.replace("raise SystemExit(0)", "return super().losses(step, batch, student, teachers)"))
    outcome = small.run(*overrides, plugins=(str(plugin),), options=ExecutionOptions(retry_failed=False))
    assert [record.label for record in outcome.failed] == ["exits"], "reported, not tried"
    assert not small.run(*overrides, plugins=(str(plugin),)).failed
    plan = small.plan(*overrides, plugins=(str(plugin),))
    assert all(status.done for status in run_status.status(plan, small.store()))
