"""Data of the page about each run: record, losses and errors. The scripts only display it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from harness.analysis import prediction_tables
from harness.analysis.compatibility import Result
from harness.analysis.prediction_tables import PredictionTable
from harness.analysis.summary import BoardRow, Summary, scale
from harness.api.events import LossPoint
from harness.reporting.page.example_errors import MAX_CLASSES, Errors, class_name, errors
from harness.reporting.page.html_tables import measured_rows
from harness.reporting.page.shown_texts import ExampleTexts
from harness.storage.records import PlanFile, PlannedTask, RunRecord
from harness.storage.store import Store

EXAMPLES_PER_RUN, TOTAL_EXAMPLES = 50, 4000
"""Maximum number of wrong examples for each run, and for all runs together."""

POINTS_PER_RUN, TOTAL_POINTS = 200, 20_000
"""Maximum number of points of a loss curve, for each run and for all runs together."""


@dataclass(frozen=True)
class RunOnPage:
    """A result of a row.

    Attributes:
        id: identifies the run in the page: its key, with ``.<row index>`` in further rows that share the run.
        place: index of the row.
        seed: None for the only teacher of a row.
    """

    id: str
    place: int
    row: BoardRow
    task: PlannedTask
    key: str
    seed: int | None
    result: Result


def runs_on_page(summary: Summary, store: Store) -> list[RunOnPage]:
    """Return all results of the board, including failed runs, ordered by row, task and seed."""
    results = {result.key: result for result in summary.results}
    keys = _keys(summary.plan)
    runs: dict[str, RunOnPage] = {}
    for place, row in enumerate(measured_rows(summary)):
        for task in summary.plan.tasks:
            for key, seed in keys.get((row.role, row.label, row.student, task.name), ()):
                result = results.get(key) or (None if seed is None else store.record(key))
                if result is not None:
                    id = f"{key}.{place}" if key in runs else key
                    own_seed = result.seed if seed is not None else None  # for one of several teachers: its own seed
                    runs[id] = RunOnPage(id, place, row, task, key, own_seed, result)
    return list(runs.values())


def _keys(plan: PlanFile) -> dict[tuple[str, str, str, str], list[tuple[str, int | None]]]:
    """Return (role, label, student, task) -> (key, seed) of each result of the cell, in ascending order of seeds.

    A teacher's seed is that of the runs that learn from it; None if all runs do.
    """
    cells: dict[tuple[str, str, str, str], list[tuple[str, int | None]]] = {}
    for label, by_task in plan.teachers.items():
        for task in by_task:
            keys = plan.teacher_keys(label, task)
            cells["teacher", label, "", task] = [(key, seed) for seed, key in keys.items()]
    for run in sorted(plan.runs, key=lambda run: run.seed):
        cells.setdefault(("student", run.label, run.student, run.task), []).append((run.key, run.seed))
    return cells


def first_run_ids(runs: Sequence[RunOnPage]) -> dict[tuple[int, str], str]:
    """Return (row index, task) -> the id of its first run."""
    ids: dict[tuple[int, str], str] = {}
    for run in runs:
        ids.setdefault((run.place, run.task.name), run.id)
    return ids


def page_data(summary: Summary, store: Store, runs: Sequence[RunOnPage]) -> dict[str, Any]:
    """Return the data that the page embeds as JSON."""
    texts = ExampleTexts(store)
    entries = _RunEntries(summary, store, texts, max(1, len(runs)))
    return {
        "rows": [{"role": row.role, "label": row.label, "student": row.student} for row in measured_rows(summary)],
        "tasks": {task.name: {"kind": task.kind, "score": task.score} for task in summary.plan.tasks},
        "runs": {run.id: entries(run) for run in runs},
        "texts": texts.data,
    }


class _RunEntries:
    """Builds the entry of each run; a predictions file is read once."""

    def __init__(self, summary: Summary, store: Store, texts: ExampleTexts, count: int) -> None:
        self.summary, self.store, self.texts = summary, store, texts
        self.examples = min(EXAMPLES_PER_RUN, max(1, TOTAL_EXAMPLES // count))
        self.points = min(POINTS_PER_RUN, max(10, TOTAL_POINTS // count))
        self.results = {result.key: result for result in summary.results}
        self._read: dict[str, PredictionTable | None] = {}

    def __call__(self, run: RunOnPage) -> dict[str, Any]:
        record = json.loads(run.result.model_dump_json(exclude={"losses"}))
        score = run.result.score
        finite = score is not None and math.isfinite(score)
        return {
            "row": run.place,
            "task": run.task.name,
            "seed": run.seed,
            "score": f"{score * scale(run.task):.1f}" if finite and score is not None else None,
            "record": record,
            "curve": curve(run.result.losses, self.points),
            **self._errors(run),
        }

    def _errors(self, run: RunOnPage) -> dict[str, Any]:
        if isinstance(run.result, RunRecord) and run.result.status == "failed":
            return {"why": "The run failed, so it has no predictions."}
        predictions = self._table(run.result, run.task)
        if predictions is None:
            return {"why": "Its predictions.parquet is missing, so its errors are not known."}
        teacher = self._teacher(run)
        teacher_predictions = self._table(teacher, run.task) if teacher else None
        exact = run.result.metrics.get("exact")
        run_errors = errors(run.task, predictions, teacher_predictions, self.examples, exact=exact)
        if run_errors is None:
            return {"why": "The labels of its examples are hidden, so its errors are not known."}
        name = getattr(teacher, "name", None) if run_errors.differs is not None else None
        return {"errors": self._error_entry(run, run_errors, predictions, name)}

    def _error_entry(
        self, run: RunOnPage, run_errors: Errors, predictions: PredictionTable, teacher: str | None
    ) -> dict[str, Any]:
        ids, splits = predictions.column("id"), predictions.column("split")
        shown = [
            {
                "gold": example.gold,
                "predicted": example.predicted,
                "teacher": example.teacher,
                "differs": example.differs,
                "size": _size(run.task, example.size),
                "id": str(ids[example.at]),
                "text": self.texts.index(
                    run.result.data_fingerprint, splits[example.at], ids[example.at], example.gold
                ),
            }
            for example in run_errors.shown
        ]
        many = run.task.kind == "classification" and run_errors.confusion is None
        classes = range(len(run_errors.confusion)) if run_errors.confusion else ()
        return {
            "examples": run_errors.examples,
            "wrong": run_errors.wrong,
            "differs": run_errors.differs,
            "teacher": teacher,
            "own": isinstance(run.result, RunRecord) and teacher in run.result.teachers,
            "shown": shown,
            "confusion": run_errors.confusion,
            "classes": [class_name(run.task, index) for index in classes],
            "many": f"There are more than {MAX_CLASSES} classes, too many for a table." if many else None,
        }

    def _table(self, result: Result, task: PlannedTask) -> PredictionTable | None:
        if result.key not in self._read:
            path = self.store.folder_of(result) / "predictions.parquet"
            self._read[result.key] = prediction_tables.read(path, task, scores=True)
        return self._read[result.key]

    def _teacher(self, run: RunOnPage) -> Result | None:
        """Return the teacher whose answers are shown: the first of the run's teachers, otherwise of the suite's."""
        if not isinstance(run.result, RunRecord):
            return None
        names = [*run.result.teachers, *self.summary.plan.teachers]
        keys = [self.summary.plan.teacher_key(name, run.task.name, run.seed) for name in names]
        return next((self.results[key] for key in keys if key in self.results), None)


def _size(task: PlannedTask, size: float) -> str | None:
    """Format the size of an error; None if it says nothing."""
    if task.kind == "classification":
        return f"{100 * size:.0f} %" if size < 1 else None
    return f"{size:.2f} off" if task.kind == "regression" else None


def curve(losses: Sequence[LossPoint], most: int) -> dict[str, Any]:
    """Return the steps of a loss curve, the last step of each stage, and the values of each term.

    Values have four significant digits; missing and non-finite ones are None. Of more than `most` points, every n-th
    and the last are returned.
    """
    stride = math.ceil(len(losses) / most) if losses else 1
    points = [point for index, point in enumerate(losses, start=1) if index % stride == 0 or index == len(losses)]
    names = dict.fromkeys(name for point in points for name in point.terms) | {"lr": None}
    return {
        "steps": [point.step for point in points],
        "stages": list(_stages(losses)),
        "terms": {name: [_value(point, name) for point in points] for name in names},
    }


def _stages(losses: Sequence[LossPoint]) -> Iterator[tuple[str, int]]:
    for point, following in zip_longest(losses, losses[1:]):
        if following is None or following.stage != point.stage:
            yield point.stage, point.step


def _value(point: LossPoint, name: str) -> float | None:
    value = point.lr if name == "lr" else point.terms.get(name)
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
