"""Settings of single tasks affect the teachers, runs, keys and estimates of that task only."""

import pytest
from pydantic import ValidationError

from harness.config.training_schema import TaskTraining, TrainingSpec
from harness.planning.cost_estimate import estimate

SECOND = """

@hookimpl
def harness_register_tasks(register):
    labels = ("dark", "bright")
    for name in ("order", "again"):
        register(Task(name, "classification", load, ("accuracy",), "accuracy", labels=labels, synthetic=True))
"""
TASKS = "tasks=[order, again]"


@pytest.fixture
def two(small):
    """Return the small suite with a second task."""
    plugin = small.folder / "order.py"
    plugin.write_text(plugin.read_text(encoding="utf-8").split("\n\n@hookimpl")[0] + SECOND, encoding="utf-8")
    return small


def keys(plan, task):
    runs = {(job.planned.label, job.planned.seed): job.planned.key for job in plan.runs if job.planned.task == task}
    return {**runs, **{job.name: job.key for job in plan.teachers if job.data.task.name == task}}


@pytest.mark.parametrize(
    ("setting", "teacher_too"),
    [
        ("max_length: 12", True),
        ("batch_size: 8", True),
        ("weight_decay: 0.5", True),
        ("schedule: cosine", True),
        ("warmup_ratio: 0.3", True),
        ("max_grad_norm: null", True),
        ("epochs: 2", False),  # teachers set their own epochs and learning rate
        ("lr: 0.01", False),
    ],
)
def test_a_setting_of_a_task_changes_the_keys_of_that_task_only(two, setting, teacher_too):
    usual, changed = two.plan(TASKS), two.plan(TASKS, f"training.per_task={{again: {{{setting}}}}}")
    assert keys(changed, "order") == keys(usual, "order")
    before, after = keys(usual, "again"), keys(changed, "again")
    assert all(after[name] != key for name, key in before.items() if name != "base")
    assert (after["base"] != before["base"]) == teacher_too


def test_a_setting_of_one_task_gives_the_keys_of_the_global_setting(two):
    alone = two.plan("training.epochs=2", "training.max_length=12")
    assert keys(two.plan("training.per_task={order: {epochs: 2, max_length: 12}}"), "order") == keys(alone, "order")


def test_estimates_and_jobs_use_the_settings_of_the_task(two):
    plan = two.plan(TASKS, "methods=[finetune]", "seeds=[1]", "training.per_task={again: {epochs: 2, batch_size: 8}}")
    settings = {job.planned.task: (job.training.epochs, job.training.batch_size) for job in plan.runs}
    assert settings == {"order": (1, 16), "again": (2, 8)}
    assert estimate(plan, plan.runs).student_steps == 8 + 30
    assert {job.data.task.name: job.training.batch_size for job in plan.teachers} == {"order": 16, "again": 8}


def test_runs_train_with_the_settings_of_the_task(two):
    sets = (TASKS, "methods=[finetune]", "seeds=[1]", "training.per_task={again: {epochs: 2, batch_size: 8}}")
    assert not two.run(*sets).failed
    assert {record.task: record.cost.steps for record in two.store().records()} == {"order": 8, "again": 30}


def test_options_and_stages_of_a_task(two):
    entry = "methods=[{tinybert: {temperature: 2, stages: {intermediate: {epochs: 2}}, per_task: {again: "
    usual, changed = (
        two.plan(TASKS, entry + "{}}}}]"),
        two.plan(TASKS, entry + "{temperature: 3, stages: {intermediate: {lr: 1e-4}}}}}}]"),
    )
    assert keys(changed, "order") == keys(usual, "order")
    (job,) = {
        job.planned.key: job for job in changed.runs if (job.planned.task, job.planned.seed) == ("again", 1)
    }.values()
    assert job.method.config.temperature == 3
    assert job.cell.variant.stages["intermediate"].model_dump(exclude_none=True) == {"epochs": 2, "lr": 1e-4}
    assert job.planned.key not in keys(usual, "again").values()
    row = changed.file("harness run").rows["tinybert"]
    assert row.options["temperature"] == 2
    assert row.per_task["again"]["options"]["temperature"] == 3
    assert not row.plain


def test_tuning_starts_from_the_learning_rate_of_the_task(two):
    sets = (TASKS, "methods=[finetune]", "seeds=[1]", "tuning={trials: 2}", "training.per_task={again: {lr: 0.01}}")
    from harness.planning import tuning_studies

    plan = two.plan(*sets)
    studies = {study.job.planned.task: study for study in tuning_studies.every(plan.runs, plan.spec)}
    assert {task: study.defaults["training.lr"] for task, study in studies.items()} == {"order": 1e-3, "again": 0.01}
    assert (studies["again"].space["training.lr"].low, studies["again"].space["training.lr"].high) == (0.0025, 0.04)


def test_a_batch_size_of_a_task_replaces_a_token_budget():
    spec = TrainingSpec(token_budget=512, per_task={"rte": TaskTraining(batch_size=4)})
    assert (spec.on("rte").batch_size, spec.on("rte").token_budget) == (4, None)
    assert spec.on("sst2").token_budget == 512
    assert spec.on("sst2") == TrainingSpec(token_budget=512)


@pytest.mark.parametrize("name", sorted(TaskTraining.model_fields))
def test_null_on_a_task_is_an_error_unless_the_setting_may_be_null(name):
    null = {name: None}
    try:
        TrainingSpec.model_validate(null)
    except ValidationError:
        with pytest.raises(ValidationError, match=rf"{name}\n.*found null: give a value"):
            TaskTraining.model_validate(null)
    else:
        assert getattr(TrainingSpec.model_validate({"per_task": {"rte": null}}).on("rte"), name) is None


def test_a_setting_of_a_task_has_the_bounds_of_the_global_setting():
    def bounds(model, name):
        schema = model.model_json_schema()["properties"][name]
        value = next((kind for kind in schema.get("anyOf", []) if kind != {"type": "null"}), schema)
        return {key: value[key] for key in ("type", "minimum", "exclusiveMinimum", "maximum", "enum") if key in value}

    for name in TaskTraining.model_fields:
        assert bounds(TaskTraining, name) == bounds(TrainingSpec, name), name
