"""`harness plan` corrects estimated times by those of completed runs."""

import json
import re

import pytest
import torch

from harness.cli.plan_command import plan_suite
from harness.planning import graph_builder
from harness.planning.measured_time import measured_to_estimated
from tests.support.results_factory import cost, run_record


def save(store, job, seconds):
    store.save(run_record(key=job.planned.key, cost=cost(seconds)))


def test_the_ratio_is_the_median_over_completed_runs(small):
    plan, store = small.plan("seeds=[1, 2, 3]"), small.store()
    jobs = [job for job in plan.runs if job.planned.label == plan.runs[0].planned.label]
    estimate = graph_builder.TimeEstimate(plan.device, torch.get_num_threads(), plan.resolved.shapes)
    estimated = estimate.run(jobs[0])
    for job, factor in zip(jobs, (0.1, 3.0, 50.0), strict=True):
        save(store, job, factor * estimated)
    assert measured_to_estimated(plan, [], store) is None
    assert measured_to_estimated(plan, jobs, store) == pytest.approx(3.0)
    assert measured_to_estimated(plan, jobs[:1], store) == pytest.approx(0.1)


def test_few_of_many_records_are_read(small):
    plan, store, read = small.plan(), small.store(), []
    save(store, plan.runs[0], 60.0)
    record = store.record(plan.runs[0].planned.key)

    class Counted:
        def record(self, key):
            read.append(key)
            return record

    assert measured_to_estimated(plan, [plan.runs[0]] * 1999, Counted()) > 0
    assert len(read) == 20


def test_plan_tells_times_at_the_speed_of_completed_runs(small, capsys):
    def planned(**options):
        plan_suite(str(small.path), [], [], small.folder / "results", **options)
        return capsys.readouterr().out

    before = planned(as_json=False)
    assert "Rough estimate" in before
    assert "measured_to_estimated" not in json.loads(planned(as_json=True))
    plan = small.plan()
    estimate = graph_builder.TimeEstimate(plan.device, torch.get_num_threads(), plan.resolved.shapes)
    save(small.store(), plan.runs[0], 3600 * estimate.run(plan.runs[0]))
    after = planned(as_json=False)
    assert "Estimates are at the speed of the runs that are done." in after
    assert re.search(r"Estimate: \d[\d,.]* (h|d) of work", after)
    assert not re.search(r"Estimate: \d[\d,.]* (h|d) of work", before)
    assert json.loads(planned(as_json=True))["measured_to_estimated"] == pytest.approx(3600, rel=1e-6)
