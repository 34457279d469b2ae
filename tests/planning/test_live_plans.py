"""Plans with methods that run their teachers themselves."""

import pytest

from harness.planning import memory_estimate
from harness.planning.cache_decisions import describe
from harness.planning.graph_builder import build
from harness.planning.job_graph import OutputsToCache
from harness.planning.time_estimate import TimeEstimate

SETTINGS = ("methods=[logit_kd, diito, ad_kd]", "seeds=[1, 2]")


def test_the_cache_does_not_hold_what_only_live_runs_read(small):
    plan = small.plan(*SETTINGS)
    assert {run.planned.label for run in plan.runs if run.reads_cache} == {"logit_kd"}
    (decision,) = plan.cache_decisions
    assert describe(decision).endswith("fresh for diito: its method runs the teacher itself")
    jobs = [artifact.work for job in build(plan, plan.runs).jobs for artifact in job.artifacts]
    (outputs,) = [work for work in jobs if isinstance(work, OutputsToCache)]
    assert {run.planned.label for run in outputs.users} == {"logit_kd"}


def test_a_live_run_depends_on_its_teacher(small):
    plan = small.plan("methods=[ad_kd]", "seeds=[1]")
    graph = build(plan, plan.runs)
    (cohort,) = [job for job in graph.jobs if job.kind == "cohort"]
    (teacher,) = [job for job in graph.jobs if job.kind == "teacher"]
    assert teacher.key in graph.dependencies(cohort)


def test_a_live_run_takes_more_memory_and_time(small):
    plan = small.plan(*SETTINGS, "training.max_length=16")
    loads = {run.planned.label: plan.load(run) for run in plan.runs}
    assert loads["diito"].step > loads["logit_kd"].step
    (teacher,) = {shape for shape, _ in loads["ad_kd"].teachers.values()}
    weights = 4 * memory_estimate.parameters(teacher, loads["ad_kd"].batch_shape.vocabulary)
    assert memory_estimate.peak([loads["ad_kd"]]) >= loads["ad_kd"].resident + weights
    estimate = TimeEstimate("cpu", 1, plan.resolved.shapes)
    seconds = {run.planned.label: estimate.run(run) for run in plan.runs}
    assert seconds["ad_kd"] > 2 * seconds["logit_kd"]


@pytest.mark.parametrize("key", ["live", "average"])
def test_memory_of_a_stage(small, key):
    student = small.plan("methods=[finetune]").runs[0].method.student
    batch_shape = memory_estimate.BatchShape(examples=4, tokens=16, vocabulary=100, outputs=2)

    def load(**settings):
        training = small.load().suite.spec.training
        stage = memory_estimate.StageLoad(frozenset({"logits"}), True, **settings)
        return memory_estimate.load(student, [stage], {}, batch_shape, training, fused=True)

    plain, changed = load(), load(**{key: True})
    parameters = 4 * memory_estimate.parameters(student, 100)
    assert changed.resident - plain.resident == (parameters if key == "average" else 0)
    assert (changed.step > plain.step) is (key == "live")
