"""Computes the numbers of a leaderboard from a results store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import TypeVar

from harness.analysis import bootstrap, ranking
from harness.analysis.board_rows import BoardRows
from harness.analysis.bootstrap import BootstrapResult
from harness.analysis.compatibility import Result, refuse_incomparable
from harness.analysis.contrasts import Contrasts, RowContrasts, compared_rows, contrasts
from harness.analysis.example_errors import Errors
from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.prediction_tables import PredictionTable
from harness.analysis.printed_decimals import with_decimals
from harness.analysis.row_differences import RowDifferences
from harness.analysis.speed_up import requested_records, speed_ups
from harness.analysis.summary import BeatenTeacher, BoardRow, Summary, Unsampled
from harness.analysis.task_predictions import read_predictions
from harness.analysis.top_groups import Comparison
from harness.api.errors import Problem, UserError
from harness.storage.plan_file import PlanFile, PlannedTask
from harness.storage.planned_names import PlannedNames
from harness.storage.records import RunRecord, TeacherRecord
from harness.storage.store import Store

R = TypeVar("R", RunRecord, TeacherRecord)


def summarize(store: Store, *, with_examples: bool = False) -> Summary:
    """Summarize the results of a store as a leaderboard. The result depends on the contents of the store alone.

    `with_examples` adds `Summary.errors` and `Summary.contrasts`, which take time on a large board, and which only the
    page shows.

    Raises:
        UserError: there is no plan.json, a file cannot be read, or results are not comparable (see
            `harness.analysis.compatibility`).
    """
    plan = store.plan()
    if plan is None:
        raise UserError(Problem("contains no plan.json; `harness run SUITE` writes it", str(store.folder)))
    stored = _read_results(store, plan)
    done = stored.done
    refuse_incomparable(store, plan, list(done.values()))
    measurements = [stored.names.latency(record) for record in store.latencies()]
    latencies = requested_records(plan, measurements, done.values())
    examples = _example_statistics(store, plan, done, with_examples=with_examples)
    rows = BoardRows(plan, done, stored.failed, examples.bootstraps).all()
    ranked = _ranked(plan, with_decimals(plan, list(rows)))
    return Summary(
        plan=plan,
        teachers=ranked.teachers,
        students=ranked.students,
        beaten=ranked.beaten,
        results=tuple(done[key] for key in sorted(done)),
        others=len(set(store.run_keys()) - {run.key for run in plan.runs}),
        differences=ranked.differences,
        speed_ups=speed_ups(plan, latencies),
        latencies=tuple(latencies),
        measurements=tuple(measurements),
        generals=tuple(general for planned in plan.generals if (general := store.general(planned.key))),
        comparisons=ranked.comparisons,
        unsampled=tuple(_unsampled(plan, examples.bootstraps)),
        constant=ranked.constant,
        tunings={key: tuning for key in _studies(plan) if (tuning := store.tuning(key))},
        failures=tuple(stored.failed.values()),
        losses=stored.losses,
        errors=examples.errors,
        contrasts=examples.contrasts,
    )


@dataclass(frozen=True)
class _StoredResults:
    """The results of a plan that are stored, with the names of the plan.

    Attributes:
        done: completed runs and teachers, by key.
        failed: failed runs, by key.
        losses: the logged losses of all of them, by key. Those of the records are empty.
        names: gives other stored results the names of the plan.
    """

    done: Mapping[str, Result]
    failed: Mapping[str, RunRecord]
    losses: Mapping[str, LoggedLosses]
    names: PlannedNames


def _read_results(store: Store, plan: PlanFile) -> _StoredResults:
    losses: dict[str, LoggedLosses] = {}
    runs = [*_without_losses(map(store.record, dict.fromkeys(run.key for run in plan.runs)), losses)]
    trained = [*_without_losses(starmap(store.teacher, sorted(plan.scored_teachers.items())), losses)]
    names = PlannedNames(plan, [*runs, *trained])
    records = {run.key: names.result(run) for run in runs}
    done: dict[str, Result] = {key: record for key, record in records.items() if record.status == "completed"}
    done |= {teacher.key: names.result(teacher) for teacher in trained}
    failed = {key: record for key, record in records.items() if record.status == "failed"}
    return _StoredResults(done, failed, losses, names)


def _without_losses(records: Iterable[R | None], losses: dict[str, LoggedLosses]) -> Iterator[R]:
    """Yield the existing records, and move their losses to `losses`, which needs less memory."""
    for record in records:
        if record is not None:
            losses[record.key] = LoggedLosses.of(record.losses)
            yield record.model_copy(update={"losses": []})


@dataclass(frozen=True)
class _ExampleStatistics:
    """What is computed from the predictions: `bootstraps` by task, and `Summary.errors` and `Summary.contrasts`."""

    bootstraps: Mapping[str, BootstrapResult]
    errors: Mapping[str, Errors | None]
    contrasts: RowContrasts | None


def _example_statistics(
    store: Store, plan: PlanFile, done: Mapping[str, Result], *, with_examples: bool
) -> _ExampleStatistics:
    """Read the predictions of one task after another, which needs less memory than those of all."""
    errors: dict[str, Errors | None] = {}
    bootstraps: dict[str, BootstrapResult] = {}
    contrasted: dict[str, Contrasts] = {}
    compared = compared_rows(plan, done) if with_examples else []
    for task in plan.tasks:
        results = [result for result in done.values() if result.task == task.name]
        tables, task_errors = read_predictions(store, plan, task, results, with_errors=with_examples)
        bootstraps[task.name] = _bootstrap(task, results, tables)
        if contrast := contrasts(plan, task, compared, done, tables):
            contrasted[task.name] = contrast
        errors |= task_errors
    return _ExampleStatistics(bootstraps, errors, RowContrasts(compared, contrasted) if with_examples else None)


def _bootstrap(task: PlannedTask, results: Sequence[Result], tables: Mapping[str, PredictionTable]) -> BootstrapResult:
    """Bootstrap the task's examples for all results that have a finite score."""
    scored = [
        bootstrap.RecordedScore(result.key, tables.get(result.key), result.score)
        for result in results
        if result.score is not None and math.isfinite(result.score)
    ]
    return bootstrap.bootstrap_scores(task, results[0].data_fingerprint, scored) if scored else BootstrapResult()


@dataclass(frozen=True)
class _RankedRows:
    """The rows of a board by role, and what is computed from all of them; see `Summary`."""

    constant: BoardRow | None
    teachers: tuple[BoardRow, ...]
    students: tuple[BoardRow, ...]
    beaten: tuple[BeatenTeacher, ...]
    differences: RowDifferences
    comparisons: tuple[Comparison, ...]


def _ranked(plan: PlanFile, rows: Sequence[BoardRow]) -> _RankedRows:
    """Compare the rows, and add marks, suite-level statistics and ranks to those of students."""
    constant = next((row for row in rows if row.role == "constant"), None)
    teachers = tuple(row for row in rows if row.role == "teacher")
    students = ranking.mark_collapsed_seeds(plan, [row for row in rows if row.role == "student"], constant)
    differences = ranking.row_differences([*teachers, *students])
    comparisons = ranking.comparisons(plan, students, differences)
    students = ranking.add_suite_statistics(plan, teachers, ranking.mark_top_groups(plan, students, comparisons))
    return _RankedRows(
        constant,
        teachers,
        students=ranking.sort_rows(plan, ranking.add_ranks(plan, students)),
        beaten=tuple(ranking.beaten(plan, teachers, students)),
        differences=differences,
        comparisons=tuple(comparisons),
    )


def _studies(plan: PlanFile) -> list[str]:
    return [study.key for study in plan.tuning.studies if study.key] if plan.tuning else []


def _unsampled(plan: PlanFile, bootstraps: Mapping[str, BootstrapResult]) -> Iterator[Unsampled]:
    """The runs that could not be resampled, with the reason. Teachers are not listed: they have no interval then."""
    for task, bootstrapped in bootstraps.items():
        if bootstrapped.reason:
            yield Unsampled(task, bootstrapped.reason)
        missing = bootstrapped.missing
        runs = [run for run in plan.runs if run.task == task and run.key in missing]
        for reason in dict.fromkeys(missing[run.key] for run in runs):
            affected = [run for run in runs if missing[run.key] == reason]
            keys = list(dict.fromkeys(run.key for run in affected))
            listed = f"{', '.join(keys[:3])}{' and others' * (len(keys) > 3)}"
            rows = dict.fromkeys(f"{run.label} on {run.student}" for run in affected)
            yield Unsampled(task, f"{reason} ({listed})", tuple(rows))
