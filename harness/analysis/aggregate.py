"""Computes the numbers of a leaderboard from a results store."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from typing import TypeVar

import numpy as np

from harness.analysis import bootstrap, ranking
from harness.analysis.bootstrap import BootstrapResult
from harness.analysis.compatibility import Result, refuse_incomparable
from harness.analysis.contrasts import Contrasts, RowContrasts, compared_rows, contrasts
from harness.analysis.example_errors import Errors
from harness.analysis.inference import Sample
from harness.analysis.logged_losses import LoggedLosses
from harness.analysis.prediction_tables import PredictionTable
from harness.analysis.printed_decimals import with_decimals
from harness.analysis.speed_up import requested_records, speed_ups
from harness.analysis.summary import BoardRow, ScoreCell, State, Statistic, Summary, Unsampled, scale
from harness.analysis.task_predictions import read_predictions
from harness.api.errors import Problem, UserError
from harness.storage.plan_file import PlanFile, PlannedRun, PlannedTask
from harness.storage.planned_names import PlannedNames
from harness.storage.records import ModelSize, RunRecord, TeacherRecord
from harness.storage.store import Store

CONSTANT = "constant answer"
"""Label of the row that gives one answer for every example."""

R = TypeVar("R", RunRecord, TeacherRecord)

HIDDEN = "the labels are hidden, so there is no score; predictions.parquet is in the folder of the record"


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
    losses: dict[str, LoggedLosses] = {}
    runs = [*_without_losses(map(store.record, dict.fromkeys(run.key for run in plan.runs)), losses)]
    trained = [*_without_losses(starmap(store.teacher, sorted(plan.scored_teachers.items())), losses)]
    names = PlannedNames(plan, [*runs, *trained])
    records = {run.key: names.result(run) for run in runs}
    done: dict[str, Result] = {key: record for key, record in records.items() if record.status == "completed"}
    done |= {teacher.key: names.result(teacher) for teacher in trained}
    refuse_incomparable(store, plan, list(done.values()))
    measurements = [names.latency(record) for record in store.latencies()]
    latencies = requested_records(plan, measurements, done.values())
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
    failed = {key: record for key, record in records.items() if record.status == "failed"}
    rows = _RowBuilder(plan, done, failed, bootstraps)
    built = with_decimals(plan, list(rows.all()))
    constant = next((row for row in built if row.role == "constant"), None)
    teachers = tuple(row for row in built if row.role == "teacher")
    students = ranking.mark_collapsed_seeds(plan, [row for row in built if row.role == "student"], constant)
    differences = ranking.row_differences([*teachers, *students])
    comparisons = ranking.comparisons(plan, students, differences)
    students = ranking.add_suite_statistics(plan, teachers, ranking.mark_top_groups(plan, students, comparisons))
    return Summary(
        plan=plan,
        teachers=teachers,
        students=ranking.sort_rows(plan, ranking.add_ranks(plan, students)),
        beaten=tuple(ranking.beaten(plan, teachers, students)),
        results=tuple(done[key] for key in sorted(done)),
        others=len(set(store.run_keys()) - {run.key for run in plan.runs}),
        differences=differences,
        speed_ups=speed_ups(plan, latencies),
        latencies=tuple(latencies),
        measurements=tuple(measurements),
        generals=tuple(general for planned in plan.generals if (general := store.general(planned.key))),
        comparisons=tuple(comparisons),
        unsampled=tuple(_unsampled(plan, bootstraps)),
        constant=constant,
        tunings={key: tuning for key in _studies(plan) if (tuning := store.tuning(key))},
        failures=tuple(failed.values()),
        losses=losses,
        errors=errors,
        contrasts=RowContrasts(compared, contrasted) if with_examples else None,
    )


def _without_losses(records: Iterable[R | None], losses: dict[str, LoggedLosses]) -> Iterator[R]:
    """Yield the existing records, and move their losses to `losses`, which needs less memory."""
    for record in records:
        if record is not None:
            losses[record.key] = LoggedLosses.of(record.losses)
            yield record.model_copy(update={"losses": []})


def _bootstrap(task: PlannedTask, results: Sequence[Result], tables: Mapping[str, PredictionTable]) -> BootstrapResult:
    """Bootstrap the task's examples for all results that have a finite score."""
    scored = [
        bootstrap.RecordedScore(result.key, tables.get(result.key), result.score)
        for result in results
        if result.score is not None and math.isfinite(result.score)
    ]
    return bootstrap.bootstrap_scores(task, results[0].data_fingerprint, scored) if scored else BootstrapResult()


def _complete(sample: Sample, notes: tuple[str, ...] = ()) -> ScoreCell:
    return ScoreCell("complete", sample, Statistic.of_scores([sample]), notes)


def _hardware(result: Result) -> str:
    """``cpu AMD EPYC``: device and name of the machine of a result."""
    return f"{result.provenance.hardware.device} {result.provenance.hardware.name}"


def _studies(plan: PlanFile) -> list[str]:
    return [study.key for study in plan.tuning.studies if study.key] if plan.tuning else []


def _hidden(result: Result | None) -> bool:
    """Whether the result exists and has no score, because the labels are hidden."""
    return result is not None and result.score is None and not result.metrics


def _undefined(task: PlannedTask) -> str:
    return f"{task.score} is undefined for its predictions (a correlation is undefined if all predictions are equal)"


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


def _listed(seeds: Iterable[int | None]) -> str:
    return ", ".join(map(str, seeds))


def _error(record: RunRecord) -> str:
    """The first line of a failed run's error, in which no backquote ends a span of code."""
    lines = (record.error or "").strip().splitlines() or ["no error was recorded"]
    return lines[0].replace("`", "'")


def _tunings(results: Iterable[Result]) -> dict[str, float]:
    """Study -> its seconds. The runs of one row share a study."""
    return {run.tuning.study: run.tuning.seconds for run in results if isinstance(run, RunRecord) and run.tuning}


def _seconds(results: Iterable[Result]) -> float:
    """The time of the students' own steps and of their share of their teachers' forward passes."""
    return math.fsum(result.cost.student_seconds + result.cost.teacher_seconds for result in results)


class _RowBuilder:
    """Builds the rows of a board from completed and failed records."""

    def __init__(
        self,
        plan: PlanFile,
        done: Mapping[str, Result],
        failed: Mapping[str, RunRecord],
        bootstraps: Mapping[str, BootstrapResult],
    ) -> None:
        self.plan, self.done, self.failed, self.bootstraps = plan, done, failed, bootstraps
        self.remedy = f"`{plan.command}` runs only what is missing"
        counts = Counter(_hardware(result) for result in done.values())
        self.usual_hardware = min(counts, key=lambda name: (-counts[name], name), default="")
        self.first_teacher = next(iter(plan.teachers), None)
        self.runs: dict[tuple[str, str], list[PlannedRun]] = {}
        self.by_key = {run.key: run for run in plan.runs}
        for run in plan.runs:
            self.runs.setdefault((run.label, run.student), []).append(run)
        self.first_with = {_error(failed[run.key]): run.key for run in reversed(plan.runs) if run.key in failed}
        """The first run of the plan that failed with an error, by error."""
        self.reasons = {(cell.label, cell.student, cell.task): cell.reason for cell in plan.not_applicable}

    def all(self) -> Iterator[BoardRow]:
        """The measured rows, and the row of the constant answer if it has a score on some task."""
        yield from (self._teacher(name) for name in self.plan.teachers)
        if constant := self._constant():
            yield constant
        yield from self._students()

    def _teacher(self, name: str) -> BoardRow:
        by_task = self.plan.teachers[name]
        keys = [key for task_keys in by_task.values() for key in task_keys]
        cells = {
            task.name: self._teacher_cell(task, self.plan.teacher_keys(name, task.name)) for task in self.plan.tasks
        }
        return self._row(BoardRow("teacher", name, "", cells, len(keys), 0), keys)

    def _constant(self) -> BoardRow | None:
        """The row of the constant answer; None if it has a score on no task."""
        cells = {task.name: self._constant_cell(task) for task in self.plan.tasks}
        scored = any(cell.sample for cell in cells.values())
        return self._row(BoardRow("constant", CONSTANT, "", cells, 0, 0), []) if scored else None

    def _constant_cell(self, task: PlannedTask) -> ScoreCell:
        score = self.bootstraps[task.name].constant
        if score is None:
            return ScoreCell("not applicable", notes=("the score of a constant answer is not known",))
        return _complete(Sample((0,), np.array([score * scale(task)])))

    def _students(self) -> list[BoardRow]:
        """One row per planned (label, student), in the suite's order."""
        planned = {*self.runs, *((label, student) for label, student, _ in self.reasons)}
        pairs = [(label, name) for name in self.plan.students for label in self.plan.labels if (label, name) in planned]
        return [self._student(label, name) for label, name in pairs]

    def _student(self, label: str, student: str) -> BoardRow:
        runs = self.runs.get((label, student), [])
        cells = {
            task.name: self._student_cell(
                task,
                [run for run in runs if run.task == task.name],
                self.reasons.get((label, student, task.name), "not part of the suite"),
            )
            for task in self.plan.tasks
        }
        return self._row(BoardRow("student", label, student, cells, len(runs), 0), [run.key for run in runs])

    def _row(self, row: BoardRow, keys: Sequence[str]) -> BoardRow:
        """Add average, sizes and costs to the row."""
        counts = {task.name: not task.diagnostic for task in self.plan.tasks}
        row = replace(row, cells={name: replace(cell, counts=counts[name]) for name, cell in row.cells.items()})
        done = [self.done[key] for key in keys if key in self.done]
        sizes = {result.task: result.model_size for result in done}
        parameters = [size.parameters for size in sizes.values()]
        known = bool(done) and row.status != "incomplete"
        trained = known and any(not isinstance(result, TeacherRecord) or result.finetune for result in done)
        assistants = [self.done[key] for key in self._assistants(keys) if key in self.done]
        return replace(
            row,
            completed=len(done),
            average=ranking.average(self.plan, row),
            parameters=(min(parameters), max(parameters)) if parameters else None,
            compression=self._compression(sizes),
            student_seconds=math.fsum(r.cost.student_seconds for r in done) if trained else None,
            teacher_seconds=math.fsum(r.cost.teacher_seconds for r in done) if trained else None,
            assistant_seconds=_seconds(assistants) if trained and assistants else None,
            tuning_seconds=math.fsum(_tunings(done).values()) if known and _tunings(done) else None,
        )

    def _assistants(self, keys: Iterable[str]) -> list[str]:
        """Keys of the runs whose students taught the runs `keys`, directly or not, each once."""
        waiting, found = list(keys), dict[str, None]()
        while waiting:
            run = self.by_key.get(waiting.pop())
            added = [key for key in (run.assistants.values() if run else ()) if key not in found]
            found |= dict.fromkeys(added)
            waiting += added
        return list(found)

    def _compression(self, sizes: Mapping[str, ModelSize]) -> float | None:
        """Parameters of the suite's first teacher over those of the model, summed over the tasks that both have."""
        teachers = self.plan.teachers.get(self.first_teacher or "", {})
        # All seeds of a teacher have the same shape.
        keys = {task: key for task in sizes for key in teachers.get(task, [])[:1] if key in self.done}
        parameters = sum(sizes[task].parameters for task in keys)
        return sum(self.done[key].model_size.parameters for key in keys.values()) / parameters if parameters else None

    def _teacher_cell(self, task: PlannedTask, keys: Mapping[int | None, str]) -> ScoreCell:
        """The cell of a teacher. `keys` has one entry, or one per seed of the runs, with which it is then paired."""
        if not keys:
            return ScoreCell("not applicable", notes=("this teacher is not trained on this task",))
        if missing := [seed for seed, key in keys.items() if key not in self.done]:
            which = "" if None in keys else f"the teacher of seed{'s' * (len(missing) > 1)} {_listed(missing)} is "
            return ScoreCell("missing", notes=(f"{which}not trained yet; {self.remedy}",))
        results = {seed or 0: self.done[key] for seed, key in keys.items()}
        if all(map(_hidden, results.values())):
            return ScoreCell("not applicable", notes=(HIDDEN,))
        for result in results.values():
            if result.score is None or not math.isfinite(result.score):
                return ScoreCell("undefined", notes=(f"{_undefined(task)} (record of teacher {result.key})",))
        warnings = [
            text for result in results.values() if isinstance(result, TeacherRecord) for text in result.warnings
        ]
        notes = (*dict.fromkeys(warnings), *self._hardware_notes(results.values()))
        return _complete(self._sample(task, results), notes)

    def _student_cell(self, task: PlannedTask, runs: Sequence[PlannedRun], reason: str) -> ScoreCell:
        if not runs:
            return ScoreCell("not applicable", notes=(" ".join(reason.split()),))
        if all(_hidden(self.done.get(run.key)) for run in runs):
            return ScoreCell("not applicable", notes=(HIDDEN,))
        missing = tuple(self._missing_notes(runs))
        failed = tuple(self._failed_notes(runs))
        undefined = tuple(note for run in runs if (note := self._undefined_note(task, run)))
        if missing or failed or undefined:
            state: State = "failed" if failed else "missing" if missing else "undefined"
            return ScoreCell(state, notes=(*missing, *failed, *undefined))
        results = {run.seed: self.done[run.key] for run in runs}
        return _complete(self._sample(task, results), self._hardware_notes(results.values()))

    def _sample(self, task: PlannedTask, results: Mapping[int, Result]) -> Sample:
        """The scores of results by seed, on the board's scale. Has draws only if every result has them."""
        bootstrapped, by_seed = self.bootstraps[task.name], dict(sorted(results.items()))
        columns = [bootstrapped.draws.get(result.key) for result in by_seed.values()]
        known = [column for column in columns if column is not None]
        draws = scale(task) * np.stack(known, axis=1) if len(known) == len(columns) else None
        values = np.array([(result.score or 0.0) * scale(task) for result in by_seed.values()])
        bounds = None
        if bootstrapped.bounds:
            bounds = (scale(task) * bootstrapped.bounds[0], scale(task) * bootstrapped.bounds[1])
        return Sample(tuple(by_seed), values, draws, bootstrapped.examples, bounds)

    def _missing_notes(self, runs: Sequence[PlannedRun]) -> Iterable[str]:
        seeds = [str(run.seed) for run in runs if run.key not in self.done and run.key not in self.failed]
        if seeds:
            yield f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} not run yet; {self.remedy}"

    def _failed_notes(self, runs: Sequence[PlannedRun]) -> Iterable[str]:
        """A note for each error. Cells with the same error have the same note, so that they share a footnote."""
        seeds: dict[str, list[int]] = {}
        for run in runs:
            if run.key in self.failed:
                seeds.setdefault(_error(self.failed[run.key]), []).append(run.seed)
        for error, failed in seeds.items():
            path = f"runs/{self.first_with[error]}/record.json"
            yield (
                f"seed{'s' * (len(failed) > 1)} {_listed(failed)} failed: `{error}` ({path});"
                f" {self.remedy} and repeats failed runs"
            )

    def _undefined_note(self, task: PlannedTask, run: PlannedRun) -> str | None:
        """The note of a run that completed with a score that is not finite, such as a correlation with a constant."""
        result = self.done.get(run.key)
        if result is None or _hidden(result) or (result.score is not None and math.isfinite(result.score)):
            return None
        return f"seed {run.seed}: {_undefined(task)} (runs/{run.key}/record.json)"

    def _hardware_notes(self, results: Iterable[Result]) -> tuple[str, ...]:
        unusual = sorted({_hardware(result) for result in results} - {self.usual_hardware})
        return (f"trained on other hardware than most: {', '.join(unusual)}",) if unusual else ()
