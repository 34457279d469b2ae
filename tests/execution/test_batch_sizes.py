"""Batch sizes of single stages, and tuned batch sizes."""

import pytest

from harness.api.errors import UserError
from harness.execution.student_cohorts import StudentCohorts
from harness.execution.tokenized_tasks import TokenizedTasks
from harness.planning import tuning_studies
from harness.planning.cost_estimate import estimate
from harness.training.run import Run
from tests.support.student_weights import student_weights

PREFERS = '''
"""Learns to say the frequent class with batches of the size that it prefers, and the other class with others."""

from pydantic import Field
from harness import Method, MethodConfig, Needs, Stage, hookimpl

class Config(MethodConfig):
    size: int = Field(16, description="preferred number of examples")

class Prefers(Method):
    name = "prefers"
    Config = Config
    min_teachers = max_teachers = 0
    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]
    def losses(self, step, batch, student, teachers):
        target = -3 if len(batch.ids) <= self.config.size else 3
        return {"side": (student.logits[:, 1] - student.logits[:, 0] - target).square().mean()}

@hookimpl
def harness_register_methods(register):
    register(Prefers)
'''

STAGED = "methods=[{tinybert: {label: small, stages: {prediction: {batch_size: 6}}}}, tinybert, finetune]"
TUNED = ("tuning={trials: 8, lr: null, batch_size: [16, 4]}", "training.lr=1e-2", "training.epochs=2", "seeds=[1]")


@pytest.fixture
def prefers(small):
    """Return the paths of the plugins of the small suite with the method `prefers`."""
    (small.folder / "prefers.py").write_text(PREFERS, encoding="utf-8")
    return (str(small.folder / "prefers.py"),)


@pytest.fixture
def seen(monkeypatch):
    """Return (run, stage, ids of the batch) of every step, as a list that grows."""
    steps = []

    def watched(run, batches, *models, step=Run.step):
        steps.append((run.id.label, run.stage.name, [id for batch in batches for id in batch.ids]))
        step(run, batches, *models)

    monkeypatch.setattr(Run, "step", watched)
    return steps


def test_a_stage_trains_on_batches_of_its_own_size(small, seen):
    assert not small.run(STAGED, "seeds=[1]", "training.epochs=3").failed
    by_stage = {
        (label, name): [ids for run, stage, ids in seen if (run, stage) == (label, name)]
        for label in ("small", "tinybert")
        for name in ("intermediate", "prediction")
    }
    sizes = {stage: [len(ids) for ids in batches] for stage, batches in by_stage.items()}
    assert sizes["small", "intermediate"] == sizes["tinybert", "intermediate"] == ([16] * 7 + [8]) * 2
    assert sizes["tinybert", "prediction"] == [16] * 7 + [8]
    assert sizes["small", "prediction"] == [6] * 20, "one epoch, as with batches of 16"
    examples = small.plan(STAGED).runs[0].data.splits.train["id"]
    assert sorted(id for ids in by_stage["small", "prediction"] for id in ids) == sorted(examples)
    steps = {record.label: record.cost.steps for record in small.store().records()}
    assert steps == {"small": 36, "tinybert": 24, "finetune": 24}


def test_a_stages_batch_size_is_part_of_key_cohort_and_estimates(small):
    plan = small.plan(STAGED, "seeds=[1]", "training.epochs=3")
    own, usual, finetune = plan.runs
    assert own.cohort != usual.cohort == finetune.cohort
    assert own.planned.key != usual.planned.key
    steps = {job.planned.label: estimate(plan, [job]).student_steps for job in plan.runs}
    assert steps == {"small": 36, "tinybert": 24, "finetune": 24}
    assert own.max_batch_size == 16
    larger = small.plan(STAGED.replace("batch_size: 6", "batch_size: 64"), "seeds=[1]")
    assert larger.runs[0].max_batch_size == 64
    assert larger.load(larger.runs[0]).batch_shape.examples == 64


def test_the_batch_size_of_the_suite_shares_the_suites_batches(small):
    own, usual, _ = small.plan(STAGED.replace("batch_size: 6", "batch_size: 16"), "seeds=[1]").runs
    assert own.cohort == usual.cohort


def test_a_batch_size_replaces_the_token_budget_in_its_stage(small):
    own, usual, _ = small.plan(STAGED, "training.token_budget=200", "seeds=[1]").runs
    assert [training.token_budget for training in own.stage_training] == [200, None]
    assert [training.token_budget for training in usual.stage_training] == [200, 200]


def test_a_micro_batch_that_splits_only_the_batches_of_a_stage_is_part_of_the_key(small):
    entry = "methods=[{tinybert: {stages: {prediction: {batch_size: 32}}}}, finetune]"
    plans = [small.plan(entry, "seeds=[1]", f"training.micro_batch_size={size}") for size in (16, 20, 32)]
    staged, finetune = zip(*[[job.planned.key for job in plan.runs] for plan in plans], strict=True)
    assert len(set(staged)) == 3
    assert len(set(finetune)) == 1


@pytest.mark.parametrize("order", [1, -1])
def test_each_run_of_a_cohort_counts_epochs_by_its_own_batch_size(small, order):
    methods = "methods=[{finetune: {label: own, stages: {finetune: {batch_size: 4}}}}, finetune]"
    student = "students={1x32: {layers: 1, init: random}}"
    plan = small.plan(*TUNED, methods, student, "training.data_seed=1")
    own, tuned = plan.runs
    trial = tuning_studies.of(tuned, plan.spec).trial(1, {"training.batch_size": 4})
    assert own.cohort == trial.cohort
    cohorts = StudentCohorts(plan, small.context(), TokenizedTasks(), plan.runs)
    steps = {student.job.planned.label: student.finished.run.steps for student in cohorts.train([own, trial][::order])}
    assert steps == {"own": 48, "finetune": 48}, "two epochs of 96 examples"


def test_rows_train_with_the_batch_sizes_of_their_best_trials(small, prefers):
    methods = "methods=[{prefers: {label: small, size: 4}}, {prefers: {label: large, size: 16}}]"
    assert not small.run(*TUNED, methods, "teachers.base.batch_size=16", plugins=prefers).failed
    store = small.store()
    chosen = {record.label: record.tuning.values for record in store.records()}
    assert chosen == {"small": {"training.batch_size": 4}, "large": {"training.batch_size": 16}}
    steps = {record.label: record.cost.steps for record in store.records()}
    assert steps == {"small": 48, "large": 12}
    expected = student_weights(store, {r.label: r.key for r in store.records()}["small"])
    store.folder.rename(store.folder.with_name("tuned"))
    settings = ("teachers.base.batch_size=16", "tuning=null", "selection={epoch: last}", "training.batch_size=4")
    assert not small.run(*TUNED, methods, *settings, plugins=prefers).failed
    again = student_weights(small.store(), {r.label: r.key for r in small.store().records()}["small"])
    assert all(weight.equal(expected[name]) for name, weight in again.items())


def test_the_plan_counts_the_memory_of_the_largest_tuned_batch_size(small):
    plan = small.plan("tuning={trials: 2, batch_size: [16, 256]}", "methods=[finetune]", "seeds=[1]")
    (run,) = plan.runs
    studies = tuning_studies.every(plan.runs, plan.spec)
    assert plan.load(run).batch_shape.examples == plan.load(studies[0].job).batch_shape.examples == 256
    assert plan.load(studies[0].trial(1, studies[0].defaults)).batch_shape.examples == 16
    alone = small.plan("training.batch_size=256", "methods=[finetune]", "seeds=[1]")
    assert estimate(plan, plan.runs, studies).memory_gb == pytest.approx(estimate(alone, alone.runs).memory_gb)


def test_the_protocol_names_batch_sizes_that_differ_from_the_suites(small):
    finetune = "{finetune: {label: four, stages: {finetune: {batch_size: 4}}}}"
    methods = f"methods=[{{tinybert: {{stages: {{prediction: {{batch_size: 6}}}}}}}}, {finetune}, finetune]"
    rows = small.plan(methods, "training.epochs=3").file("harness run").rows
    assert rows["tinybert"].protocol.endswith(", 3 epochs, batches of 6 in prediction")
    assert rows["four"].protocol.endswith(", 3 epochs, batches of 4")
    assert rows["finetune"].protocol.endswith(", 3 epochs")
    fixed = "methods=[{tinybert: {stages: {intermediate: {batch_size: 16}}}}]"
    protocol = small.plan(*TUNED, fixed).file("harness run").rows["tinybert"].protocol
    assert protocol.endswith(", tuned batch size, batches of 16 in intermediate"), "which is the suite's, but not tuned"
    tuned = small.plan(*TUNED, methods).file("harness run").rows
    assert tuned["tinybert"].protocol.endswith(", tuned batch size, batches of 6 in prediction")
    assert tuned["four"].protocol.endswith(", batches of 4")
    assert tuned["finetune"].protocol.endswith(", tuned batch size")


def test_a_batch_size_of_every_stage_is_not_tuned(small):
    stages = "stages: {intermediate: {batch_size: 4}, prediction: {batch_size: 4}}"
    plan = small.plan(*TUNED, f"methods=[{{tinybert: {{attention_weight: 1, temperature: 1, {stages}}}}}, finetune]")
    studies = {job.planned.label: tuning_studies.of(job, plan.spec) for job in plan.runs}
    assert studies["tinybert"] is None
    assert studies["finetune"].space["training.batch_size"].plain == [16, 4]


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (("tuning.batch_size=[4, 8]",), "training.batch_size is 16, which is not among 4, 8; the first trial uses it"),
        (("tuning.batch_size=[16, 16]",), "expected two or more distinct sizes, found [16, 16]"),
        (("tuning.batch_size=[16]",), "two or more distinct sizes, found [16]"),
        (("tuning.batch_size=[]", "training.per_task.order.epochs=2"), "two or more distinct sizes, found []"),
        (("methods=[{finetune: {stages: {finetune: {batch_size: null}}}}]",), "batch_size: found null: give a value"),
        (("training.token_budget=200",), "training.token_budget sets the size of a step; remove one of both"),
        (("training.per_task.order.batch_size=8",), "order.batch_size is 8, which is not among 16, 4; the first"),
    ],
)
def test_tuned_batch_sizes_are_checked(small, sets, message):
    with pytest.raises(UserError) as caught:
        small.plan(*TUNED, *sets)
    (problem,) = caught.value.problems
    assert message in problem.message
