"""Tests of boards with one teacher per seed, and of their captions on teachers."""

import re

import pytest

from harness.analysis import interval_coverage
from harness.analysis.aggregate import summarize
from harness.api.errors import UserError
from harness.reporting import report
from harness.storage.store import Store
from tests.support.results_factory import SCORES, fill, plan, run_key, run_record, teacher_record

TEACHERS = {"sst2": [0.90, 0.92, 0.97], "squad": [84.0, 88.0, 89.0]}


def several(**changes):
    """Return the demo suite with one teacher per seed."""
    keys = {task: [f"base-{task}-{seed}" for seed in (11, 12, 13)] for task in TEACHERS}
    return plan(**({"teachers": {"base": keys}} | changes))


def filled(folder, planned=None, *, leave_out=()) -> Store:
    store = fill(folder, planned or several())
    for task, scores in TEACHERS.items():
        for seed, score in zip((11, 12, 13), scores, strict=True):
            key = f"base-{task}-{seed}"
            if key not in leave_out:
                store.save_teacher(teacher_record(task, score, key=key, seed=seed))
    return store


def students(summary):
    return {(row.label, row.student): row for row in summary.students}


def test_teacher_is_one_row_over_its_seeds(tmp_path):
    (row,) = summarize(filled(tmp_path)).teachers
    sst2 = row.cells["sst2"].score
    assert (sst2.n, sst2.mean, sst2.std) == (3, pytest.approx(93.0), pytest.approx(3.605551))
    assert sst2.low < 93 < sst2.high
    assert row.cells["sst2"].scores == pytest.approx({1: 90.0, 2: 92.0, 3: 97.0})
    assert (row.runs, row.completed, row.average.n) == (6, 6, 3)
    assert students(summarize(Store(tmp_path)))["kd", "big"].compression == 2.0


def test_run_is_compared_with_its_own_teacher(tmp_path):
    """Scores in percent of the teacher of the same seed, not of the teachers' mean."""
    row = students(summarize(filled(tmp_path)))["kd", "big"]
    ratios = [
        100 * score / teacher
        for task in ("sst2", "squad")
        for score, teacher in zip(SCORES[task, "kd", "big"], TEACHERS[task], strict=True)
    ]
    middle = sorted(ratios)[1:-1]  # a quarter of six is one whole value
    assert row.iqm.mean == pytest.approx(sum(middle) / 4)


def test_the_interval_of_the_gap_covers_the_teachers(tmp_path):
    one, many = tmp_path / "one", tmp_path / "many"
    fill(one)
    filled(many)
    gaps = [students(summarize(Store(folder)))["kd", "big"].gap for folder in (one, many)]
    assert gaps[1].high - gaps[1].low > gaps[0].high - gaps[0].low
    closed = (81.5 - 76.5) / ((93.0 + 87.0) / 2 - 76.5)
    assert gaps[1].closed == pytest.approx(100 * closed)


def test_missing_teacher_is_named_by_the_seed_of_its_runs(tmp_path):
    (row,) = summarize(filled(tmp_path, leave_out=["base-sst2-12"])).teachers
    assert row.cells["sst2"].state == "missing"
    assert "the teacher of seed 2 is not trained yet" in row.cells["sst2"].notes[0]
    assert row.average is None


def test_captions_on_teacher_seeds(tmp_path):
    fill(tmp_path / "one")
    filled(tmp_path / "many")
    one, many = (report(tmp_path / name).markdown for name in ("one", "many"))
    for text in ("interval over seeds and examples, given this teacher", "paired over seeds, given this"):
        assert text in one
        assert text not in many
    for text in ("interval over seeds, teachers and examples:", "paired over seeds and teachers;"):
        assert text in many
    assert "Seeds of teacher base: 11, 12, 13" in many
    assert "each seed with its own teacher" in many
    assert "given" not in re.sub("given by", "", many)
    page = (tmp_path / "one" / "index.html").read_text(encoding="utf-8")
    assert "95 % intervals, given this teacher" in page
    assert "interval<span>, given this teacher</span>" in page


def test_page_shows_teachers_by_their_own_seeds(tmp_path):
    from harness.reporting.page.run_details import runs_on_page

    summary = summarize(filled(tmp_path))
    of_teachers = [(run.task.name, run.seed) for run in runs_on_page(summary) if run.row.role == "teacher"]
    assert of_teachers == [(task, seed) for task in ("sst2", "squad") for seed in (11, 12, 13)]
    fill(tmp_path / "one")
    alone = runs_on_page(summarize(Store(tmp_path / "one")))
    assert {run.seed for run in alone if run.row.role == "teacher"} == {None}


@pytest.mark.parametrize(
    ("teachers", "learn_from", "text"),
    [
        ({}, [], "seeds and examples"),
        ({"base": 1}, ["base"], "seeds and examples, given this teacher"),
        ({"base": 1, "large": 1}, ["base"], "seeds and examples, given this teacher"),
        ({"base": 1, "large": 1}, ["base", "large"], "seeds and examples, given these teachers"),
        ({"base": 3}, ["base"], "seeds, teachers and examples"),
        ({"base": 3, "large": 1}, ["base"], "seeds, teachers and examples"),
        ({"base": 3, "large": 1}, ["base", "large"], "seeds, teachers and examples, given teacher large"),
        ({"base": 1, "large": 3}, ["large"], "seeds, teachers and examples, given teacher base"),
    ],
)
def test_what_intervals_cover(teachers, learn_from, text):
    planned = plan()
    runs = [run.model_copy(update={"teachers": learn_from}) for run in planned.runs]
    keys = {name: {"sst2": [f"{name}-{place}" for place in range(count)]} for name, count in teachers.items()}
    assert interval_coverage.covers(plan(runs=runs, teachers=keys)) == text


def test_runs_of_one_teacher_and_of_several_are_refused(tmp_path):
    """Runs carried over from a suite with one teacher: the records name the teachers that they learned from."""
    store = filled(tmp_path)
    for seed, teacher in ((1, 11), (2, 12), (3, 13)):
        score = SCORES["sst2", "kd", "big"][seed - 1]
        store.save(run_record("sst2", "kd", "big", seed, score, parts={"teachers": [f"base-sst2-{teacher}"]}), None)
    # A completed record is never overwritten, so the one of another teacher is put in place of it.
    assert summarize(store)
    path = store.run_folder(run_key("sst2", "kd", "big", 2)) / "record.json"
    wrong = run_record("sst2", "kd", "big", 2, 0.86, parts={"teachers": ["base-sst2-11"]})
    path.write_text(wrong.model_dump_json(), encoding="utf-8")
    (path.parent / "checksums.json").unlink()
    with pytest.raises(UserError, match="runs have other teachers than the plan names for their seeds") as error:
        summarize(store)
    assert str(path) in str(error.value)
