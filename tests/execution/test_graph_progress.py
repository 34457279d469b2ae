"""The jobs that a process offers its engine while other processes end some of them."""

from collections import Counter
from contextlib import contextmanager

import pytest

from harness import hookimpl, planning
from harness.api.engine import Interrupted
from harness.execution import artifact_builders
from harness.execution.plan_execution import PlanExecution
from harness.resolution import resolve


class Ends(list):
    """The numbers of ended jobs, and of all of them, that observers were told."""

    @hookimpl
    def harness_jobs_ended(self, event):
        self.append((event.ended, event.total))


UNCACHED = "teacher_cache.max_gb=0"
"""Without a job that caches outputs: it is done when it was tried."""


@contextmanager
def opened(small, *settings):
    """The jobs of a suite in this process, and the events that observers receive."""
    loaded, ends = small.load(UNCACHED, *settings), Ends()
    loaded.host.add_observer(ends)
    plan = planning.build(resolve(loaded, online=False))
    execution = PlanExecution(plan, small.store(), loaded.host)
    with execution.jobs() as jobs:
        yield jobs, ends


def titles(jobs):
    return [job.title for job in jobs]


def test_jobs_that_other_processes_have_ended_are_not_ready(small):
    with opened(small, "seeds=[1, 2]") as (jobs, ends):
        (first,) = jobs.ready()
        expected = jobs.unfinished
        assert first.title == "teacher base on order"
        assert not small.run(UNCACHED, "seeds=[1]").failed, "as another process"
        ready = jobs.ready()
        assert ready
        assert all("seed 2" in title for title in titles(ready)), "and what the ended ones made ready is"
        told = len(ends)
        assert ends == [(number, len(expected)) for number in range(1, told + 1)], "each job is counted once"
        assert titles(jobs.ready()) == titles(ready)
        assert len(ends) == told
        assert not small.run(UNCACHED, "seeds=[1, 2]").failed
        assert jobs.ready() == []
        assert ends == [(number, len(expected)) for number in range(1, len(expected) + 1)]
        assert jobs.unfinished == []
        assert not jobs.outcome.failed


def test_jobs_that_need_what_failed_in_another_process_have_failed(small):
    settings = ("seeds=[1]", "methods=[logit_kd]", "teachers.base.floor={order: 1.0}")
    with opened(small, *settings) as (jobs, ends):
        assert titles(jobs.ready()) == ["teacher base on order"]
        assert small.run(UNCACHED, *settings).failed
        assert jobs.ready() == []
        assert [record.label for record in jobs.outcome.failed] == ["logit_kd"]
        assert ends == [(1, 2), (2, 2)]


def test_each_artifact_is_looked_at_once_and_not_while_this_process_builds_it(small, monkeypatch):
    """It reads files, perhaps over a network."""
    looks = Counter()
    for builder in (artifact_builders._Teachers, artifact_builders._Cohorts):

        def counted(self, artifact, *, verify=True, real=builder.is_done):
            looks[artifact.title] += 1
            return real(self, artifact, verify=verify)

        monkeypatch.setattr(builder, "is_done", counted)
    small.run(UNCACHED, "seeds=[1]", "methods=[finetune]")
    with opened(small, "seeds=[1]") as (jobs, _):
        looks.clear()
        (cohort,) = jobs.ready()
        assert looks == dict.fromkeys(["teacher base on order", *(artifact.title for artifact in cohort.artifacts)], 1)
        assert jobs.take(cohort, shared=True)
        looks.clear()
        assert titles(jobs.ready()) == [cohort.title]
        assert looks == {}


def test_a_process_that_was_asked_to_stop_looks_at_nothing(small):
    with opened(small, "seeds=[1]") as (jobs, ends):
        jobs.stop = lambda: True
        with pytest.raises(Interrupted):
            jobs.ready()
        assert ends == []
