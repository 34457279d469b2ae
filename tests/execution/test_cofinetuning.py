"""Jointly fine-tuned teachers in a suite, from the plan to the leaderboard."""

import re
import shutil

import pytest
import torch

from harness.execution import teacher_runs
from harness.models.capture import Capture
from harness.reporting import report_files
from harness.training.scoring import score
from tests.support.run_watcher import Watcher
from tests.support.student_weights import assert_same_weights, student_weights

pytestmark = pytest.mark.xdist_group("cofinetuning")  # tests that share a finished suite

OTHER = "teachers.other={architecture: {layers: 4, hidden: 16, heads: 2, ffn: 32}, epochs: 1, lr: 0.001}"
ALONE = (OTHER, "methods=[mt_bert]", "seeds=[1]")


def members(small, *overrides):
    return {job.name: job for job in small.plan(*overrides).teachers if job.group}


def student(small):
    (record,) = (r for r in small.store().records() if r.label == "mt_bert")
    return record, student_weights(small.store(), record.key)


def test_a_suite_end_to_end(small):
    watcher = Watcher()
    outcome = small.run(*ALONE, observers=(watcher,))
    assert not outcome.failed
    assert watcher.started == ["base", "other", "base (mt_bert)", "mt_bert"]
    record, _ = student(small)
    assert record.teachers == ["base (mt_bert)", "other (mt_bert)"]
    assert record.notes == {"layer_maps": [[2], [4]]}
    assert set(record.losses[-1].terms) == {"loss", "hidden", "distillation", "task"}
    teacher_records = {teacher.name: teacher for teacher in small.store().teachers()}
    assert list(teacher_records) == ["base", "base (mt_bert)", "other", "other (mt_bert)"]
    assert set(teacher_records["base (mt_bert)"].losses[-1].terms) == {"loss", "task_1", "task_2"}
    assert teacher_records["base (mt_bert)"].cost == teacher_records["other (mt_bert)"].cost
    assert [teacher_records[name].size.layers for name in ("base (mt_bert)", "other (mt_bert)")] == [2, 4]
    report_files.write(small.store().folder)
    board = (small.folder / "results" / "small" / "leaderboard.md").read_text()
    for name in teacher_records:
        assert f"_{name}_" in board or f"*{name}*" in board


def test_teachers_share_a_head_train_the_projection_and_have_their_own_scores(small):
    small.finished(*ALONE)
    jobs = members(small, *ALONE)
    base, other = (teacher_runs.load(jobs[f"{name} (mt_bert)"]) for name in ("base", "other"))
    assert_same_weights(base.head.state_dict(), other.head.state_dict())
    assert list(base.body.bridge.parameters()) == []
    assert other.body.bridge.weight.shape == (32, 16)
    start = teacher_runs.start(jobs["base (mt_bert)"], trust_remote_code=False)
    (other_body,) = start.method.modules(start.method.student, ()).values()
    assert not torch.equal(other.body.bridge.weight, other_body.bridge.weight)
    assert not torch.equal(base.head.output.weight, start.model.head.output.weight)
    teacher_records = {teacher.name: teacher for teacher in small.store().teachers()}
    engine_metrics = small.load().host.metrics
    for name, job in jobs.items():
        model = teacher_runs.load(job)
        scored = score(Capture(model), encoded(job), engine_metrics, batch_size=7, device=torch.device("cpu"))
        assert teacher_records[name].score == scored.score


def encoded(job):
    from harness.training.batch_stream import encode_task

    return encode_task(
        job.data.task,
        job.data.splits,
        job.tokenizer_ref.tokenizer,
        job.tokenizer_ref.fingerprint,
        job.training.max_length,
    )


def test_cached_teachers_are_reused_by_another_row_seed_and_suite(small):
    small.finished(*ALONE)
    watcher = Watcher()
    rows = "methods=[{mt_bert: {label: mt_bert}}, {mt_bert: {label: hot, temperature: 2}}]"
    small.run(OTHER, rows, "seeds=[1, 2]", "name=other", observers=(watcher,))
    assert set(watcher.started) == {"mt_bert", "hot"}
    (small.folder / "cache").rename(small.folder / "gone")
    again = Watcher()
    small.run(*ALONE, observers=(again,))
    assert again.started == []


def test_an_interruption_of_their_training_gives_the_same_bits(small):
    small.finished(*ALONE)
    record, expected = student(small)
    scores = [teacher.score for teacher in small.store().teachers()]
    for name in ("results", "cache"):
        shutil.rmtree(small.folder / name)
    assert small.run(*ALONE, observers=(Watcher(("base (mt_bert)", 5)),)).interrupted
    watcher = Watcher()
    assert not small.run(*ALONE, observers=(watcher,)).interrupted
    assert watcher.started == ["base (mt_bert)", "mt_bert"]
    assert not list((small.folder / "cache" / "teachers").glob("*.pt"))
    assert [teacher.score for teacher in small.store().teachers()] == scores
    again, weights = student(small)
    assert again.key == record.key
    assert_same_weights(weights, expected)


def test_a_student_is_bit_identical_alone_and_in_a_cohort(small):
    """The cohort has the same teacher both jointly and separately fine-tuned."""
    small.finished(*ALONE)
    record, expected = student(small)
    (small.store().run_folder(record.key) / "record.json").unlink()
    apart = "{mt_bert: {label: apart, cofinetune: false}}"
    assert not small.run(OTHER, f"methods=[finetune, logit_kd, tinybert, {apart}, mt_bert]", "seeds=[1]").failed
    records = {r.label: r for r in small.store().records()}
    assert records["apart"].teachers == ["base", "other"]
    assert records["mt_bert"].cost.cohort_size == 5
    assert_same_weights(student(small)[1], expected)


def test_two_groups_of_one_method_have_names_of_their_own(small):
    rows = (
        "methods=[mt_bert, {mt_bert: {label: back, teachers: [other, base]}}, {mt_bert: {label: hot, temperature: 2}}]"
    )
    plan = small.plan(OTHER, rows)
    assert [job.name for job in plan.teachers] == [
        "base",
        "other",
        "base (mt_bert)",
        "other (mt_bert)",
        "other (back)",
        "base (back)",
    ]
    assert len({job.key for job in plan.teachers}) == 6
    assert len({job.group.key for job in plan.teachers if job.group}) == 2


@pytest.mark.parametrize("change", ["lr=0.002", "seed=3", "architecture.ffn=64", "max_length=12"])
def test_a_change_of_the_second_teacher_changes_only_the_keys_of_its_method(small, change):
    rows = "methods=[finetune, logit_kd, tinybert, mt_bert]"
    before, after = (
        {(job.planned.label, job.planned.seed): job.planned.key for job in small.plan(*overrides).runs}
        for overrides in ((OTHER, rows), (OTHER, rows, f"teachers.other.{change}"))
    )
    changed = {label for (label, seed), key in before.items() if after[label, seed] != key}
    # Joint fine-tuning uses the learning rate of the first teacher.
    assert changed == (set() if change.startswith("lr") else {"mt_bert"})


def test_without_cofinetuning_the_second_teachers_settings_count(small):
    rows = "methods=[{mt_bert: {cofinetune: false}}]"
    plans = [small.plan(OTHER, rows), small.plan(OTHER, rows, "teachers.other.lr=0.002")]
    assert not {job.planned.key for job in plans[0].runs} & {job.planned.key for job in plans[1].runs}
    assert not any(job.group for plan in plans for job in plan.teachers)


def test_the_floor_names_the_suites_teacher(small):
    floor = "teachers.other.floor={order: 1.0}"
    causes = [failure.cause for failure in small.run(*ALONE, floor).failures]
    assert [cause for cause in causes if re.match(r"teacher other on order failed: .*teachers\.other\.floor", cause)]
    small.run(*ALONE)
    store = small.store()
    (apart,) = (teacher for teacher in store.teachers() if teacher.name == "other")
    store.save_teacher(apart.model_copy(update={"score": 2.0}))
    (failure,) = small.run(*ALONE, floor).failures
    assert "other (mt_bert)" in failure.title
    assert re.search(r"teachers\.other\.floor\.order", failure.error)


def test_question_answering_end_to_end(small):
    settings = ("tasks=[synthetic_qa]", "training.limit={train: 48, validation: 24}", "training.max_length=64")
    assert not small.run(*ALONE, *settings).failed
    (record,) = small.store().records()
    assert set(record.losses[-1].terms) == {"loss", "hidden", "distillation", "task"}
    assert 0 <= record.score <= 100
    assert {teacher.name for teacher in small.store().teachers()} == {
        "base",
        "other",
        "base (mt_bert)",
        "other (mt_bert)",
    }
