"""What a board says in words: what limits its claim, how to read it, where it comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import product

from harness.analysis import data_notes, interval_coverage, selection_notes
from harness.analysis.board_marks import counted
from harness.analysis.speed_up import machine
from harness.analysis.summary import Summary, scale
from harness.reporting.formatting import duration
from harness.storage.records import Hardware, PlannedRun, TeacherRecord

IDLE = "no better than a constant answer, which knows nothing of the examples"


def group(summary: Summary) -> str:
    """What it is to be in the top group."""
    text = (
        "top group: the best average of its student, and those that cannot be told from it (paired over "
        f"{interval_coverage.covers(summary.plan)}; all pairs of the student, Holm-corrected at 5 %)"
    )
    ranked = [row for row in summary.students if row.top is not None and row.rank is not None]
    if any(
        above.top is False and below.top and above.student == below.student and (above.rank or 0) < (below.rank or 0)
        for above, below in product(ranked, repeat=2)
    ):
        text += "; a row may be out while a lower one is in, whose difference from the best is less sure"
    return text


def reading(summary: Summary) -> Iterator[str]:
    """What the numbers are, a sentence or two each."""
    plan, tasks = summary.plan, summary.plan.tasks
    raw = [task.name for task in tasks if scale(task) == 1]
    scaled = "" if not raw else f" ({', '.join(raw)}: as it is, from 0 to 100)"
    yield f"A score is the mean over {counted(len(plan.seeds), 'seed')}, times 100{scaled}. {_margin(summary)}"
    yield from selection_notes.score_notes(summary)
    yield from _seeds_alone(summary)
    if summary.constant:
        yield (
            "Constant answer: the best score that one class for all examples gets, chosen by their labels; only tasks "
            "of classes have one. † marks scores that are no better."
        )
    if len({task.higher_is_better for task in tasks}) == 1:
        diagnostic = [task.name for task in tasks if task.diagnostic]
        without = f" (without {', '.join(diagnostic)}, a diagnosis of another task's students)" if diagnostic else ""
        less = "" if tasks[0].higher_is_better else " Less is better."
        yield (
            f"The average is over the tasks{without}, and students of all sizes are ranked by it; averages that print "
            f"the same share a rank.{less} A row with a cell that is missing, failed or n/a has neither. Bold: the "
            "best of its student."
        )
        yield from _suite_level(summary)
    else:
        less = ", ".join(task.name for task in tasks if not task.higher_is_better)
        yield (
            f"Less is better on {less}, more on the others: there is no average and no rank. Bold: the best of its "
            "student."
        )
    if plan.published:
        yield (
            "Published: what a source prints for the same method, layers and width, with a teacher, data and tuning of "
            "its own, on a split that need not be this board's. It stands as printed, below all that was measured "
            "here; it is in no average and never ranked; its metric is named where it is not the board's."
        )
    yield from same_runs(plan.runs)
    if plan.teachers:
        yield f"Compression: parameters of teacher {next(iter(plan.teachers))} over the student's, heads included."
    for column in summary.speed_ups:
        control = column.control
        warning = f"; the A/A control is off there ({control.median:.3f})" if control and control.leaves_out_one else ""
        yield (
            f"Speed-up, {column.label}: time of {column.reference} over the model's, a median over paired "
            f"rounds with its 95 % interval; {column.backend}, {column.batch}, on "
            f"{machine(column.hardware)}{warning}. More in latency.md."
        )
    yield (
        "Training cost: time of the student's own steps and its share of its teachers' passes, over all tasks and "
        "seeds of the row. A teacher's own fine-tuning stands in its row and in no other"
        + (", a stage on unlabelled text in no row: see below." if plan.generals else ".")
        + (" What all trials of the row took is its tuning cost, and in no other." if plan.tuning else "")
    )


def same_runs(runs: Iterable[PlannedRun]) -> Iterator[str]:
    """What to know of rows that stand for the same runs: an option may decide nothing on some of the tasks."""
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
            f"The same runs stand in the rows {' and '.join(rows)} of {student} on {', '.join(where)}: nothing that "
            "sets these rows apart has a part in them."
        )


def _seeds_alone(summary: Summary) -> Iterator[str]:
    alone: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for each in summary.unsampled:
        alone.setdefault((each.reason, each.rows), []).append(each.task)
    for (reason, rows), tasks in alone.items():
        some = f"{', '.join(rows[:3])}{' and others' * (len(rows) > 3)}"
        of = f" of the row{'s' * (len(rows) > 1)} {some}" if rows else ""
        yield f"Without the examples, so over the seeds alone, are intervals{of} on {', '.join(tasks)}: {reason}."


def _margin(summary: Summary) -> str:
    """What stands behind ±, which depends on what there is to tell it from."""
    plan = summary.plan
    if len(plan.seeds) > 1:
        return (
            f"± is the longer side of its 95 % interval over {interval_coverage.covers(plan)}: examples are resampled "
            "(2,000 times, for all rows alike), and Student's t accounts for how few the seeds are. Its ends are in "
            f"leaderboard.csv.{''.join(_teachers(summary))}"
        )
    found = [cell.score for row in summary.students for cell in row.cells.values() if cell.score]
    if any(score.margin is not None for score in found):
        given = interval_coverage.teacher_condition(plan)
        return (
            f"± is the longer side of its 95 % interval over the examples alone{given}: one seed does not say what "
            "others would score."
        )
    return "There is no interval: one seed does not say what others would score."


def _teachers(summary: Summary) -> Iterator[str]:
    """What the intervals have to do with the teachers."""
    plan = summary.plan
    if several := interval_coverage.one_per_seed(plan):
        yield (
            f" Teacher{'s' * (len(several) > 1)} {', '.join(several)}: one per seed, from which the runs of that seed "
            "learn, and with which they are compared."
        )
    if interval_coverage.shared_teachers(plan):
        yield (
            " With another teacher, methods may differ by more than that, however many seeds there are; `seeds` of a "
            "teacher in the suite fine-tunes one per seed."
        )
    if set(plan.teachers) - set(several):
        which = "Of a teacher with one seed the" if several else "A teacher has one seed, so its"
        yield f" {which} interval, if its predictions are there, is over the examples alone."


def _suite_level(summary: Summary) -> Iterator[str]:
    students = summary.students
    if any(row.iqm for row in students):
        yield (
            "IQM: the interquartile mean over tasks and seeds of the score in percent of the first teacher's on that "
            f"task{_of_seed(summary)}, so without the best and the worst quarter (rliable, arXiv 2108.13264)."
        )
    if gap := next((row.gap for row in students if row.gap), None):
        yield (
            f"Gap closed: how much of the way from {gap.without} on the same student to teacher {gap.teacher} a method "
            f"goes, on the average{_of_seed(summary)}; with Fieller's 95 % interval. It is left out where that way may "
            "be none."
        )
    if summary.comparisons:
        yield (
            "Behind the best: the paired difference from the best average of the same student, with a 95 % interval "
            "that is not corrected; p is corrected for all pairs of the student. Methods that share a group need not "
            "be equal: more seeds may tell them apart."
        )
    elif any(row.average for row in students):
        yield "There are no groups: to tell methods apart takes two rows of a student, and 2 or more seeds."


def _of_seed(summary: Summary) -> str:
    """With which teacher a student is compared, where the first has several seeds."""
    plan = summary.plan
    first = next(iter(plan.teachers), None)
    return ", each seed with its own teacher" if first in interval_coverage.one_per_seed(plan) else ""


def provenance(summary: Summary) -> Iterator[tuple[str, str]]:
    """Where the results come from, and how to make them again."""
    plan, results = summary.plan, summary.results
    yield "Command", f"`{plan.command}`"
    yield "Seeds", ", ".join(map(str, plan.seeds))
    for name in interval_coverage.one_per_seed(plan):
        yield f"Seeds of teacher {name}", _teacher_seeds(summary, name)
    for task in plan.tasks:
        of_task = [result for result in results if result.task == task.name]
        if of_task:
            text = f"`{of_task[0].data_fingerprint}`, the same in {counted(len(of_task), 'result')}"
            yield f"Examples scored, {task.name}", text
        if task.data:
            yield from data_notes.provenance(task.name, task.data)
    yield from selection_notes.provenance(summary)
    if plan.tuning:
        idle = {study.label: None for study in plan.tuning.studies if study.key is None}
        without = f"; nothing to tune, on some task at least: {', '.join(idle)}" if idle else ""
        yield "Tuning", f"{counted(plan.tuning.trials, 'trial')} of each row on each task, the same for all{without}"
    for planned in plan.generals:
        record = next((each for each in summary.generals if each.key == planned.key), None)
        took = duration(record.cost.student_seconds + record.cost.teacher_seconds) if record else "not made yet"
        steps = f"{counted(planned.steps, 'step')} on {planned.data}, {took}"
        text = f"{', '.join(planned.labels)}, {planned.student}: {steps}"
        yield "Before all tasks", f"{text}; `general/{planned.key}/student`"
    if not results:
        return
    yield "Hardware", _variants(_machine(result.provenance.hardware) for result in results)
    yield "Packages", _variants(_packages(result.provenance.packages) for result in results)
    yield "Code", _variants(_commit(r.provenance.git_commit, r.provenance.git_dirty) for r in results)
    if summary.others:
        yield "Not counted", f"{counted(summary.others, 'result')} of other settings in the same folder"


def _teacher_seeds(summary: Summary, name: str) -> str:
    """In the order of the seeds of the runs."""
    found = {r.key: r.seed for r in summary.results if isinstance(r, TeacherRecord)}
    keys = next(keys for keys in summary.plan.teachers[name].values() if len(keys) > 1)
    return ", ".join("not trained yet" if found.get(key) is None else str(found[key]) for key in keys)


def _machine(hardware: Hardware) -> str:
    return f"{machine(hardware)}, {hardware.memory_bytes / 2**30:.0f} GiB"


def _packages(versions: dict[str, str]) -> str:
    return ", ".join(
        f"{'kd-harness' if name == 'harness' else name} {version}" for name, version in sorted(versions.items())
    )


def _commit(commit: str | None, dirty: bool | None) -> str:
    if commit is None:
        return "not from a git checkout"
    return f"git commit `{commit[:12]}`" + (", with uncommitted changes" if dirty else "")


def _variants(values: Iterable[str]) -> str:
    """What all results have in common, or each variant with how many have it."""
    counts = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    if len(counts) == 1:
        return counts[0][0]
    return "; ".join(f"{value} ({counted(number, 'result')})" for value, number in counts)
