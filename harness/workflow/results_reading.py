"""Reads the results of a suite as pandas data frames."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.analysis import speed_up
from harness.analysis.aggregate import summarize
from harness.analysis.prediction_tables import TaskExamples
from harness.api.errors import UserError, nearest
from harness.reporting import export_rows
from harness.storage.records import TeacherRecord
from harness.storage.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.compatibility import Result
    from harness.analysis.summary import Summary
    from harness.storage.latency_records import LatencyRecord
    from harness.storage.records import RunRecord

IDENTITY = ("key", "task", "method", "label", "student", "seed")
"""The columns that identify a run."""

PREDICTION_COLUMNS = ("id", "split", "answer", "prediction", "scores")


def load_results(folder: str | Path) -> Results:
    """Read the results of a suite. Needs neither torch nor the suite file.

    Args:
        folder: the results folder of one suite, such as ``results/quick``.

    Raises:
        harness.UserError: the folder has no results, a file is damaged, or the results are not comparable.
    """
    store = Store.existing(Path(folder))
    return Results(store, summarize(store))


@dataclass(frozen=True)
class Results:
    """The results of a suite, as data frames. Unless stated otherwise, scores are on the scale of their metric.

    Attributes:
        store: the results folder.
        summary: the numbers of the board.
    """

    store: Store
    summary: Summary

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per planned run that is completed or failed.

        Columns: key, task, method, label, student, seed, status, error, score, ``metric_<name>`` for each metric,
        teachers (names, separated by commas), parameters, layers, hidden, heads, ffn, the costs of training in seconds
        (student_seconds, teacher_seconds, wall_seconds), steps, tokens, and the ``folder`` of its files.
        """
        return _frame(_run(record, self.store) for record in self._records())

    @cached_property
    def teachers(self) -> pd.DataFrame:
        """One row per teacher and task: key, task, teacher, model, seed, score, metrics, parameters, folder."""
        teachers = [result for result in self.summary.results if isinstance(result, TeacherRecord)]
        return _frame(
            {
                "key": record.key,
                "task": record.task,
                "teacher": record.name,
                "model": record.model,
                "seed": record.seed,
                "score": record.score,
                **_metrics(record),
                "parameters": record.size.parameters,
                "folder": str(self.store.folder_of(record)),
            }
            for record in teachers
        )

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard, one row per row of the board, unrounded, on the scale from 0 to 100: as leaderboard.csv."""
        return _frame(export_rows.csv_rows(self.summary))

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """One row per pair of rows of one student: the difference of their averages, on the scale from 0 to 100.

        Columns: student, label, other_label, difference (label minus other_label), low and high (95 % interval), over
        (what the interval covers), p, p_holm (corrected for all pairs of the student), significant. The last six are
        None for a pair that is not tested: usable predictions are missing, or its difference is the same with every
        seed. Empty if the suite has one seed.
        """
        names = ("student", "label", "other_label", "difference", "low", "high", "over", "p", "p_holm", "significant")
        rows = (
            row | dict(zip(("label", "other_label"), row["labels"], strict=True))
            for row in export_rows.comparisons(self.summary)
        )
        return _frame(({name: row[name] for name in names} for row in rows), names)

    @cached_property
    def latency(self) -> pd.DataFrame:
        """One row per model, backend, shape and number of threads: as latency.csv. Empty if nothing was measured."""
        return latency_frame(self.summary.measurements)

    def predictions(self, **columns: str | int) -> pd.DataFrame:
        """The predictions of the completed runs, with the columns that identify each run.

        Args:
            columns: values of key, task, method, label, student or seed; only matching runs are read. All runs of a
                large suite can need more memory than there is.

        Returns:
            one row per run and example: the columns that identify the run, then id and split of the example, its
            ``answer`` (the correct label), the prediction, and ``scores``: the model outputs behind it, or None.

        Raises:
            harness.UserError: no completed run matches, or a file is damaged.
        """
        import pandas as pd

        if unknown := sorted(columns.keys() - set(IDENTITY)):
            raise UserError(f"predictions: unknown column {unknown[0]!r}; {nearest(unknown[0], IDENTITY)}")
        records = [
            record
            for record in self._records()
            if record.status == "completed" and all(getattr(record, name) == value for name, value in columns.items())
        ]
        if not records:
            wanted = ", ".join(f"{name}={value!r}" for name, value in columns.items())
            raise UserError(f"{self.store.folder}: no completed run matches {wanted or 'the plan'}")
        examples = {task.name: TaskExamples(task) for task in self.summary.plan.tasks}
        return pd.concat([self._predictions(record, examples[record.task]) for record in records], ignore_index=True)

    def _predictions(self, record: RunRecord, examples: TaskExamples) -> pd.DataFrame:
        table = examples.read(self.store.folder_of(record) / "predictions.parquet")
        if table is None:
            return _frame([], [*IDENTITY, *PREDICTION_COLUMNS])
        scores = [None] * len(table.predictions) if table.scores is None else list(table.scores)
        values = (table.examples.ids, table.examples.splits, table.examples.labels, table.predictions, scores)
        run = {name: getattr(record, name) for name in IDENTITY}
        return _frame([run]).merge(_columns(dict(zip(PREDICTION_COLUMNS, values, strict=True))), how="cross")

    def _records(self) -> list[RunRecord]:
        keys = dict.fromkeys(run.key for run in self.summary.plan.runs)
        completed = (result for result in self.summary.results if not isinstance(result, TeacherRecord))
        known = {record.key: record for record in (*completed, *self.summary.failures)}
        return [known[key] for key in keys if key in known]


def latency_frame(records: Sequence[LatencyRecord]) -> pd.DataFrame:
    """The measurements as a data frame, as in latency.csv: one row per model, backend, shape and number of threads."""
    return _frame(speed_up.csv_rows(records))


def _run(record: RunRecord, store: Store) -> dict[str, Any]:
    size = record.size.model_dump(exclude={"flops"}) if record.size else {}
    cost = record.cost
    return {
        **{name: getattr(record, name) for name in IDENTITY},
        "teachers": ",".join(record.teachers),
        "status": record.status,
        "error": record.error,
        "score": record.score,
        **_metrics(record),
        **size,
        "student_seconds": cost.student_seconds,
        "teacher_seconds": cost.teacher_seconds,
        "wall_seconds": cost.wall_seconds,
        "steps": cost.steps,
        "tokens": cost.tokens,
        "folder": str(store.folder_of(record)),
    }


def _metrics(record: Result) -> dict[str, float]:
    return {f"metric_{name}": value for name, value in record.metrics.items()}


def _columns(columns: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: list(values) for name, values in columns.items()})


def _frame(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A data frame of the rows; a column that a row lacks is missing (NaN) there."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns) if columns else None)
