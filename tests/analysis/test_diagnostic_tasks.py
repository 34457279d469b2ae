"""Diagnostic tasks are on the board but not in its average; hidden labels give no score and no incomplete row."""

import pytest

from harness.analysis.aggregate import summarize
from harness.analysis.score_cells import HIDDEN
from harness.reporting.report_files import write
from harness.storage.plan_file import PlannedTask
from tests.support import results_factory as factory

AX = PlannedTask(name="ax", kind="classification", score="matthews_correlation", synthetic=False, diagnostic=True)
CELLS = [(label, student) for label in factory.TEACHERS_OF for student in ("big", "small")]


@pytest.fixture
def scored(monkeypatch):
    """Scores for `ax` that make the student without a teacher the best."""
    monkeypatch.setitem(factory.TEACHER_SCORES, "ax", 0.3)
    for index, (label, student) in enumerate(CELLS):
        monkeypatch.setitem(factory.SCORES, ("ax", label, student), [0.2 - index / 100] * 3)


def hidden_store(folder, leave_out=()):
    """A store in which the labels of `ax` are hidden: its records are completed and have no score."""
    store = factory.fill(folder)
    planned = factory.plan((factory.SST2, factory.SQUAD, AX))
    store.save_plan(planned)
    teacher = factory.teacher_record("ax", 0.0)
    store.save_teacher(teacher.model_copy(update={"score": None, "metrics": {}}))
    for run in planned.runs:
        if run.task == "ax" and run.key not in leave_out:
            store.save(factory.run_record("ax", run.label, run.student, run.seed, score=None))
    return store


def ranks(store):
    return {(row.label, row.student): (row.rank, row.average) for row in summarize(store).students}


def test_a_diagnostic_task_has_a_column_and_changes_no_rank_or_average(tmp_path, scored):
    plain = ranks(factory.fill(tmp_path / "plain"))
    store = factory.fill(tmp_path / "more", factory.plan((factory.SST2, factory.SQUAD, AX)))
    assert ranks(store) == plain
    rows = {(row.label, row.student): row for row in summarize(store).students}
    assert rows["finetune", "big"].cells["ax"].score.mean == pytest.approx(20)
    text = write(store.folder).markdown
    assert "over the tasks (without ax, a diagnostic task for another task's students)" in text


def test_hidden_labels_leave_rows_complete_and_their_cell_without_a_score(tmp_path):
    store = hidden_store(tmp_path / "hidden")
    assert ranks(store) == ranks(factory.fill(tmp_path / "plain"))
    summary = summarize(store)
    for row in (*summary.teachers, *summary.students):
        assert row.status == "complete"
        assert (row.cells["ax"].state, row.cells["ax"].notes) == ("not applicable", (HIDDEN,))
    assert "n/a (a)" in write(store.folder).markdown


def test_a_diagnostic_run_that_is_missing_is_missing(tmp_path):
    store = hidden_store(tmp_path, leave_out=[factory.run_key("ax", "kd", "big", 2)])
    row = next(row for row in summarize(store).students if (row.label, row.student) == ("kd", "big"))
    assert (row.cells["ax"].state, row.status, row.rank) == ("missing", "incomplete", None)


def test_a_task_outside_qa_may_be_in_percent(tmp_path):
    percent = factory.SST2.model_copy(update={"percent": True})
    store = factory.fill(tmp_path, factory.plan((percent, factory.SQUAD)))
    rows = {(row.label, row.student): row for row in summarize(store).students}
    assert rows["finetune", "big"].cells["sst2"].score.mean == pytest.approx(0.82)
    assert "(sst2, squad: as reported, from 0 to 100)" in write(store.folder).markdown
