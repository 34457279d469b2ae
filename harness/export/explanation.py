"""Sentences that say why a model was selected, and what it costs and gains against its teacher."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.best_students import Candidate, Choice, Limits, teacher_of
from harness.analysis.ranking import lead
from harness.analysis.summary import Statistic, Summary
from harness.storage.latency_records import Ratio
from harness.storage.records import PlannedTask, TeacherRecord


def why(choice: Choice, limits: Limits) -> Iterator[str]:
    """Yield why the row and the run were selected."""
    best, task = choice.best, choice.task
    rank = "highest" if task.higher_is_better else "lowest"
    others = len(choice.considered)
    of = (
        f"the only row{within(limits)}"
        if others == 1
        else f"the {rank} mean {task.score} of {others} rows{within(limits)}"
    )
    yield f"{best.name} has {of}: {scored(best.score)}."
    if others > 1:
        second = choice.considered[1]
        yield f"The next is {second.name} with {scored(second.score)}{_overlap(best.score, second.score)}."
    if choice.excluded:
        yield f"{choice.excluded} other row{'s' * (choice.excluded > 1)} with complete scores did not qualify."
    seeds = f"{len(best.runs)} seed{'s' * (len(best.runs) > 1)}"
    yield f"Of its {seeds}, this is seed {choice.run.seed}: {choice.run_reason}."


def against_teacher(summary: Summary, candidate: Candidate, task: PlannedTask) -> Iterator[str]:
    """Yield how score, speed and size of a row compare with those of its teacher."""
    teacher = teacher_of(summary, candidate, task)
    if teacher is None or (score := teacher.cells[task.name].score) is None:
        return
    difference = lead(candidate.score, score, task)
    direction = "better" if difference > 0 else "worse"
    points = "the same score" if not difference else f"{abs(difference):.1f} points {direction}"
    kept = f", {100 * candidate.score.mean / score.mean:.1f} % of its score" if score.mean > 0 else ""
    yield f"Against the teacher {teacher.label} ({scored(score)}): {points}{kept}."
    for latency in candidate.latencies:
        yield f"{_times(latency.speed_up)} as fast as {latency.reference}: {latency.median} ({latency.where})."
    if candidate.parameters:
        of_teacher = next(
            record.size.parameters
            for record in summary.results
            if isinstance(record, TeacherRecord) and (record.task, record.name) == (task.name, teacher.label)
        )
        yield (
            f"{candidate.parameters / 1e6:.1f} M parameters, {of_teacher / candidate.parameters:.1f} times fewer than"
            f" the teacher's {of_teacher / 1e6:.1f} M."
        )


def within(limits: Limits) -> str:
    """`` of tinybert with at most 20,000,000 parameters``; empty without limits."""
    parts = [f" of {name}" for name in (limits.label, limits.student) if name]
    allowed = []
    if limits.parameters is not None:
        allowed.append(f"at most {limits.parameters:,} parameters")
    if limits.seconds is not None:
        allowed.append(f"at most {limits.seconds * 1e3:g} ms")
    return "".join(parts) + (f" with {' and '.join(allowed)}" if allowed else "")


def scored(score: Statistic) -> str:
    """``91.2 [90.4, 91.9]``: a mean with its 95 % interval."""
    if score.low is None or score.high is None:
        return f"{score.mean:.1f}"
    return f"{score.mean:.1f} [{score.low:.1f}, {score.high:.1f}]"


def _overlap(best: Statistic, second: Statistic) -> str:
    """A warning if the difference between two rows may be chance."""
    if best.low is None or best.high is None or second.low is None or second.high is None:
        return ""
    overlaps = best.low <= second.high and second.low <= best.high
    return "; their intervals overlap, so the order may be chance" if overlaps else ""


def _times(ratio: Ratio) -> str:
    ends = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.1f}, {ratio.high:.1f}]"
    return f"{ratio.median:.1f} times{ends}"
