"""Says which method is best on each student: by how much, how certain that is, and how fast the student is."""

from __future__ import annotations

from collections.abc import Iterator

from harness.analysis.ranking import best_of, labels_without_teacher, lead, why_no_average
from harness.analysis.score_format import difference, score, signed
from harness.analysis.summary import BoardRow, Summary
from harness.analysis.top_groups import Comparison
from harness.reporting.formatting import probability


def sentences(summary: Summary) -> Iterator[str]:
    """Yield a sentence for each student with an average, in the board's order; one sentence if there is none."""
    if reason := why_no_average(summary.plan.tasks):
        yield f"No method is best on average: {reason}."
        return
    best = best_of(summary.plan, summary.students)
    if not best:
        completed, runs = (sum(getattr(row, name) for row in summary.students) for name in ("completed", "runs"))
        yield f"No row is complete yet: {completed} of {runs} runs have a result."
        return
    for student in dict.fromkeys(row.student for row in summary.students):
        if student in best:
            yield f"Best of {student}: {_row(summary, best[student])}."


def _row(summary: Summary, row: BoardRow) -> str:
    """``kd 85.3 ± 0.4, +1.2 [+0.3, +2.1] against finetune (p = 0.012), 2.1× as fast as base``."""
    return ", ".join([f"{row.label} {score(row.average)}", *_lead(summary, row), *_speed(summary, row)])


def _lead(summary: Summary, row: BoardRow) -> Iterator[str]:
    """Compare with the row without a teacher; if that is the best itself, or there is none, with the next best row."""
    others = [other for other in summary.students if other.student == row.student and other.average and other != row]
    alone = labels_without_teacher(summary.plan)
    if row.label in alone:
        yield "without a teacher"
    baselines = [] if row.label in alone else [other for other in others if other.label in alone]
    if not others:
        return
    against = best_of(summary.plan, baselines or others)[row.student]
    pair = next((pair for pair in summary.comparisons if _are(pair, row, against)), None)
    if pair is not None:
        estimate = pair.difference if pair.labels[0] == row.label else -pair.difference
        yield f"{difference(estimate, summary.decimals(None))} against {against.label} ({_test(pair)})"
    elif row.average and against.average:
        ahead = lead(row.average, against.average, summary.plan.tasks[0])
        by = signed(ahead if summary.plan.tasks[0].higher_is_better else -ahead, summary.decimals(None))
        yield f"{by} against {against.label} (not tested: one seed)"


def _test(pair: Comparison) -> str:
    """``p = 0.012``, ``p = 0.21, not significant``, or why the pair is not tested."""
    if pair.p is None:
        return f"not tested: {pair.untested}"
    doubt = "" if pair.distinguished else ", not significant"
    return f"p {'' if pair.p < 0.001 else '= '}{probability(pair.p)}{doubt}"


def _are(pair: Comparison, row: BoardRow, other: BoardRow) -> bool:
    return pair.student == row.student and {*pair.labels} == {row.label, other.label}


def _speed(summary: Summary, row: BoardRow) -> Iterator[str]:
    for column in summary.speed_ups:
        if ratio := column.of.get(("student", row.student)):
            where = f" ({column.label})" if len(summary.speed_ups) > 1 else ""
            yield f"{ratio.median:.1f}× as fast as {column.reference}{where}"
