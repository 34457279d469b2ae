"""Sentences that say why a model was selected, and what it costs and gains against its teacher."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis import data_notes, score_format
from harness.analysis.best_students import Candidate, Choice, Limits, teacher_of
from harness.analysis.ranking import lead
from harness.analysis.summary import Statistic, Summary, is_error
from harness.analysis.top_groups import REPEATED
from harness.api.wording import counted
from harness.reporting import formatting
from harness.storage.latency_records import Ratio
from harness.storage.plan_file import PlannedTask


def why(summary: Summary, choice: Choice, limits: Limits) -> Iterator[str]:
    """Yield why the row was selected by its score on the board, and why the run."""
    best, task = choice.best, choice.task
    rank = "highest" if task.higher_is_better else "lowest"
    others = len(choice.considered)
    if others == 1:
        yield f"{best.name} is the only row{within(limits)}: mean {task.score} {scored(best.score)}."
    else:
        second = choice.considered[1]
        yield f"{best.name} has the {rank} mean {task.score} of {others} rows{within(limits)}: {scored(best.score)}."
        yield f"The next is {second.name} with {scored(second.score)}{_chance(summary, best, second, task)}."
    if choice.excluded:
        yield f"{counted(choice.excluded, 'other row')} with complete scores did not qualify."
    yield of_seeds(choice)


def of_seeds(choice: Choice) -> str:
    """Why this run of the row was selected."""
    count = len(choice.best.runs)
    return f"Of its {count} seed{'s' * (count > 1)}, this is seed {choice.run.seed}: {choice.run_reason}."


def against_teacher(summary: Summary, candidate: Candidate, task: PlannedTask) -> Iterator[str]:
    """Yield how score, speed and size of a row compare with those of its teacher, and whether it learned anything."""
    constant = summary.constant.cells[task.name].score if summary.constant else None
    if constant is not None and lead(candidate.score, constant, task) <= 0:
        printed = score_format.mean(constant)
        yield f"WARNING: it is no better than a constant answer ({printed}), which ignores the texts."
    if repeated := overlap(task):
        yield f"WARNING: {repeated}."
    teacher = teacher_of(summary, candidate, task)
    if teacher is None or (score := teacher.cells[task.name].score) is None:
        return
    difference = lead(candidate.score, score, task)
    direction = "better" if difference > 0 else "worse"
    unit = "" if is_error(task) else " points"
    points = f"{abs(difference):.{score.decimals}f}{unit} {direction}" if difference else "the same score"
    share = score.mean > 0 and task.higher_is_better
    kept = f", {100 * candidate.score.mean / score.mean:.1f} % of its score" if share else ""
    yield f"Against the teacher {teacher.label} ({scored(score)}): {points}{kept}."
    for latency in candidate.latencies:
        yield f"{_times(latency.speed_up)} as fast as {latency.reference}: {latency.median} ({latency.where})."
    if candidate.parameters:
        keys = summary.plan.teachers[teacher.label][task.name]  # all seeds have the same shape
        of_teacher = next(record.model_size.parameters for record in summary.results if record.key in keys)
        yield (
            f"{millions(candidate.parameters)} parameters, {of_teacher / candidate.parameters:.1f} times fewer than the"
            f" teacher's {millions(of_teacher)}."
        )


def overlap(task: PlannedTask) -> str:
    """Says which scored examples have texts that were trained on, and what follows; empty if these are few."""
    shares = data_notes.overlapping_splits(task.data) if task.data else []
    if not shares:
        return ""
    return f"the texts of {'; '.join(shares)} are also training texts, so scores are likely to be too high"


def millions(parameters: int) -> str:
    """``17.4 M``, ``0.012 M``."""
    return f"{formatting.millions((parameters, parameters))} M"


def within(limits: Limits) -> str:
    """`` of the method tinybert with at most 20,000,000 parameters``; empty without limits."""
    parts = [f" of the method {limits.label}"] if limits.label else []
    parts += [f" on the student {limits.student}"] if limits.student else []
    allowed = []
    if limits.parameters is not None:
        allowed.append(f"at most {limits.parameters:,} parameters")
    if limits.seconds is not None:
        allowed.append(f"at most {limits.seconds * 1e3:g} ms")
    return "".join(parts) + (f" with {' and '.join(allowed)}" if allowed else "")


def scored(score: Statistic) -> str:
    """``91.2 [90.4, 91.9]``: a mean with its 95 % interval."""
    return score_format.interval(score)


def _chance(summary: Summary, best: Candidate, second: Candidate, task: PlannedTask) -> str:
    """A note if the difference of two rows, the same as on the board, is or may be chance."""
    difference = summary.differences.of([task.name], best.row.name, second.row.name)
    if difference is None or difference.clear:
        return ""
    if difference.mean == 0:
        return "; it wins as the smaller, or else the first one"
    if difference.low is None:
        reason = REPEATED if difference.repeated else "usable predictions are missing"
        if len(summary.plan.seeds) == 1:
            reason = "one seed and no usable predictions"
        return f"; whether the difference is chance is not known: {reason}"
    return f"; the difference, {score_format.difference(difference, best.score.decimals)}, may be chance"


def _times(ratio: Ratio) -> str:
    ends = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.1f}, {ratio.high:.1f}]"
    return f"{ratio.median:.1f} times{ends}"
