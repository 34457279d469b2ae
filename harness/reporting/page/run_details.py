"""The runs of the page: an index of all runs, embedded in the page, and a file with the details of each cell.

A cell is a row on a task. Its file has the records, loss curves and wrong examples of its runs, and the page loads it
when they are shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, groupby
from typing import Any

import numpy as np

from harness.analysis.cell_results import keys_by_cell
from harness.analysis.compatibility import Result
from harness.analysis.example_errors import MAX_CLASSES, Errors, class_name
from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.student_t import Floats
from harness.analysis.summary import BoardRow, Summary, scale
from harness.analysis.task_predictions import shown_teacher
from harness.api.wording import counted
from harness.reporting.page.compare_details import CompareFiles
from harness.reporting.page.html_tables import measured_rows
from harness.reporting.page.markup import details_call, embedded
from harness.reporting.page.shown_texts import CellTexts, ExampleTexts
from harness.storage.hashing import key
from harness.storage.plan_file import PlannedTask
from harness.storage.records import RunRecord
from harness.storage.store import Store

POINTS_PER_RUN, TOTAL_POINTS = 200, 500_000
"""Maximum number of points of a loss curve, for each run and for all runs together."""


@dataclass(frozen=True)
class RunOnPage:
    """A result of a row.

    Attributes:
        id: identifies the run in the page: its key, with ``.<row index>`` in further rows that share the run.
        place: index of the row.
        seed: None for the only teacher of a row.
        decimals: how many the board prints of scores on the task.
    """

    id: str
    place: int
    row: BoardRow
    task: PlannedTask
    key: str
    seed: int | None
    result: Result
    decimals: int

    @property
    def failed(self) -> bool:
        return isinstance(self.result, RunRecord) and self.result.status == "failed"

    @property
    def score(self) -> str | None:
        """The score on the board's scale; None if there is none."""
        score = self.result.score
        return None if score is None or not math.isfinite(score) else f"{score * scale(self.task):.{self.decimals}f}"


@dataclass(frozen=True)
class Cell:
    """The runs of a row on a task, at least one."""

    runs: Sequence[RunOnPage]

    @cached_property
    def name(self) -> str:
        """Name of the file with the details. It stays the same if ranks change."""
        first = self.runs[0]
        row = first.row
        return key({"role": row.role, "label": row.label, "student": row.student, "task": first.task.name})


def runs_on_page(summary: Summary) -> list[RunOnPage]:
    """Return all results of the board, including failed runs, ordered by row, task and seed."""
    results: dict[str, Result] = {result.key: result for result in (*summary.results, *summary.failures)}
    keys = keys_by_cell(summary.plan)
    runs: dict[str, RunOnPage] = {}
    decimals = {task.name: summary.decimals(task.name) for task in summary.plan.tasks}
    for place, row in enumerate(measured_rows(summary)):
        for task in summary.plan.tasks:
            for run_key, seed in keys.get((row.name, task.name), ()):
                if run_key in results:
                    id, result = f"{run_key}.{place}" if run_key in runs else run_key, results[run_key]
                    own_seed = result.seed if seed is not None else None  # for one of several teachers: its own seed
                    runs[id] = RunOnPage(id, place, row, task, run_key, own_seed, result, decimals[task.name])
    return list(runs.values())


def cells_of(runs: Sequence[RunOnPage]) -> list[Cell]:
    """Return the cells of the runs, in their order."""
    return [Cell(list(group)) for _, group in groupby(runs, key=lambda run: (run.place, run.task.name))]


def first_run_ids(cells: Sequence[Cell]) -> dict[tuple[int, str], str]:
    """Return (row index, task) -> the id of its first run."""
    return {(cell.runs[0].place, cell.runs[0].task.name): cell.runs[0].id for cell in cells}


def page_data(summary: Summary, details: DetailFiles) -> dict[str, Any]:
    """Return the data that the page embeds as JSON."""
    cells, compare = list(details.cells.values()), details.compare
    return {
        "rows": [
            {"role": row.role, "label": row.label, "student": row.student, "compare": compare.of_row(place)}
            for place, row in enumerate(measured_rows(summary))
        ],
        "tasks": {
            task.name: {
                "kind": task.kind,
                "score": task.score,
                "higher": task.higher_is_better,
                "examples": compare.of_task(task.name),
            }
            for task in summary.plan.tasks
        },
        "cells": [
            {
                "row": cell.runs[0].place,
                "task": cell.runs[0].task.name,
                "file": cell.name,
                "logged": any(len(summary.losses[run.key]) for run in cell.runs),
                "runs": [[run.id, run.seed, run.score, *([1] if run.failed else [])] for run in cell.runs],
            }
            for cell in cells
        ],
    }


class DetailFiles:
    """The files with the details of cells, and those of `CompareFiles`.

    Each text is built on request, so that memory holds one of them.

    Raises:
        UserError: the texts of the examples cannot be read.
    """

    def __init__(self, summary: Summary, store: Store, cells: Sequence[Cell]) -> None:
        self.summary = summary
        self.cells = {f"{cell.name}.js": cell for cell in cells}
        self.results = {result.key: result for result in summary.results}
        self.texts = ExampleTexts(store, summary)
        self.compare = CompareFiles(summary, self.texts)
        self.points = min(POINTS_PER_RUN, max(10, TOTAL_POINTS // max(1, len(summary.plan.runs))))

    @property
    def names(self) -> list[str]:
        return [*self.cells, *(f"{name}.js" for name in self.compare.texts_by_name)]

    def text(self, name: str) -> str:
        """Return the content of a file: a script that passes JSON to the page, because a page from disk cannot fetch
        files."""
        if name not in self.cells:
            return self.compare.texts_by_name[name.removesuffix(".js")]()
        cell, texts = self.cells[name], CellTexts(self.texts)
        runs = {run.id: self._entry(run, texts) for run in cell.runs}
        return details_call(cell.name, embedded({"runs": runs, "texts": texts.data}))

    def _entry(self, run: RunOnPage, texts: CellTexts) -> dict[str, Any]:
        return {
            "record": json.loads(run.result.model_dump_json(exclude={"losses"})),
            "curve": curve(self.summary.losses[run.key], self.points),
            **self._errors(run, texts),
        }

    def _errors(self, run: RunOnPage, texts: CellTexts) -> dict[str, Any]:
        if run.failed:
            return {"why": "The run failed, so it has no predictions."}
        if run.key not in self.summary.errors:
            return {"why": "Its predictions.parquet is missing, so its errors are not known."}
        run_errors = self.summary.errors[run.key]
        if run_errors is None:
            return {"why": "The labels of its examples are hidden, so its errors are not known."}
        teacher = shown_teacher(self.summary.plan, run.result, self.results)
        name = teacher.name if teacher and run_errors.differs is not None else None
        return {"errors": _error_entry(run, run_errors, texts, name)}


def _error_entry(run: RunOnPage, run_errors: Errors, texts: CellTexts, teacher: str | None) -> dict[str, Any]:
    shown = [
        {
            "gold": example.gold,
            "predicted": example.predicted,
            "teacher": example.teacher,
            "differs": example.differs,
            "size": _size(run.task, example.size),
            "id": example.id,
            "text": texts.index(run.result.data_fingerprint, example),
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


def _size(task: PlannedTask, size: float) -> str | None:
    """Format the size of an error; None if it says nothing."""
    if task.kind == "classification":
        return f"{100 * size:.0f} %" if size < 1 else None
    if task.kind == "token_classification":
        return counted(round(size), "wrong word")
    return f"{size:.2f} off" if task.kind == "regression" else None


def curve(losses: LoggedLosses, most: int) -> dict[str, Any]:
    """Return the steps of a loss curve, the last step of each stage, and the values of each term.

    Values have four significant digits; missing and non-finite ones are None. Of more than `most` points, every n-th
    and the last are returned.
    """
    count = len(losses)
    stride = math.ceil(count / most) if count else 1
    chosen = np.arange(stride - 1, count, stride)
    if count and (not len(chosen) or chosen[-1] != count - 1):
        chosen = np.append(chosen, count - 1)
    terms = {name: values for name, values in losses.terms.items() if _logged(losses, name)[chosen].any()}
    return {
        "steps": losses.steps[chosen].tolist(),
        "stages": list(_stages(losses)),
        "terms": {name: _rounded(values[chosen]) for name, values in {**terms, "lr": losses.lr}.items()},
    }


def _logged(losses: LoggedLosses, name: str) -> Any:
    """[points]: whether each point has the term."""
    return ~losses.absent[name] if name in losses.absent else np.ones(len(losses), dtype=bool)


def _stages(losses: LoggedLosses) -> Iterator[tuple[str, int]]:
    ends = accumulate(count for _, count in losses.stages)
    for (stage, _), end in zip(losses.stages, ends, strict=True):
        yield stage, int(losses.steps[end - 1])


def _rounded(values: Floats) -> list[float | None]:
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]
