"""Keys of runs, cohorts, the plan file, and the status of runs."""

import json
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from harness.cli.plan_command import plan_suite
from harness.planning import cost_estimate, memory_estimate, run_status
from harness.reporting import report
from harness.reporting.captions import same_runs
from harness.storage.store import Store
from tests.support.results_factory import failed, run_record


def keys(plan):
    return {(job.planned.label, job.planned.seed): job.planned.key for job in plan.runs}


def test_keys_are_unique_and_reproducible(small):
    first = keys(small.plan())
    assert len(set(first.values())) == len(first) == 6
    assert keys(small.plan()) == first


@pytest.mark.parametrize(
    "override",
    [
        "training.lr=0.002",
        "training.epochs=2",
        "training.batch_size=8",
        "training.max_length=12",
        "training.data_seed=4",
        "training.limit.train=50",
        "training.limit.validation=50",
        "students.1x32.init=random",
        "teachers.base.architecture.ffn=32",
    ],
)
def test_settings_that_change_every_key(small, override):
    before, after = keys(small.plan()), keys(small.plan(override))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize(
    "override", ["training.log_every=7", "training.checkpoint_every=3", "teachers.base.floor={order: 0.1}"]
)
def test_settings_that_change_no_key(small, override):
    assert keys(small.plan(override)) == keys(small.plan())


def test_settings_of_a_teacher_change_the_keys_of_its_students(small):
    random = "students.1x32.init=random"
    before, after = keys(small.plan(random)), keys(small.plan(random, "teachers.base.lr=0.002"))
    changed = {label for (label, seed), key in before.items() if after[label, seed] != key}
    assert changed == {"logit_kd", "tinybert"}


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("dropout=0", False),
        ("hidden=64", False),  # scales the initial weights
        ("layers=1", True),
        ("ffn=32", True),
    ],
)
def test_random_weights_depend_on_the_configuration_of_a_teacher_from_scratch(small, override, same):
    random = ("methods=[finetune]", "students={own: {layers: 1, hidden: 32, heads: 2, ffn: 64, init: random}}")
    before, after = keys(small.plan(*random)), keys(small.plan(*random, f"teachers.base.architecture.{override}"))
    assert (before == after) == same


def test_options_of_a_method_change_only_its_keys(small):
    before, after = keys(small.plan()), keys(small.plan("methods=[finetune, {logit_kd: {temperature: 2}}, tinybert]"))
    assert {label for (label, _), key in before.items() if key not in after.values()} == {"logit_kd"}


def test_a_label_is_not_part_of_the_key(small):
    plan = small.plan("methods=[{logit_kd: {label: soft}}]")
    assert {key for (_, seed), key in keys(plan).items() if seed == 1} == {keys(small.plan())["logit_kd", 1]}


def test_runs_with_one_data_order_form_a_cohort(small):
    plan = small.plan()
    assert [len(cohort) for cohort in plan.cohorts(plan.runs)] == [3, 3]
    shared = small.plan("training.data_seed=1")
    assert [len(cohort) for cohort in shared.cohorts(shared.runs)] == [6]


def test_labels_with_the_same_key_are_trained_once(small):
    plan = small.plan("methods=[logit_kd, {logit_kd: {label: again}}]")
    assert len(plan.runs) == 4
    assert [len(cohort) for cohort in plan.cohorts(plan.runs)] == [1, 1]


def test_rows_with_the_same_runs_are_reported_in_the_plan_and_on_the_board(small, capsys):
    methods = "methods=[logit_kd, finetune, {logit_kd: {label: again}}]"
    (message,) = same_runs(small.plan(methods).file("").runs)
    assert message.startswith("Rows logit_kd and again of 1x32 have the same runs on order: the settings")
    assert list(same_runs(small.plan().file("").runs)) == []
    plan_suite(str(small.path), [methods], [], small.folder / "results", as_json=False)
    assert message in capsys.readouterr().out
    small.run(methods, "seeds=[1]")
    assert message in report(small.store().folder).markdown


def test_the_plan_file_records_the_suite(small):
    file = small.plan("training.limit.train=50").file("harness run small.yaml")
    assert file.labels == ["finetune", "logit_kd", "tinybert"]
    assert file.limits == {"train": 50}
    assert [task.synthetic for task in file.tasks] == [True]
    assert "hinton2015distilling" in file.citations["logit_kd"]
    assert set(file.teachers["base"]) == {"order"}


def test_cells_that_are_not_applicable_have_a_reason(small):
    plan = small.plan("students.odd={layers: 1, heads: 4, init: random}")
    (cell,) = plan.not_applicable
    assert (cell.label, cell.student) == ("tinybert", "odd")
    assert "odd has 4, base has 2" in cell.reason


def test_the_runs_that_are_not_done_are_found_without_reasons(tmp_path, monkeypatch):
    """A reason compares the parts of many keys."""
    monkeypatch.setattr(run_status, "_Changes", Mock(side_effect=AssertionError))
    store, missing, broken = Store(tmp_path), run_record(seed=1), failed("sst2", "kd", "big", 2)
    for record in (broken, done := run_record(seed=3)):
        store.save(record)
    jobs = [SimpleNamespace(planned=record) for record in (missing, broken, done)]
    assert run_status.pending(SimpleNamespace(runs=jobs), store) == jobs[:2]


def test_status_reports_the_changed_settings(small):
    assert {state.reason for state in run_status.status(small.plan(), small.store())} == {"not run yet"}
    small.run("methods=[finetune]", "seeds=[1]")
    states = {s.run.label: s for s in run_status.status(small.plan("seeds=[1]"), small.store())}
    assert states["finetune"].done
    assert states["logit_kd"].reason == "not run yet"
    (changed,) = run_status.status(small.plan("methods=[finetune]", "seeds=[1]", "training.lr=0.002"), small.store())
    assert not changed.done
    assert changed.reason == "changed: training.lr: 0.001 -> 0.002"


def bytes_with_all_positions(weights):
    """The size of a student if it had the number of positions that the estimate assumes."""
    config = json.loads((weights.parent / "config.json").read_text())
    missing = memory_estimate.POSITIONS - config["max_position_embeddings"]
    return weights.stat().st_size + 4 * missing * config["hidden_size"]


def test_the_estimate_counts_a_teacher_once_for_a_cohort(small):
    plan = small.plan("teacher_cache.max_gb=0")
    cost = cost_estimate.estimate(plan, plan.runs)
    assert (cost.runs, cost.cohorts) == (6, 2)
    assert cost.student_steps == 6 * 8
    assert cost.teacher_passes == 2 * 8
    assert cost.teacher_passes_apart == 4 * 8
    small.run("teacher_cache.max_gb=0")
    passes = {record.seed: record.cost.teacher_forwards for record in small.store().records()}
    assert sum(passes.values()) == cost.teacher_passes
    stored = [bytes_with_all_positions(file) for file in small.store().folder.glob("runs/*/student/model.safetensors")]
    assert len(stored) == 6
    assert cost.disk_gb * 1e9 == pytest.approx(sum(stored), rel=0.05)
    assert sum(record.cost.steps for record in small.store().records()) == cost.student_steps
