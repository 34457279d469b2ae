"""Sentences of a board: its top group, and explanations of its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from harness.analysis import interval_coverage, selection_notes
from harness.analysis.ranking import why_no_average
from harness.analysis.speed_up import machine
from harness.analysis.summary import Summary, is_error, scale
from harness.api.wording import counted
from harness.storage.plan_file import PlanFile, PlannedRun
from harness.storage.records import TeacherRecord

IDLE = "no better than a constant answer, which ignores the examples"


def group(summary: Summary) -> str:
    """Explain the top group."""
    text = (
        "top group: the best average of its student, and the rows that do not differ significantly from it (paired "
        f"over {_tested_over(summary)}; all pairs of the student, Holm-corrected at 5 %)"
    )
    untested = dict.fromkeys(f"{label} on {pair.student}" for pair in summary.comparisons for label in pair.unsampled)
    if untested:
        text += f"; {', '.join(untested)}: not tested against any row, for want of usable predictions"
    for pair in summary.comparisons:
        if pair.difference.repeated:
            text += f"; {' and '.join(pair.labels)} on {pair.student}: not tested, since {pair.untested}"
    return "; ".join([text, *_contradictions(summary)])


def _contradictions(summary: Summary) -> Iterator[str]:
    """Explain where a row outside has the rank of a row of its student's top group, or a better one."""
    ranked = [(row, row.rank) for row in summary.students if row.top is not None and row.rank is not None]
    ranks = [
        (rank_outside, rank_inside)
        for (outside, rank_outside), (inside, rank_inside) in product(ranked, repeat=2)
        if outside.student == inside.student and inside.top and not outside.top
    ]
    if any(outside < inside for outside, inside in ranks):
        yield "a row may be outside while a lower-ranked row with a less certain difference is inside"
    if any(outside == inside for outside, inside in ranks):
        yield "rows of one rank may differ significantly, by less than the printed averages show"


def _tested_over(summary: Summary) -> str:
    """Return what the tests cover, which is less if no row of a student has resampled scores on some task."""
    over: dict[bool, dict[str, None]] = {}
    for pair in summary.comparisons:
        if pair.difference.over:
            over.setdefault(pair.difference.over != "seeds", {})[pair.student] = None
    if set(over) == {False}:
        return interval_coverage.covers(summary.plan, examples=False)
    seeds_only = f"; on {', '.join(over[False])} over seeds only" if False in over else ""
    return interval_coverage.covers(summary.plan) + seeds_only


def reading(summary: Summary) -> Iterator[str]:
    """Explain the numbers of the board, one or two sentences for each kind."""
    plan = summary.plan
    yield f"A score is the mean over {counted(len(plan.seeds), 'seed')}, {_scales(plan)}. {_margin(summary)}"
    yield from selection_notes.score_notes(summary)
    yield from interval_coverage.seeds_only(summary)
    if summary.constant:
        yield (
            "Constant answer: the best score of one answer for every example, chosen by the labels; correlations "
            "and question answering have none. † marks scores that are no better."
        )
    yield from _average(summary)
    if plan.published:
        yield (
            "Published: a figure that a source prints for the same method, layers and width. Its teacher, data and "
            "tuning are the source's own, and its split may differ from this board's. Published figures are shown as "
            "printed, below the measured rows, and are never averaged or ranked. The cell names the metric where it "
            "differs from the board's."
        )
    yield from same_runs(plan.runs)
    if plan.teachers:
        yield f"Compression: parameters of teacher {next(iter(plan.teachers))} over the student's, heads included."
    yield from _speed_ups(summary)
    yield (
        "Training cost: time of the student's own steps plus its share of its teachers' forward passes, over all tasks "
        "and seeds of the row. Fine-tuning a teacher counts in the teacher's row only"
        + ("; a teacher without a cost was fine-tuned before" if _any_fine_tuned_before(summary) else "")
        + _assistants_cost(summary)
        + ("; a text stage counts in no row: see below." if plan.generals else ".")
        + (" Tuning cost: time of all trials of the row; no other cost includes it." if plan.tuning else "")
    )


def _scales(plan: PlanFile) -> str:
    """Return by what scores are multiplied: ``times 100 (squad: as reported, from 0 to 100; price: as reported)``."""
    errors = [task.name for task in plan.tasks if is_error(task)]
    percent = [task.name for task in plan.tasks if scale(task) == 1 and not is_error(task)]
    if len(errors) == len(plan.tasks):
        return "as reported"
    parts = [f"{', '.join(percent)}: as reported, from 0 to 100"] if percent else []
    parts += [f"{', '.join(errors)}: as reported"] if errors else []
    return f"times 100 ({'; '.join(parts)})" if parts else "times 100"


def _assistants_cost(summary: Summary) -> str:
    """Say which rows' cost includes that of the rows that taught them."""
    rows = [f"{row.label} on {row.student}" for row in summary.students if row.assistant_seconds is not None]
    if not rows:
        return ""
    return (
        f"; that of {', '.join(rows)} includes, in full, the cost of the other rows whose students taught "
        f"{'them' if len(rows) > 1 else 'it'}, which is also in those rows"
    )


def _any_fine_tuned_before(summary: Summary) -> bool:
    return any(isinstance(result, TeacherRecord) and not result.finetune for result in summary.results)


def _average(summary: Summary) -> Iterator[str]:
    """Explain average, rank and the suite-level numbers, or why there are none."""
    tasks = summary.plan.tasks
    if reason := why_no_average(tasks):
        yield f"{reason[0].upper()}{reason[1:]}, so there is no average and no rank. Bold: the best of its student."
    else:
        diagnostic = ", ".join(task.name for task in tasks if task.diagnostic)
        without = f" (without {diagnostic}, a diagnostic task for another task's students)" if diagnostic else ""
        lower = "" if tasks[0].higher_is_better else " Lower is better."
        yield (
            f"The average is over the tasks{without}. Students of all sizes are ranked by it; equal printed averages "
            f"share a rank.{lower} A row with a missing, failed or n/a cell has no average and no rank. Bold: the best "
            "of its student."
        )
        yield from _suite_level(summary)


def _speed_ups(summary: Summary) -> Iterator[str]:
    """Explain the speed-up column of each machine."""
    for column in summary.speed_ups:
        control = column.control
        warning = ""
        if control and control.excludes_one:
            warning = f"; the A/A control differs from 1 there ({control.median:.3f})"
        yield (
            f"Speed-up, {column.label}: time of {column.reference} divided by the model's, the median over paired "
            f"rounds with its 95 % interval; {column.backend}, {column.batch}, on "
            f"{machine(column.hardware)}{warning}. For details see latency.md."
        )


def same_runs(runs: Iterable[PlannedRun]) -> Iterator[str]:
    """Name the rows that share their runs on some tasks, where the options in which they differ have no effect."""
    labels: dict[str, dict[str, PlannedRun]] = {}
    for run in runs:
        labels.setdefault(run.key, {}).setdefault(run.label, run)
    tasks: dict[tuple[str, tuple[str, ...]], dict[str, None]] = {}
    for shared in labels.values():
        if len(shared) > 1:
            run = next(iter(shared.values()))
            tasks.setdefault((run.student, tuple(shared)), {})[run.task] = None
    for (student, rows), where in tasks.items():
        yield (
            f"Rows {' and '.join(rows)} of {student} have the same runs on {', '.join(where)}: the settings in which "
            "they differ have no effect there."
        )


def _margin(summary: Summary) -> str:
    """Explain ±: over what its interval is, or why there is none."""
    plan = summary.plan
    if len(plan.seeds) > 1:
        return (
            f"± is the longer side of its 95 % interval over {interval_coverage.covers(plan)}: examples are resampled "
            "(2,000 times, the same resamples for all rows), and Student's t accounts for the small number of seeds. "
            f"{_skewed(summary)}leaderboard.csv has both ends.{''.join(_teachers(summary))}"
        )
    scores = [cell.score for row in summary.students for cell in row.cells.values() if cell.score]
    if any(score.margin is not None for score in scores):
        given = interval_coverage.teacher_condition(plan)
        return (
            f"± is the longer side of its 95 % interval over the examples only{given}: one seed says nothing "
            f"about the variation between seeds. {_skewed(summary)}"
        ).rstrip()
    return "There is no interval: one seed says nothing about the variation between seeds."


def _skewed(summary: Summary) -> str:
    """Explain brackets, if the board has any."""
    scores = [score for row in summary.rows for score in (row.average, *(cell.score for cell in row.cells.values()))]
    if not any(score.skewed for score in scores if score):
        return ""
    return (
        "If one side is more than twice as long as the other, and by more than one point, both ends are printed "
        "instead. "
    )


def _teachers(summary: Summary) -> Iterator[str]:
    """Explain how the intervals depend on the teachers."""
    plan = summary.plan
    if several := interval_coverage.one_per_seed(plan):
        yield (
            f" Teacher{'s' * (len(several) > 1)} {', '.join(several)}: one per seed; the runs of a seed learn from "
            "that seed's teacher and are compared with it."
        )
    if interval_coverage.shared_teachers(plan):
        yield (
            " With another teacher, methods may differ by more than the interval shows, however many seeds there are. "
            "To fine-tune one teacher per seed, set the teacher's `seeds` in the suite."
        )
    if set(plan.teachers) - set(several):
        subject = "The interval of a teacher with one seed" if several else "A teacher has one seed, so its interval"
        yield f" {subject}, if its predictions are stored, covers the examples only."


def _suite_level(summary: Summary) -> Iterator[str]:
    students = summary.students
    if any(row.iqm for row in students):
        yield (
            "IQM: the interquartile mean over tasks and seeds of the score in percent of the first teacher's on that "
            f"task{_of_seed(summary)}, without the best and the worst quarter (rliable, arXiv 2108.13264)."
        )
    if gap := next((row.gap for row in students if row.gap), None):
        yield (
            f"Gap closed: the share of the gap between {gap.without} on the same student and teacher {gap.teacher} "
            f"that a method closes, on the average{_of_seed(summary)}; with Fieller's 95 % interval from the "
            "variances of these rows alone. It is omitted where the gap does not differ significantly from 0."
        )
    if summary.comparisons:
        yield (
            "Behind the best: the paired difference from the best average of the same student, with an uncorrected "
            "95 % interval, for which a variance over seeds that is smaller than the mean of all pairs is moderated "
            "towards it; p is corrected for all pairs of the student. Methods in one group are not necessarily equal: "
            "more seeds may separate them."
        )
    elif any(row.average for row in students):
        yield "There are no groups: a comparison needs at least two rows of a student and two seeds."


def _of_seed(summary: Summary) -> str:
    """Say that each seed is compared with its own teacher, if the first teacher has several seeds."""
    plan = summary.plan
    first = next(iter(plan.teachers), None)
    return ", each seed with its own teacher" if first in interval_coverage.one_per_seed(plan) else ""
