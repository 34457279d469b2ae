"""Memory of a suite: models that are freed, and lack of memory before the first step."""

import gc
import re
import weakref

import pytest
import torch

from harness import hookimpl
from harness.execution import student_cohorts
from harness.execution.student_cohorts import StudentCohorts

SAYS = "CUDA out of memory. Tried to allocate 2.00 GiB.\nmore of it"


def results(small):
    return {(r.label, r.seed): (r.score, r.losses) for r in small.store().records() if r.status == "completed"}


def test_students_of_a_cohort_are_freed_before_the_next(small, monkeypatch):
    held, alive, prepare = [], [], student_cohorts.prepare

    def watched(job, *args):
        gc.collect()
        alive.append([label for (label, seed), ref in held if seed != job.planned.seed and ref() is not None])
        run = prepare(job, *args)
        held.extend(((run.id.label, run.id.seed), weakref.ref(weight)) for weight in run.student.parameters())
        return run

    monkeypatch.setattr(student_cohorts, "prepare", watched)
    small.run()
    assert alive == [[]] * 6
    assert len(results(small)) == 6


def test_cohorts_are_halved_if_their_models_do_not_fit(small, monkeypatch):
    small.run("seeds=[1]")
    expected, teacher = results(small), StudentCohorts._teacher
    for record in small.store().records():
        (small.store().run_folder(record.key) / "record.json").unlink()

    def starved(self, name, job, data, jobs, runs):
        if len(jobs) > 1:
            raise torch.OutOfMemoryError(SAYS)
        return teacher(self, name, job, data, jobs, runs)

    class Starts(list):
        @hookimpl
        def harness_run_started(self, event):
            self.append(event.run.label)

    started = Starts()
    monkeypatch.setattr(StudentCohorts, "_teacher", starved)
    assert small.run("seeds=[1]", observers=(started,)).failed == []
    assert started == ["finetune", "logit_kd", "tinybert"], "each is announced once, when its cohort is complete"
    assert {record.cost.cohort_size for record in small.store().records()} == {1}
    assert results(small) == expected


def test_models_of_one_run_that_do_not_fit_are_reported(small, monkeypatch):
    def starved(*args):
        raise torch.OutOfMemoryError(SAYS)

    monkeypatch.setattr(student_cohorts, "prepare", starved)
    outcome = small.run("seeds=[1]")
    errors = {record.label: record.error for record in outcome.failed}
    assert errors.keys() == {"finetune", "logit_kd", "tinybert"}
    message = r"out of memory before the first step of finetune on 1x32, order: .*Tried to allocate 2\.00 GiB"
    assert re.match(message, errors["finetune"])


def test_the_cost_of_a_pass_survives_a_kill(small, monkeypatch):
    """The checkpoint before the first step contains the cost."""

    def killed(self, *batches_and_models):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("harness.training.run.Run.step", killed)
        with pytest.raises(KeyboardInterrupt):
            small.run("seeds=[1]", "methods=[finetune, tinybert]")
    small.run("seeds=[1]", "methods=[finetune, tinybert]")
    costs = {record.label: record.cost for record in small.store().records()}
    assert costs["tinybert"].teacher_seconds_whole > 0
    assert costs["finetune"].teacher_seconds_whole == 0
    assert {label: cost.teacher_forwards for label, cost in costs.items()} == {"finetune": 0, "tinybert": 4}
