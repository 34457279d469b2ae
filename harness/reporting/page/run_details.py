"""What the page tells of each run: its record, its losses, its errors. As data, which page.js only puts in place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from harness.analysis import prediction_tables
from harness.analysis.compatibility import Result
from harness.analysis.prediction_tables import Table
from harness.analysis.summary import Row, Summary, scale
from harness.api.events import LossPoint
from harness.reporting.page.example_errors import MAX_CLASSES, Errors, class_name, errors
from harness.reporting.page.html_tables import measured_rows
from harness.reporting.page.shown_texts import ExampleTexts
from harness.storage.records import PlanFile, PlannedTask, RunRecord
from harness.storage.store import Store

EXAMPLES_PER_RUN, TOTAL_EXAMPLES = 50, 4000
"""Examples with errors that are shown of a run, and of all runs together: with more runs, each shows fewer."""

POINTS_PER_RUN, TOTAL_POINTS = 200, 20_000
"""Likewise points of loss curves."""


@dataclass(frozen=True)
class RunOnPage:
    """A result and where it stands: `place` is that of its row; `seed` is None of the only teacher of a row. The page
    knows it by `id`: its key, and in further rows that share the run their place behind it."""

    id: str
    place: int
    row: Row
    task: PlannedTask
    key: str
    seed: int | None
    result: Result


def runs_on_page(summary: Summary, store: Store) -> list[RunOnPage]:
    """Every result of the board, also runs that failed: row by row, task by task, seed by seed."""
    done = {result.key: result for result in summary.results}
    keys = _keys(summary.plan)
    found: dict[str, RunOnPage] = {}
    for place, row in enumerate(measured_rows(summary)):
        for task in summary.plan.tasks:
            for key, seed in keys.get((row.role, row.label, row.student, task.name), ()):
                result = done.get(key) or (None if seed is None else store.record(key))
                if result is not None:
                    id = f"{key}.{place}" if key in found else key
                    own = result.seed if seed is not None else None  # of one of several teachers, that of its training
                    found[id] = RunOnPage(id, place, row, task, key, own, result)
    return list(found.values())


def _keys(plan: PlanFile) -> dict[tuple[str, str, str, str], list[tuple[str, int | None]]]:
    """(role, label, student, task) -> the keys and seeds of a cell, the least seed first. A teacher's is the seed of
    the runs that learn from it, None of all runs."""
    found: dict[tuple[str, str, str, str], list[tuple[str, int | None]]] = {}
    for label, by_task in plan.teachers.items():
        for task in by_task:
            keys = plan.teacher_keys(label, task)
            found["teacher", label, "", task] = [(key, seed) for seed, key in keys.items()]
    for run in sorted(plan.runs, key=lambda run: run.seed):
        found.setdefault(("student", run.label, run.student, run.task), []).append((run.key, run.seed))
    return found


def first_run_ids(runs: Sequence[RunOnPage]) -> dict[tuple[int, str], str]:
    """(place of the row, task) -> the id of its first run."""
    found: dict[tuple[int, str], str] = {}
    for run in runs:
        found.setdefault((run.place, run.task.name), run.id)
    return found


def page_data(summary: Summary, store: Store, runs: Sequence[RunOnPage]) -> dict[str, Any]:
    """All of it."""
    texts = ExampleTexts(store)
    told = _RunEntries(summary, store, texts, max(1, len(runs)))
    return {
        "rows": [{"role": row.role, "label": row.label, "student": row.student} for row in measured_rows(summary)],
        "tasks": {task.name: {"kind": task.kind, "score": task.score} for task in summary.plan.tasks},
        "runs": {run.id: told(run) for run in runs},
        "texts": texts.data,
    }


class _RunEntries:
    """Makes a run's entry."""

    def __init__(self, summary: Summary, store: Store, texts: ExampleTexts, count: int) -> None:
        self.summary, self.store, self.texts = summary, store, texts
        self.examples = min(EXAMPLES_PER_RUN, max(1, TOTAL_EXAMPLES // count))
        self.points = min(POINTS_PER_RUN, max(10, TOTAL_POINTS // count))
        self.done = {result.key: result for result in summary.results}
        self._read: dict[str, Table | None] = {}

    def __call__(self, run: RunOnPage) -> dict[str, Any]:
        record = json.loads(run.result.model_dump_json(exclude={"losses"}))
        score = run.result.score
        known = score is not None and math.isfinite(score)
        return {
            "row": run.place,
            "task": run.task.name,
            "seed": run.seed,
            "score": f"{score * scale(run.task):.1f}" if known and score is not None else None,
            "record": record,
            "curve": curve(run.result.losses, self.points),
            **self._errors(run),
        }

    def _errors(self, run: RunOnPage) -> dict[str, Any]:
        if isinstance(run.result, RunRecord) and run.result.status == "failed":
            return {"why": "The run failed, so it has no predictions."}
        own = self._table(run.result)
        if own is None:
            return {"why": "Its predictions.parquet is not there, so its errors are not known."}
        teacher = self._teacher(run)
        beside = self._table(teacher) if teacher else None
        found = errors(run.task, own, beside, self.examples, exact=run.result.metrics.get("exact"))
        if found is None:
            return {"why": "The labels of its examples are hidden, so what is wrong is not known."}
        name = getattr(teacher, "name", None) if found.differs is not None else None
        return {"errors": self._told(run, found, own, name)}

    def _told(self, run: RunOnPage, found: Errors, own: Table, teacher: str | None) -> dict[str, Any]:
        ids, splits = own.column("id"), own.column("split")
        shown = [
            {
                "gold": each.gold,
                "predicted": each.predicted,
                "teacher": each.teacher,
                "differs": each.differs,
                "size": _size(run.task, each.size),
                "id": str(ids[each.at]),
                "text": self.texts.index(run.result.data_fingerprint, splits[each.at], ids[each.at], each.gold),
            }
            for each in found.shown
        ]
        many = run.task.kind == "classification" and found.confusion is None
        classes = range(len(found.confusion)) if found.confusion else ()
        return {
            "examples": found.examples,
            "wrong": found.wrong,
            "differs": found.differs,
            "teacher": teacher,
            "own": isinstance(run.result, RunRecord) and teacher in run.result.teachers,
            "shown": shown,
            "confusion": found.confusion,
            "classes": [class_name(run.task, index) for index in classes],
            "many": f"There are more than {MAX_CLASSES} classes, too many for a table." if many else None,
        }

    def _table(self, result: Result) -> Table | None:
        if result.key not in self._read:
            path = self.store.folder_of(result) / "predictions.parquet"
            self._read[result.key] = prediction_tables.read(path, scores=True)
        return self._read[result.key]

    def _teacher(self, run: RunOnPage) -> Result | None:
        """Whom the run's predictions stand beside: the first of its teachers, else of the suite's."""
        if not isinstance(run.result, RunRecord):
            return None
        names = [*run.result.teachers, *self.summary.plan.teachers]
        keys = [self.summary.plan.teacher_key(name, run.task.name, run.seed) for name in names]
        return next((self.done[key] for key in keys if key in self.done), None)


def _size(task: PlannedTask, size: float) -> str | None:
    """How wrong it is, in words."""
    if task.kind == "classification":
        return f"{100 * size:.0f} %" if size < 1 else None
    return f"{size:.2f} off" if task.kind == "regression" else None


def curve(losses: Sequence[LossPoint], most: int) -> dict[str, Any]:
    """Steps, the step at which each stage ends, and each term with a value for each step: four digits, None where there
    is none. Of more than `most` points, every so manieth and the last."""
    every = math.ceil(len(losses) / most) if losses else 1
    kept = [point for index, point in enumerate(losses, start=1) if index % every == 0 or index == len(losses)]
    names = dict.fromkeys(name for point in kept for name in point.terms) | {"lr": None}
    return {
        "steps": [point.step for point in kept],
        "stages": list(_stages(losses)),
        "terms": {name: [_value(point, name) for point in kept] for name in names},
    }


def _stages(losses: Sequence[LossPoint]) -> Iterator[tuple[str, int]]:
    for point, after in zip_longest(losses, losses[1:]):
        if after is None or after.stage != point.stage:
            yield point.stage, point.step


def _value(point: LossPoint, name: str) -> float | None:
    value = point.lr if name == "lr" else point.terms.get(name)
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
