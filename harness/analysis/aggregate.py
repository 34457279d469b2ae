"""Makes the numbers of a leaderboard of a store: a pure function of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.analysis import bootstrap, ranking
from harness.analysis.bootstrap import BootstrapResult
from harness.analysis.compatibility import Result, refuse_mixes, refuse_other_teachers, refuse_unequal_budgets
from harness.analysis.inference import Sample
from harness.analysis.speed_up import requested_records, speed_ups
from harness.analysis.summary import Cell, Row, State, Statistic, Summary, Unsampled, scale
from harness.api.errors import Problem, UserError
from harness.storage.records import ModelSize, PlanFile, PlannedRun, PlannedTask, RunRecord
from harness.storage.store import Store

CONSTANT = "constant answer"
"""The name of the row that predicts one class for every example."""

HIDDEN = "the labels of its examples are hidden, so nothing is scored; a run's predictions lie beside its record"


def summarize(store: Store) -> Summary:
    """The board of a store that has a plan.

    Raises:
        UserError: no plan, a file that cannot be read, or results of a task that scored different examples or metrics.
    """
    plan = store.plan()
    if plan is None:
        raise UserError(Problem("has no plan.json, so what belongs on a board is not known", str(store.folder)))
    records = {run.key: record for run in plan.runs if (record := store.record(run.key))}
    teacher_keys = {key for of_task in plan.teachers.values() for keys in of_task.values() for key in keys}
    taught = {key: teacher for key in sorted(teacher_keys) if (teacher := store.teacher(key))}
    done: dict[str, Result] = {key: record for key, record in records.items() if record.status == "completed"}
    done.update(taught)
    refuse_mixes(store, plan, list(done.values()))
    refuse_unequal_budgets(store, plan, list(done.values()))
    refuse_other_teachers(store, plan, list(done.values()))
    measured = requested_records(plan, store.latencies(), done.values())
    drawn = {task.name: _drawn(store, task, [r for r in done.values() if r.task == task.name]) for task in plan.tasks}
    rows = _Rows(plan, done, {key: r for key, r in records.items() if r.status == "failed"}, drawn)
    teachers, constant = tuple(rows.teacher(name) for name in plan.teachers), rows.constant()
    students = ranking.mark_collapsed_seeds(plan, rows.students(), constant)
    comparisons = ranking.comparisons(plan, students)
    students = ranking.add_suite_statistics(plan, teachers, ranking.mark_top_groups(plan, students, comparisons))
    return Summary(
        plan=plan,
        teachers=teachers,
        students=ranking.sort_rows(plan, ranking.add_ranks(plan, students)),
        beaten=tuple(ranking.beaten(plan, teachers, students)),
        results=tuple(done[key] for key in sorted(done)),
        others=len(set(store.run_keys()) - {run.key for run in plan.runs}),
        speed_ups=speed_ups(plan, measured),
        latencies=tuple(measured),
        generals=tuple(made for planned in plan.generals if (made := store.general(planned.key))),
        comparisons=tuple(comparisons),
        unsampled=tuple(_unsampled(plan, drawn)),
        constant=constant,
        tunings={key: tuning for key in _studies(plan) if (tuning := store.tuning(key))},
    )


def _drawn(store: Store, task: PlannedTask, results: Sequence[Result]) -> BootstrapResult:
    """What resampling the task's examples gives, for all of its results that have a score."""
    scored = [
        bootstrap.RecordedScore(result.key, store.folder_of(result) / "predictions.parquet", result.score)
        for result in results
        if result.score is not None and math.isfinite(result.score)
    ]
    return bootstrap.bootstrap_scores(task, results[0].data_fingerprint, scored) if scored else BootstrapResult()


def _complete(sample: Sample, notes: tuple[str, ...] = ()) -> Cell:
    return Cell("complete", sample, Statistic.on_task(sample), notes)


def _hardware(result: Result) -> str:
    """The machine of a result, as far as it sets results apart."""
    return f"{result.provenance.hardware.device} {result.provenance.hardware.name}"


def _studies(plan: PlanFile) -> list[str]:
    return [study.key for study in plan.tuning.studies if study.key] if plan.tuning else []


def _hidden(result: Result | None) -> bool:
    """Whether the result is there and nothing in it is scored: the labels of its examples are hidden."""
    return result is not None and result.score is None and not result.metrics


def _undefined(task: PlannedTask) -> str:
    return f"{task.score} is undefined for its predictions, as a correlation is where all of them are equal"


def _unsampled(plan: PlanFile, drawn: Mapping[str, BootstrapResult]) -> Iterator[Unsampled]:
    """What could not be resampled, and why. A teacher that cannot be just has no interval."""
    for task, found in drawn.items():
        if found.reason:
            yield Unsampled(task, found.reason)
        runs = [run for run in plan.runs if run.task == task and run.key in found.lacking]
        for reason in dict.fromkeys(found.lacking[run.key] for run in runs):
            lacking = [run for run in runs if found.lacking[run.key] == reason]
            keys = list(dict.fromkeys(run.key for run in lacking))
            some = f"{', '.join(keys[:3])}{' and others' * (len(keys) > 3)}"
            rows = dict.fromkeys(f"{run.label} on {run.student}" for run in lacking)
            yield Unsampled(task, f"{reason} ({some})", tuple(rows))


def _listed(seeds: Iterable[int | None]) -> str:
    return ", ".join(map(str, seeds))


def _tunings(results: Iterable[Result]) -> dict[str, float]:
    """Study -> what it took; runs of one row share it."""
    return {run.tuning.study: run.tuning.seconds for run in results if isinstance(run, RunRecord) and run.tuning}


class _Rows:
    """Makes rows out of what is done and what has failed."""

    def __init__(
        self,
        plan: PlanFile,
        done: Mapping[str, Result],
        failed: Mapping[str, RunRecord],
        drawn: Mapping[str, BootstrapResult],
    ) -> None:
        self.plan, self.done, self.failed, self.drawn = plan, done, failed, drawn
        self.again = f"`{plan.command}` does only what is missing"
        counts = Counter(_hardware(result) for result in done.values())
        self.usual = min(counts, key=lambda name: (-counts[name], name), default="")
        self.first_teacher = next(iter(plan.teachers), None)
        self.runs: dict[tuple[str, str], list[PlannedRun]] = {}
        for run in plan.runs:
            self.runs.setdefault((run.label, run.student), []).append(run)
        self.reasons = {(cell.label, cell.student, cell.task): cell.reason for cell in plan.not_applicable}

    def teacher(self, name: str) -> Row:
        by_task = self.plan.teachers[name]
        keys = [key for of_task in by_task.values() for key in of_task]
        cells = {
            task.name: self._teacher_cell(task, self.plan.teacher_keys(name, task.name)) for task in self.plan.tasks
        }
        return self._row(Row("teacher", name, "", cells, len(keys), 0), keys)

    def constant(self) -> Row | None:
        """The best single class for all examples, on the tasks where that has a score."""
        cells = {task.name: self._constant_cell(task) for task in self.plan.tasks}
        known = any(cell.sample for cell in cells.values())
        return self._row(Row("constant", CONSTANT, "", cells, 0, 0), []) if known else None

    def _constant_cell(self, task: PlannedTask) -> Cell:
        found = self.drawn[task.name].constant
        if found is None:
            return Cell("not applicable", notes=("the score of a constant answer is not known",))
        return _complete(Sample((0,), np.array([found * scale(task)])))

    def students(self) -> list[Row]:
        """Every (label, student) that the plan knows, in the suite's order."""
        asked = {*self.runs, *((label, student) for label, student, _ in self.reasons)}
        pairs = [(label, name) for name in self.plan.students for label in self.plan.labels if (label, name) in asked]
        return [self._student(label, name) for label, name in pairs]

    def _student(self, label: str, student: str) -> Row:
        runs = self.runs.get((label, student), [])
        cells = {
            task.name: self._student_cell(
                task,
                [run for run in runs if run.task == task.name],
                self.reasons.get((label, student, task.name), "the suite does not ask for it"),
            )
            for task in self.plan.tasks
        }
        return self._row(Row("student", label, student, cells, len(runs), 0), [run.key for run in runs])

    def _row(self, row: Row, keys: Sequence[str]) -> Row:
        """The row with its sums: sizes, costs, average."""
        counts = {task.name: not task.diagnostic for task in self.plan.tasks}
        row = replace(row, cells={name: replace(cell, counts=counts[name]) for name, cell in row.cells.items()})
        done = [self.done[key] for key in keys if key in self.done]
        sizes = {result.task: result.size for result in done}
        parameters = [size.parameters for size in sizes.values()]
        known = bool(done) and row.status != "incomplete"
        return replace(
            row,
            completed=len(done),
            average=ranking.average(self.plan, row),
            parameters=(min(parameters), max(parameters)) if parameters else None,
            compression=self._compression(sizes),
            student_seconds=math.fsum(r.cost.student_seconds for r in done) if known else None,
            teacher_seconds=math.fsum(r.cost.teacher_seconds for r in done) if known else None,
            tuning_seconds=math.fsum(_tunings(done).values()) if known and _tunings(done) else None,
        )

    def _compression(self, sizes: Mapping[str, ModelSize]) -> float | None:
        """How many times smaller than the suite's first teacher, over the tasks for which both are there."""
        teachers = self.plan.teachers.get(self.first_teacher or "", {})
        # All seeds of a teacher have the same shape.
        keys = {task: key for task in sizes for key in teachers.get(task, [])[:1] if key in self.done}
        own = sum(sizes[task].parameters for task in keys)
        return sum(self.done[key].size.parameters for key in keys.values()) / own if own else None

    def _teacher_cell(self, task: PlannedTask, keys: Mapping[int | None, str]) -> Cell:
        """Of one teacher, or of one per seed of the runs: these are paired with it seed by seed."""
        if not keys:
            return Cell("not applicable", notes=("this teacher is not trained on this task",))
        if missing := [seed for seed, key in keys.items() if key not in self.done]:
            which = "" if None in keys else f"the teacher of seed{'s' * (len(missing) > 1)} {_listed(missing)} is "
            return Cell("missing", notes=(f"{which}not trained yet; {self.again}",))
        results = {seed or 0: self.done[key] for seed, key in keys.items()}
        if all(map(_hidden, results.values())):
            return Cell("not applicable", notes=(HIDDEN,))
        for result in results.values():
            if result.score is None or not math.isfinite(result.score):
                return Cell("undefined", notes=(f"{_undefined(task)} (teachers/{result.key}/record.json)",))
        return _complete(self._sample(task, results), self._hardware_notes(results.values()))

    def _student_cell(self, task: PlannedTask, runs: Sequence[PlannedRun], reason: str) -> Cell:
        if not runs:
            return Cell("not applicable", notes=(" ".join(reason.split()),))
        if all(_hidden(self.done.get(run.key)) for run in runs):
            return Cell("not applicable", notes=(HIDDEN,))
        missing = tuple(self._missing_notes(runs))
        failed = tuple(self._failed_note(run) for run in runs if run.key in self.failed)
        undefined = tuple(note for run in runs if (note := self._undefined_note(task, run)))
        if missing or failed or undefined:
            state: State = "failed" if failed else "missing" if missing else "undefined"
            return Cell(state, notes=(*missing, *failed, *undefined))
        results = {run.seed: self.done[run.key] for run in runs}
        return _complete(self._sample(task, results), self._hardware_notes(results.values()))

    def _sample(self, task: PlannedTask, results: Mapping[int, Result]) -> Sample:
        """Of results by seed, on the board's scale; with draws, if there are some of every one."""
        drawn, by_seed = self.drawn[task.name], dict(sorted(results.items()))
        columns = [drawn.draws.get(result.key) for result in by_seed.values()]
        found = [column for column in columns if column is not None]
        draws = scale(task) * np.stack(found, axis=1) if len(found) == len(columns) else None
        values = np.array([(result.score or 0.0) * scale(task) for result in by_seed.values()])
        bounds = (scale(task) * drawn.bounds[0], scale(task) * drawn.bounds[1]) if drawn.bounds else None
        return Sample(tuple(by_seed), values, draws, drawn.examples, bounds)

    def _missing_notes(self, runs: Sequence[PlannedRun]) -> Iterable[str]:
        seeds = [str(run.seed) for run in runs if run.key not in self.done and run.key not in self.failed]
        if seeds:
            yield f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)} not run yet; {self.again}"

    def _failed_note(self, run: PlannedRun) -> str:
        lines = (self.failed[run.key].error or "").strip().splitlines() or ["no error was recorded"]
        error = lines[0].replace("`", "'")
        where = f"runs/{run.key}/record.json"
        return f"seed {run.seed} failed: `{error}` ({where}); {self.again}, and tries again what failed"

    def _undefined_note(self, task: PlannedTask, run: PlannedRun) -> str | None:
        """Of a run that completed with a score that is no number, such as a correlation with a constant."""
        result = self.done.get(run.key)
        if result is None or _hidden(result) or (result.score is not None and math.isfinite(result.score)):
            return None
        return f"seed {run.seed}: {_undefined(task)} (runs/{run.key}/record.json)"

    def _hardware_notes(self, results: Iterable[Result]) -> tuple[str, ...]:
        unusual = sorted({_hardware(result) for result in results} - {self.usual})
        return (f"trained on other hardware than most: {', '.join(unusual)}",) if unusual else ()
