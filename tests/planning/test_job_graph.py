"""The job graph of a plan, and how it is shared among workers."""

import itertools
import random

import pytest

from harness.api.engine import Resources
from harness.api.errors import UserError
from harness.planning import graph_builder, run_selection, scheduling
from harness.planning.job_graph import Artifact, Job, JobGraph


def job(key, *needs, seconds=1.0, kind="cohort"):
    return Job(kind, (Artifact(key, key, needs, None, seconds),), Resources("cpu", 1, 0), seconds)


def titles(graph):
    return [(job.kind, len(job.artifacts)) for job in graph.jobs]


def test_a_job_comes_after_all_jobs_that_it_needs(small):
    plan = small.plan("tuning={trials: 2}", "latency={}")
    graph = graph_builder.build(plan, plan.runs)
    assert titles(graph) == [
        ("teacher", 1),
        ("teacher outputs", 1),
        ("tuning", 3),
        ("cohort", 3),
        ("cohort", 3),
        ("latency", 1),
        ("report", 1),
    ]
    seen = set()
    for each in graph.jobs:
        assert seen.issuperset(graph.dependencies(each))
        seen.add(each.key)
    latency, report = graph.jobs[-2:]
    assert latency.resources.exclusive
    assert len(graph.dependencies(report)) == len(graph.jobs) - 1


def test_a_run_needs_only_what_it_reads(small):
    plan = small.plan("students.1x32={layers: 1, init: random}", "tuning={trials: 2, lr: null}")
    graph = graph_builder.build(plan, plan.runs)
    needs = {artifact.title.split()[0]: artifact.needs for each in graph.jobs[-3:-1] for artifact in each.artifacts}
    (teacher,) = plan.teachers
    assert needs["finetune"] == ()
    assert needs["logit_kd"][0] == needs["tinybert"][0] == teacher.key
    copied = small.plan()
    (finetune, *_) = graph_builder.build(copied, copied.runs).jobs[2].artifacts
    assert finetune.needs == (copied.teachers[0].key,), "a teacher from scratch gives its layers after fine-tuning"


def test_an_artifact_must_be_built_once_and_before_it_is_needed():
    with pytest.raises(ValueError, match="b needs a, which no earlier job builds"):
        JobGraph((job("b", "a"), job("a")))
    with pytest.raises(ValueError, match="two jobs build a"):
        JobGraph((job("a"), job("a", kind="teacher")))


def test_ready_jobs_are_those_whose_dependencies_have_ended():
    graph = JobGraph((job("a"), job("b"), job("c", "a"), job("d", "c", "b")))
    a, b, c, d = (each.key for each in graph.jobs)
    assert [each.key for each in graph.ready([])] == [a, b]
    assert [each.key for each in graph.ready([a])] == [b, c]
    assert [each.key for each in graph.ready([a, b, c])] == [d]
    assert list(graph.ready([a, b, c, d])) == []


def random_graph(rng, size):
    jobs = []
    for index in range(size):
        needs = rng.sample(range(index), min(index, rng.randint(0, 3)))
        jobs.append(job(str(index), *map(str, needs), seconds=rng.uniform(0.1, 10)))
    return JobGraph(tuple(jobs))


@pytest.mark.parametrize("seed", range(20))
def test_a_schedule_respects_dependencies_and_workers(seed):
    rng = random.Random(seed)
    graph, workers = random_graph(rng, 30), rng.randint(1, 5)
    slots = scheduling.schedule(graph, workers)
    by_key = {slot.job.key: slot for slot in slots}
    assert by_key.keys() == {each.key for each in graph.jobs}
    for slot in slots:
        assert slot.end == pytest.approx(slot.start + slot.job.seconds)
        assert all(by_key[key].end <= slot.start + 1e-9 for key in graph.dependencies(slot.job))
    for worker in range(workers):
        mine = sorted((slot for slot in slots if slot.worker == worker), key=lambda slot: slot.start)
        assert all(first.end <= second.start + 1e-9 for first, second in itertools.pairwise(mine))
    total = sum(each.seconds for each in graph.jobs)
    end = scheduling.makespan(graph, workers)
    # The bound of list scheduling (Graham 1966): at most (2 - 1/workers) times the best schedule.
    chain: dict[str, float] = {}
    for each in graph.jobs:
        chain[each.key] = each.seconds + max((chain[key] for key in graph.dependencies(each)), default=0)
    best = max(total / workers, max(chain.values()))
    assert best - 1e-9 <= end <= (2 - 1 / workers) * best + 1e-9


def test_one_worker_takes_the_longest_ready_job_first():
    graph = JobGraph((job("a", seconds=1), job("b", seconds=3), job("c", "a", seconds=5)))
    assert [slot.job.artifacts[0].key for slot in scheduling.schedule(graph, 1)] == ["b", "a", "c"]
    assert [slot.job.artifacts[0].key for slot in scheduling.schedule(graph, 1, done={"cohort/b"})] == ["a", "c"]


def cohorts(graph):
    return [[artifact.key for artifact in each.artifacts] for each in graph.jobs if each.kind == "cohort"]


def test_a_cohort_is_split_over_workers_that_would_be_idle(small):
    plan = small.plan("training.data_seed=1", "training.epochs=50")
    alone = graph_builder.build(plan, plan.runs, threads=1)
    assert [len(keys) for keys in cohorts(alone)] == [6]
    for workers, parts in ((2, 2), (3, 3), (6, 6)):
        graph = graph_builder.build(plan, plan.runs, workers=workers, threads=1)
        assert len(cohorts(graph)) >= parts
        assert sorted(itertools.chain(*cohorts(graph))) == sorted(itertools.chain(*cohorts(alone)))
        assert scheduling.makespan(graph, workers) < scheduling.makespan(alone, workers)


def test_a_cohort_is_not_split_if_there_are_enough(small):
    plan = small.plan("seeds=[1, 2, 3, 4]")
    assert [len(keys) for keys in cohorts(graph_builder.build(plan, plan.runs, workers=2))] == [3, 3, 3, 3]


def test_a_cohort_with_a_costly_teacher_is_not_split(small):
    """Each part would run the teacher, whose outputs are not cached."""
    architecture = "teachers.base.architecture={layers: 24, hidden: 1024, heads: 16, ffn: 4096}"
    plan = small.plan(
        architecture,
        "students.1x32={layers: 1, hidden: 32, heads: 2, ffn: 64}",
        "methods=[logit_kd]",
        "training.data_seed=1",
        "teacher_cache.max_gb=0",
    )
    assert [len(keys) for keys in cohorts(graph_builder.build(plan, plan.runs, workers=2))] == [2]


def test_runs_are_selected_by_column(small):
    plan = small.plan()
    selection = run_selection.parse(["label=tinybert", "label=finetune", "seed=2"], plan.runs)
    chosen = [(each.planned.label, each.planned.seed) for each in run_selection.select(plan.runs, selection)]
    assert chosen == [("finetune", 2), ("tinybert", 2)]
    assert len(run_selection.select(plan.runs, {})) == 6


def test_conditions_that_match_nothing_are_errors(small):
    with pytest.raises(UserError) as caught:
        run_selection.parse(["label=tinybrt", "sed=1", "seed"], small.plan().runs)
    messages = str(caught.value).splitlines()
    assert len(messages) == 3
    assert "no run of the suite has label 'tinybrt'; did you mean 'tinybert'?" in messages[0]
    assert "'sed=1' is not COLUMN=VALUE; did you mean 'seed'?" in messages[1]
