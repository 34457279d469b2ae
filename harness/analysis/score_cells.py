"""The cells of a board: the scores of a row on a task, or why there are none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from harness.analysis.bootstrap import BootstrapResult
from harness.analysis.compatibility import Result
from harness.analysis.inference import Sample
from harness.analysis.summary import ScoreCell, State, Statistic, scale
from harness.storage.plan_file import PlanFile, PlannedRun, PlannedTask
from harness.storage.records import RunRecord, TeacherRecord

HIDDEN = "the labels are hidden, so there is no score; predictions.parquet is in the folder of the record"


class ScoreCells:
    """Builds the cells from completed and failed records.

    Args:
        done, failed: completed results and failed runs, by key.
        bootstraps: by task.
    """

    def __init__(
        self,
        plan: PlanFile,
        done: Mapping[str, Result],
        failed: Mapping[str, RunRecord],
        bootstraps: Mapping[str, BootstrapResult],
    ) -> None:
        self.done, self.failed, self.bootstraps = done, failed, bootstraps
        self.remedy = f"`{plan.command}` runs only what is missing"
        counts = Counter(_hardware(result) for result in done.values())
        self.usual_hardware = min(counts, key=lambda name: (-counts[name], name), default="")
        self.first_with = {_error(failed[run.key]): run.key for run in reversed(plan.runs) if run.key in failed}
        """The first run of the plan that failed with an error, by error."""

    def constant(self, task: PlannedTask) -> ScoreCell:
        score = self.bootstraps[task.name].constant
        if score is None:
            return ScoreCell("not applicable", notes=("the score of a constant answer is not known",))
        return _complete(Sample((0,), np.array([score * scale(task)])))

    def teacher(self, task: PlannedTask, keys: Mapping[int | None, str]) -> ScoreCell:
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

    def student(self, task: PlannedTask, runs: Sequence[PlannedRun], reason: str) -> ScoreCell:
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


def _complete(sample: Sample, notes: tuple[str, ...] = ()) -> ScoreCell:
    return ScoreCell("complete", sample, Statistic.of_scores([sample]), notes)


def _hardware(result: Result) -> str:
    """``cpu AMD EPYC``: device and name of the machine of a result."""
    return f"{result.provenance.hardware.device} {result.provenance.hardware.name}"


def _hidden(result: Result | None) -> bool:
    """Whether the result exists and has no score, because the labels are hidden."""
    return result is not None and result.score is None and not result.metrics


def _undefined(task: PlannedTask) -> str:
    return f"{task.score} is undefined for its predictions (a correlation is undefined if all predictions are equal)"


def _listed(seeds: Iterable[int | None]) -> str:
    return ", ".join(map(str, seeds))


def _error(record: RunRecord) -> str:
    """The first line of a failed run's error, in which no backquote ends a span of code."""
    lines = (record.error or "").strip().splitlines() or ["no error was recorded"]
    return lines[0].replace("`", "'")
