"""Selects the best student of a task, under limits on size and latency, and one of its runs.

Rows are compared by their mean score over all seeds. Of the seeds of the best row, the run with the best score on
held-out data is taken, if the suite held data out to select epochs; else the first seed. The best seed by its reported
score would be a mistake: its score is high partly by luck with the validation examples, so that it would be reported
too high, and on new examples it need not be better than the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.analysis.model_latency import ModelLatency, model_latencies
from harness.analysis.summary import BoardRow, Statistic, Summary
from harness.api.errors import Problem, UserError, nearest
from harness.storage.plan_file import PlannedTask
from harness.storage.planned_names import named_as
from harness.storage.records import RunRecord


@dataclass(frozen=True)
class Limits:
    """Which rows may be selected.

    Attributes:
        label, student: only rows with this method or student.
        seed: the run with this seed is taken.
        parameters: the largest number of parameters.
        seconds: the largest median latency on every machine on which latency was measured.
        backends: the latency backends of which the first measured one counts; see `model_latencies`.
    """

    label: str | None = None
    student: str | None = None
    seed: int | None = None
    parameters: int | None = None
    seconds: float | None = None
    backends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A row of the board with complete scores on the task.

    Attributes:
        score: mean over the seeds, on the board's scale, with its interval.
        runs: its completed runs, by seed.
        latencies: of its student, one for each machine.
    """

    row: BoardRow
    score: Statistic
    runs: tuple[RunRecord, ...]
    latencies: tuple[ModelLatency, ...]

    @property
    def name(self) -> str:
        """``tinybert on 4x312``."""
        return f"{self.row.label} on {self.row.student}"

    @property
    def parameters(self) -> int:
        return self.runs[0].model_size.parameters


@dataclass(frozen=True)
class Choice:
    """The selected row and run.

    Attributes:
        best: the selected row.
        run: the selected run of it.
        run_reason: why it is this run, a clause.
        considered: all rows within the limits, the best first.
        excluded: number of rows with complete scores outside the limits.
    """

    task: PlannedTask
    best: Candidate
    run: RunRecord
    run_reason: str
    considered: tuple[Candidate, ...]
    excluded: int


def task_named(summary: Summary, name: str | None) -> PlannedTask:
    """The task of that name; without one, the only task of the suite that is not diagnostic.

    Raises:
        UserError: there is no such task, or no name is given and the suite has several tasks.
    """
    tasks = {task.name: task for task in summary.plan.tasks}
    if name is not None:
        if name not in tasks:
            raise UserError(Problem(f"the suite {summary.plan.suite} has no task {name!r}; {nearest(name, tasks)}"))
        return tasks[name]
    main = [task for task in summary.plan.tasks if not task.diagnostic] or list(summary.plan.tasks)
    if len(main) > 1:
        names = ", ".join(task.name for task in main)
        raise UserError(
            Problem(
                f"the suite {summary.plan.suite} has {len(main)} tasks, and a model solves one; choose it: --task "
                f"with one of {names}"
            )
        )
    return main[0]


def choose(summary: Summary, task: PlannedTask, limits: Limits) -> Choice:
    """Select the best row of the task within the limits, and one of its runs. Of equal rows, the smallest is taken.

    Raises:
        UserError: a name is unknown, nothing is trained, latency is limited but was not measured, or no row is within
            the limits.
    """
    _check_names(summary, limits)
    rows = candidates(summary, task, backends=limits.backends)
    named = [c for c in rows if limits.label in (None, c.row.label) and limits.student in (None, c.row.student)]
    if not named:
        raise UserError(Problem(_nothing_complete(summary, task, limits), summary.plan.suite))
    if limits.seconds is not None and not any(candidate.latencies for candidate in named):
        raise UserError(
            Problem(
                "a latency is given, but the latency of its students was not measured on any machine; run `harness"
                f" latency {_suite_argument(summary)}` on the machine where the model will run, or add a `latency:`"
                " section to the suite",
                summary.plan.suite,
            )
        )
    allowed = [candidate for candidate in named if is_within(candidate, limits)]
    if not allowed:
        raise UserError(Problem(_nothing_allowed(named, task, limits), summary.plan.suite))
    ordered = _best_first(allowed, task)
    run, reason = _select_run(ordered[0], task, limits.seed)
    return Choice(task, ordered[0], run, reason, tuple(ordered), len(rows) - len(ordered))


def best_of_each_student(summary: Summary, task: PlannedTask) -> list[Choice]:
    """For each student, in the order of the suite, its best row on the task. Students without one are left out."""
    rows = candidates(summary, task)
    choices = []
    for student in summary.plan.students:
        if of_student := _best_first([row for row in rows if row.row.student == student], task):
            run, reason = _select_run(of_student[0], task, None)
            excluded = len(rows) - len(of_student)
            choices.append(Choice(task, of_student[0], run, reason, tuple(of_student), excluded))
    return choices


def candidates(summary: Summary, task: PlannedTask, *, backends: Sequence[str] = ()) -> list[Candidate]:
    """The rows of students whose runs on the task are all completed and scored, in the order of the board."""
    records = {record.key: record for record in summary.results if isinstance(record, RunRecord)}
    runs: dict[tuple[str, str], list[RunRecord]] = {}
    for run in summary.plan.runs:
        if run.task == task.name and run.key in records:
            runs.setdefault((run.label, run.student), []).append(named_as(run, records[run.key]))
    latencies = {name: model_latencies(summary, name, backends=backends) for name in summary.plan.students}
    found = []
    for row in summary.students:
        score = row.cells[task.name].score
        if score is not None:
            by_seed = sorted(runs[row.label, row.student], key=lambda run: run.seed)
            found.append(Candidate(row, score, tuple(by_seed), latencies[row.student]))
    return found


def teacher_of(summary: Summary, candidate: Candidate, task: PlannedTask) -> BoardRow | None:
    """The teacher with which a row is compared: its first one that is no row of the board, or else the suite's first.

    None if that teacher has no score on the task.
    """
    names = [name for name in (*candidate.runs[0].teachers, *summary.plan.teachers) if name in summary.plan.teachers][
        :1
    ]
    return next((row for row in summary.teachers if row.label in names and row.cells[task.name].score), None)


def _check_names(summary: Summary, limits: Limits) -> None:
    allowed = {"label": summary.plan.labels, "student": summary.plan.students}
    problems = []
    for option, names in allowed.items():
        value = getattr(limits, option)
        if value is not None and value not in names:
            problems.append(
                Problem(
                    f"the suite {summary.plan.suite} has no {option} {value!r}; {nearest(value, names)}", f"--{option}"
                )
            )
    if limits.seed is not None and limits.seed not in summary.plan.seeds:
        seeds = ", ".join(map(str, summary.plan.seeds))
        problems.append(Problem(f"the suite has no seed {limits.seed}; its seeds are {seeds}", "--seed"))
    if problems:
        raise UserError(*problems)


def is_within(candidate: Candidate, limits: Limits) -> bool:
    """Whether parameters and measured latency are within the limits."""
    if limits.parameters is not None and candidate.parameters > limits.parameters:
        return False
    times = [latency.seconds for latency in candidate.latencies]
    return limits.seconds is None or (bool(times) and max(times) <= limits.seconds)


def _best_first(rows: Iterable[Candidate], task: PlannedTask) -> list[Candidate]:
    sign = -1 if task.higher_is_better else 1
    return sorted(rows, key=lambda candidate: (sign * candidate.score.mean, candidate.parameters))


def _select_run(candidate: Candidate, task: PlannedTask, seed: int | None) -> tuple[RunRecord, str]:
    """One run of a row, and why it is this one."""
    runs = candidate.runs
    if seed is not None:
        return next(run for run in runs if run.seed == seed), "you chose this seed"
    if len(runs) == 1:
        return runs[0], "it is the only one"
    scores = {run.seed: score for run in runs if (score := held_out_score([run])) is not None}
    if not scores:
        return runs[0], (
            "the first one: no training data are held out, and the seed with the best validation score would be chosen"
            " by luck with these examples"
        )
    best = (max if task.higher_is_better else min)(scores.values())
    run = next(run for run in runs if scores.get(run.seed) == best)
    return run, f"it scores best on the {_held_out_examples(run)} held-out training examples ({best:.4f})"


def held_out_score(runs: Sequence[RunRecord]) -> float | None:
    """The mean over the runs of the score of their weights on examples held out of the training split.

    None if it is undefined: no training data are held out, or a score is not finite.
    """
    scores = [
        epoch.score
        for run in runs
        if run.selection is not None and run.selection.on == "train"
        for epoch in run.selection.epochs
        if epoch.step == run.selection.step
    ]
    mean = math.fsum(scores) / len(scores) if runs and len(scores) == len(runs) else math.nan
    return mean if math.isfinite(mean) else None


def _held_out_examples(run: RunRecord) -> int:
    return run.selection.examples if run.selection else 0


def _suite_argument(summary: Summary) -> str:
    words = summary.plan.command.split()
    return words[2] if words[:1] == ["harness"] and len(words) > 2 else summary.plan.suite


def _nothing_complete(summary: Summary, task: PlannedTask, limits: Limits) -> str:
    named = " ".join(name for name in (limits.label, limits.student) if name)
    which = f"no row of {named}" if named else "no row"
    if task.diagnostic:
        return (
            f"{which} has a score on the diagnostic task {task.name}; export the task that its students are trained on"
        )
    return f"{which} has completed runs of all seeds on {task.name}; `{summary.plan.command}` runs what is missing"


def _nothing_allowed(rows: Sequence[Candidate], task: PlannedTask, limits: Limits) -> str:
    """Why no row is within the limits, with the nearest model."""
    parts = []
    if limits.parameters is not None:
        least = min(rows, key=lambda row: row.parameters)
        parts.append(
            f"the smallest is {least.row.student} with {least.parameters:,} parameters (allowed: {limits.parameters:,})"
        )
    if limits.seconds is not None:
        fastest = min((row for row in rows if row.latencies), key=lambda row: max(t.seconds for t in row.latencies))
        slowest = max(fastest.latencies, key=lambda latency: latency.seconds)
        parts.append(
            f"the fastest is {fastest.row.student} with {slowest.median} (allowed: {limits.seconds * 1e3:g} ms;"
            f" {slowest.where})"
        )
    return f"no student on {task.name} is within the limits: {'; '.join(parts)}; train a smaller one, or allow more"
