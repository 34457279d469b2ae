"""Reads the predictions of all results of one task, each file once, and collects the wrong examples of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.compatibility import Result
from harness.analysis.example_errors import Errors, errors
from harness.analysis.prediction_tables import PredictionTable, TaskExamples
from harness.storage.plan_file import PlanFile, PlannedTask
from harness.storage.records import RunRecord, TeacherRecord
from harness.storage.store import Store

EXAMPLES_PER_RUN, TOTAL_EXAMPLES = 50, 100_000
"""Maximum number of wrong examples for each run, and for all runs together."""


def read_predictions(
    store: Store, plan: PlanFile, task: PlannedTask, results: Sequence[Result], *, with_errors: bool
) -> tuple[dict[str, PredictionTable], dict[str, Errors | None]]:
    """Read the predictions of the task's results.

    Returns:
        key -> its predictions, without scores; and key -> its errors, None if labels are hidden, or nothing without
        `with_errors`. Both lack results without stored predictions.

    Raises:
        UserError: a file cannot be read.
    """
    tables: dict[str, PredictionTable] = {}
    wrong: dict[str, Errors | None] = {}
    examples, most = TaskExamples(task), examples_per_run(plan)
    known = {result.key: result for result in results}
    # Teachers first, because runs are compared with them.
    for result in sorted(results, key=lambda result: isinstance(result, RunRecord)):
        table = examples.read(store.folder_of(result) / "predictions.parquet")
        if table is None:
            continue
        if with_errors:
            teacher = shown_teacher(plan, result, known)
            teacher_table = tables.get(teacher.key) if teacher else None
            wrong[result.key] = errors(task, table, teacher_table, most, exact=result.metrics.get("exact"))
        tables[result.key] = table.without_scores()
    return tables, wrong


def examples_per_run(plan: PlanFile) -> int:
    """Return the maximum number of wrong examples of a run."""
    return min(EXAMPLES_PER_RUN, max(1, TOTAL_EXAMPLES // max(1, len(plan.runs))))


def shown_teacher(plan: PlanFile, result: Result, results: Mapping[str, Result]) -> TeacherRecord | None:
    """Return the teacher whose answers are shown: the first of the run's teachers, otherwise of the suite's."""
    if not isinstance(result, RunRecord):
        return None
    names = [*result.teachers, *plan.teachers]
    teachers = (results.get(plan.teacher_key(name, result.task, result.seed) or "") for name in names)
    return next((teacher for teacher in teachers if isinstance(teacher, TeacherRecord)), None)
