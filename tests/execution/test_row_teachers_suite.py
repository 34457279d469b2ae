"""Teachers that are rows of the suite: from the plan to the board, with failures, interruptions and several workers."""

import shutil

import pandas as pd
import pytest
import torch

from harness import planning as planning
from harness.analysis.aggregate import summarize
from harness.execution.job_states import job_states
from harness.execution.outcome import ExecutionOptions
from harness.planning import graph_builder, run_selection, tuning_studies
from harness.reporting import report
from tests.support.run_watcher import Watcher
from tests.support.student_weights import change_student, student_weights

CHAIN = (
    "students={1x32: {layers: 1, init: uniform}, 2x32: {layers: 2, init: uniform}}",
    "teachers.medium={row: ta}",
    "methods=[{logit_kd: {label: last, students: [1x32], teachers: [medium]}},"
    " {logit_kd: {label: ta, students: [2x32]}}]",
)
"""`last` learns from `ta`, which the suite lists after it."""

DEEPER = (
    CHAIN[0],
    "teachers.medium={row: ta}",
    "teachers.small={row: tb, seed: 1}",
    "methods=[{logit_kd: {label: ta, students: [2x32]}}, {logit_kd: {label: tb, students: [1x32], teachers: [medium]}},"
    " {mt_bert: {label: both, students: [1x32], teachers: [base, medium, small]}}]",
)

BROKEN = """
from harness import hookimpl
from harness.api.method import Method, MethodConfig, Needs, Stage


class Broken(Method):
    name = "broken"
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("train", Needs(frozenset({"logits"})))]

    def losses(self, batch, step, student, teachers):
        raise RuntimeError("the method is broken")


@hookimpl
def harness_register_methods(register):
    register(Broken)
"""


def runs(plan):
    return {(job.planned.label, job.planned.seed): job for job in plan.runs}


def result(store, key):
    predictions = pd.read_parquet(store.run_folder(key) / "predictions.parquet")
    return store.record(key), predictions, student_weights(store, key)


def assert_same(store, other, keys):
    for key in keys:
        (record, predictions, weights), (expected, table, bits) = result(store, key), result(other, key)
        assert record.score == expected.score
        pd.testing.assert_frame_equal(predictions, table, check_exact=True)
        assert all(torch.equal(weights[name], tensor) for name, tensor in bits.items())


class TestPlan:
    def test_a_run_learns_from_the_run_of_its_seed_or_of_a_stated_one(self, small):
        jobs = runs(small.plan(*CHAIN))
        for seed in (1, 2):
            (teacher,) = jobs["last", seed].teachers
            assert teacher.key == jobs["ta", seed].planned.key
            planned = jobs["last", seed].planned
            assert (planned.teachers, planned.teacher_seeds) == (["medium"], [seed])
            assert planned.assistants == {"medium": jobs["ta", seed].planned.key}
            assert jobs["last", seed].parts["teachers"] == [jobs["ta", seed].planned.key]
        fixed = runs(small.plan(*CHAIN, "teachers.medium={row: ta, seed: 2}"))
        assert {fixed["last", seed].teachers[0].key for seed in (1, 2)} == {fixed["ta", 2].planned.key}
        assert fixed["last", 2].planned.key == jobs["last", 2].planned.key

    def test_an_edit_upstream_changes_the_keys_downstream_and_no_other(self, small):
        other = "methods=[finetune, {logit_kd: {label: last, students: [1x32], teachers: [medium]}},"
        before = runs(small.plan(*CHAIN[:2], other + " {logit_kd: {label: ta, students: [2x32]}}]"))
        after = runs(small.plan(*CHAIN[:2], other + " {logit_kd: {label: ta, students: [2x32], alpha: 0.3}}]"))
        changed = {place for place in before if before[place].planned.key != after[place].planned.key}
        assert changed == {(label, seed) for label in ("last", "ta") for seed in (1, 2)}

    def test_the_other_rows_of_a_suite_keep_their_keys(self, small):
        alone = runs(small.plan(CHAIN[0], "methods=[finetune, {logit_kd: {label: ta, students: [2x32]}}]"))
        more = runs(small.plan(*CHAIN[:2], "methods=[finetune, {logit_kd: {label: ta, students: [2x32]}}, logit_kd]"))
        assert {place: more[place].planned.key for place in alone} == {k: job.planned.key for k, job in alone.items()}

    def test_more_seeds_change_no_key(self, small):
        one, two = runs(small.plan(*CHAIN, "seeds=[1]")), runs(small.plan(*CHAIN))
        assert all(job.planned.key == two[place].planned.key for place, job in one.items())

    def test_a_new_name_of_row_and_teacher_changes_no_key(self, small):
        methods = CHAIN[2].replace("label: ta,", "label: xy,").replace("medium", "wide")
        renamed = small.plan(CHAIN[0], "teachers.wide={row: xy}", methods)
        assert [job.planned.key for job in small.plan(*CHAIN).runs] == [job.planned.key for job in renamed.runs]

    def test_the_graph_orders_runs_after_those_that_they_learn_from(self, small):
        plan = small.plan(*DEEPER, "seeds=[1]")
        graph = graph_builder.build(plan, plan.runs)
        titles = [job.title for job in graph.jobs]
        order = [
            "ta on 2x32, order, seed 1",
            "teacher medium (seed 1) on order, a copy of its student",
            "outputs of teacher medium (seed 1) on order",
            "tb on 1x32, order, seed 1",
            "teacher small on order, a copy of its student",
            "both on 1x32, order, seed 1",
        ]
        assert [title for title in titles if title in order] == order
        both = next(job for job in graph.jobs if job.title == order[-1])
        needed = [graph.by_key[key].title for key in graph.dependencies(both)]
        assert {order[1], order[4], "teacher base on order"} <= set(needed)
        assert order[0] not in needed, "it waits for the copy alone"
        assert len(titles) == len(set(titles))

    def test_a_teacher_of_several_rows_is_one_artifact(self, small):
        methods = CHAIN[2].replace("]}},", "]}}, {tinybert: {label: more, students: [1x32], teachers: [medium]}},", 1)
        plan = small.plan(*CHAIN[:2], methods, "seeds=[1]")
        kinds = [job.kind for job in graph_builder.build(plan, plan.runs).jobs]
        assert kinds.count("assistant") == 1
        last, more, ta = plan.runs
        assert len({last.teachers[0].key, more.teachers[0].key, ta.planned.key}) == 1

    def test_a_selection_includes_the_missing_runs_that_it_learns_from(self, small):
        plan = small.plan(*DEEPER)
        chosen = run_selection.to_train(plan.runs, run_selection.parse(["label=both", "seed=2"], plan.runs))
        found = [(job.planned.label, job.planned.seed) for job in chosen]
        assert found == [("ta", 1), ("ta", 2), ("tb", 1), ("both", 2)]
        done = [job for job in plan.runs if job.planned.label != "ta"]
        chosen = run_selection.to_train(done, run_selection.parse(["label=both", "seed=2"], plan.runs))
        assert [(job.planned.label, job.planned.seed) for job in chosen] == [("tb", 1), ("both", 2)]

    def test_a_row_is_tuned_with_the_students_of_the_first_seed(self, small):
        plan = small.plan(*CHAIN, "tuning={trials: 2}")
        jobs = runs(plan)
        for seed in (1, 2):
            study = tuning_studies.of(jobs["last", seed], plan.spec)
            assert study.job.teachers[0].key == jobs["ta", 1].planned.key
            assert study.job.planned.assistants == {"medium": jobs["ta", 1].planned.key}
            assert jobs["last", seed].teachers[0].key == jobs["ta", seed].planned.key
        assert "tuning" in jobs["ta", 1].parts
        chosen = run_selection.to_train(plan.runs, run_selection.parse(["label=last", "seed=2"], plan.runs))
        assert [(job.planned.label, job.planned.seed) for job in chosen] == [("last", 2), ("ta", 1), ("ta", 2)]
        graph = graph_builder.build(plan, chosen)
        study = next(job for job in graph.jobs if job.title.startswith("tuning of last"))
        needed = [graph.by_key[key].title for key in graph.dependencies(study)]
        assert needed[0] == "teacher medium (seed 1) on order, a copy of its student"


def test_students_are_those_of_a_suite_in_which_the_assistant_is_an_ordinary_teacher(small, tmp_path):
    """The teacher is the exported student itself: with the same weights as a fine-tuned checkpoint, a run has the same
    bits."""
    watcher = Watcher()
    methods = CHAIN[2].replace("]}}]", "]}}, {tinybert: {label: more, students: [1x32], teachers: [medium]}}]")
    assert not small.run(*CHAIN[:2], methods, "seeds=[1]", observers=(watcher,)).failed
    assert watcher.started_seeds == [("base", 1), ("ta", 1), ("last", 1), ("more", 1)]
    store = small.store()
    found = {record.label: record for record in store.records()}
    assert found["last"].assistants == {"medium": found["ta"].key}
    assert not [record for record in store.teachers() if record.name == "medium"], "it is a row, not a teacher"
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(store.run_folder(found["ta"].key) / "student", checkpoint)
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"{name} before")
    ordinary = f"teachers.medium={{model: {checkpoint}, finetune: false}}"
    assert not small.run(CHAIN[0], ordinary, methods, "seeds=[1]").failed
    for record in small.store().records():
        before = found[record.label]
        assert record.score == before.score
        assert (record.key == before.key) == (record.label == "ta")
        assert [point.terms for point in record.losses] == [point.terms for point in before.losses]


@pytest.mark.parametrize("cache", ["teacher_cache={max_gb: 0}", "teacher_cache={max_gb: 1}"])
def test_a_chain_has_the_same_bits_in_one_execution_and_in_several(small, cache):
    overrides = (*DEEPER, "seeds=[1]", cache)
    small.run(*overrides)
    before, keys = small.store(), [job.planned.key for job in small.plan(*overrides).runs]
    assert {job.reads_cache for job in small.plan(*overrides).runs} == {cache.endswith("1}")}
    for name in ("results", "cache"):
        (small.folder / name).rename(small.folder / f"{name} before")
    before.folder = small.folder / "results before" / "small"
    for label in ("ta", "tb", "both"):  # each by an execution of its own; the last one finds the others
        small.run(*overrides, options=ExecutionOptions(only={"label": frozenset({label})}))
    assert_same(small.store(), before, keys)


def test_a_run_that_fails_fails_those_that_learn_from_it_with_its_cause(small):
    (small.folder / "broken.py").write_text(BROKEN)
    methods = "methods=[finetune, {broken: {label: ta, students: [2x32]}}, {logit_kd: {label: tb, students: [1x32],"
    methods += " teachers: [medium]}}, {logit_kd: {label: end, students: [1x32], teachers: [small]}}]"
    overrides = (*DEEPER[:3], "plugins=[order.py, broken.py]", "seeds=[1]")
    outcome = small.run(*overrides, methods)
    failed = {record.label: record for record in outcome.failed}
    assert failed.keys() == {"ta", "tb", "end"}
    assert "the method is broken" in failed["ta"].error
    cause = f"ta on 2x32, order, seed 1 failed: {failed['ta'].error}"
    assert (failed["tb"].error, failed["tb"].size) == (cause, None)
    assert failed["end"].error == f"tb on 1x32, order, seed 1 failed: {cause}"
    assert not outcome.failures
    assert {r.label for r in small.store().records() if r.status == "completed"} == {"finetune"}
    board = report(small.store().folder).markdown
    assert "ta on 2x32, order, seed 1 failed" in board
    outcome = small.run(*overrides, methods.replace("broken: ", "logit_kd: "))
    assert not outcome.failed, "the assistant is repaired, and the runs have other keys"


def test_a_failed_assistant_is_tried_again_with_its_dependents(small):
    small.finished(*CHAIN, "seeds=[1]")
    keys = {job.planned.label: job.planned.key for job in small.plan(*CHAIN, "seeds=[1]").runs}
    store = small.store()
    shutil.rmtree(store.run_folder(keys["last"]))
    shutil.rmtree(small.folder / "cache" / "teachers" / keys["ta"])
    shutil.rmtree(store.run_folder(keys["ta"]) / "student")
    outcome = small.run(*CHAIN, "seeds=[1]")
    (record,) = outcome.failed
    assert record.label == "last"
    assert "the student of ta was removed" in record.error
    assert f"harness rerun SUITE {keys['ta']}" in record.error
    (failure,) = outcome.failures
    assert failure.title == "teacher medium (seed 1) on order, a copy of its student"
    shutil.rmtree(store.run_folder(keys["ta"]))
    outcome = small.run(*CHAIN, "seeds=[1]")
    assert not outcome.failed
    assert not outcome.failures
    assert {record.status for record in store.records()} == {"completed"}


def test_a_damaged_copy_is_made_again(small):
    small.finished(*CHAIN, "seeds=[1]")
    keys = {job.planned.label: job.planned.key for job in small.plan(*CHAIN, "seeds=[1]").runs}
    store = small.store()
    before = result(store, keys["last"])
    shutil.rmtree(store.run_folder(keys["last"]))
    shutil.rmtree(small.folder / "cache" / "tensors")
    copy = small.folder / "cache" / "teachers" / keys["ta"]
    weights = next(copy.glob("*.safetensors"))
    weights.write_bytes(b"x" + weights.read_bytes()[1:])
    assert not small.run(*CHAIN, "seeds=[1]").failed
    assert all(torch.equal(before[2][name], tensor) for name, tensor in result(store, keys["last"])[2].items())


@pytest.mark.parametrize("cache", ["teacher_cache={max_gb: 0}", "teacher_cache={max_gb: 1}"])
def test_a_run_learns_from_the_student_that_the_board_shows_after_a_rerun(small, cache):
    overrides = (*CHAIN, "seeds=[1]", cache)
    small.run(*overrides)
    keys = {job.planned.label: job.planned.key for job in small.plan(*overrides).runs}
    store = small.store()
    before = result(store, keys["last"])[2]
    change_student(store.run_folder(keys["ta"]))
    shutil.rmtree(store.run_folder(keys["last"]))
    assert copy_state(small, overrides, {"last"}) == "ready"
    assert not small.run(*overrides).failed
    assert copy_state(small, overrides, {"last"}) == "done"
    found = result(store, keys["last"])[2]
    assert not all(torch.equal(before[name], tensor) for name, tensor in found.items())
    shutil.rmtree(small.folder / "cache")
    shutil.rmtree(store.run_folder(keys["last"]))
    small.run(*overrides)
    expected = result(store, keys["last"])[2]
    assert all(torch.equal(expected[name], tensor) for name, tensor in found.items())


def copy_state(small, overrides, labels):
    """The state of the copy of the assistant's student if the runs of the rows `labels` are to be trained."""
    plan, context = small.plan(*overrides), small.context()
    graph = graph_builder.build(plan, [job for job in plan.runs if job.planned.label in labels])
    (copy,) = [state for state in job_states(plan, graph, context.store, context.host) if state.job.kind == "assistant"]
    return copy.state


def test_the_copy_of_a_run_that_is_set_aside_is_not_done(small):
    small.finished(*CHAIN, "seeds=[1]")
    for job in small.plan(*CHAIN, "seeds=[1]").runs:
        shutil.rmtree(small.store().run_folder(job.planned.key))
    assert copy_state(small, (*CHAIN, "seeds=[1]"), {"ta", "last"}) == "waiting"


def test_a_tuned_assistant_teaches_with_its_tuned_options(small):
    assert not small.run(*CHAIN, "seeds=[1]", "tuning={trials: 2}").failed
    found = {record.label: record for record in small.store().records()}
    assert found["ta"].tuning.trials == 2
    assert found["last"].parts["teachers"] == [found["ta"].key]
    assert found["last"].tuning.study != found["ta"].tuning.study


def test_the_board_counts_the_cost_of_assistants_and_names_the_chain(small):
    small.run(*DEEPER)
    summary = summarize(small.store())
    assert [row.label for row in summary.teachers] == ["base"]
    rows = {row.label: row for row in summary.students}
    own = {label: row.student_seconds + row.teacher_seconds for label, row in rows.items()}
    seconds = {
        (record.label, record.seed): record.cost.student_seconds + record.cost.teacher_seconds
        for record in small.store().records()
    }
    assert rows["ta"].assistant_seconds is None
    assert rows["ta"].training_seconds == pytest.approx(own["ta"])
    assert rows["tb"].assistant_seconds == pytest.approx(own["ta"])
    assert rows["both"].assistant_seconds == pytest.approx(own["ta"] + seconds["tb", 1])
    assert rows["both"].training_seconds == pytest.approx(own["both"] + own["ta"] + seconds["tb", 1])
    board = report(small.store().folder)
    text = board.markdown
    assert "the cost of the other rows whose students taught them" in text
    assert "the student 2x32 of row ta, the run of the same seed; that row learned from base" in text
    assert "the student 1x32 of row tb, the run of seed 1; that row learned from medium" in text
    assert "given teachers base and small" in text
    assert "assistant_seconds" in (small.store().folder / "leaderboard.csv").read_text()
