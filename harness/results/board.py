"""A leaderboard as plain data, ready to be printed: columns, rows of strings, notes. Made from a `Summary` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product
from string import ascii_lowercase
from typing import Literal

from harness.results import published
from harness.results.latency import SpeedUp, machine
from harness.results.records import Hardware, PlannedTask
from harness.results.summary import Cell, Row, Statistic, Summary, scale

NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """A column's title, in lines that may stand above each other or in one line, and how it is aligned."""

    lines: tuple[str, ...]
    align: Literal["left", "right"] = "right"

    @property
    def title(self) -> str:
        return " ".join(self.lines)


@dataclass(frozen=True)
class Line:
    """A row of the board: one string for each column. `best` has the indices of the columns that it leads.

    Lines of one `group` belong together: first the teachers (""), then each student by its name.
    """

    role: Literal["teacher", "student"]
    group: str
    cells: tuple[str, ...]
    best: frozenset[int]


@dataclass(frozen=True)
class Board:
    """All that a leaderboard says. Every text is one line without markup but for `code` in backticks.

    Attributes:
        marks: what limits the claim of the whole board, as (word, explanation), such as ("SYNTHETIC", ...).
        notes: what single cells point to, as (mark, text); a cell ends with its marks in brackets.
        reading: what the numbers mean.
        provenance: where they come from, as (what, text).
    """

    title: str
    marks: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[tuple[str, str], ...]
    reading: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]


def build(summary: Summary) -> Board:
    """The board that a summary's numbers make."""
    rows = [*summary.teachers, *summary.students]
    notes = _Notes()
    cells = [_strings(row, summary, notes) for row in rows]
    best = _best(summary)
    marks = tuple(_marks(summary))
    return Board(
        title=": ".join([summary.plan.suite, "leaderboard"]) + _bracketed(word for word, _ in marks),
        marks=marks,
        columns=_columns(summary),
        lines=tuple(
            Line(row.role, row.student, strings, frozenset(best.get((row.label, row.student), ())))
            for row, strings in zip(rows, cells, strict=True)
        ),
        notes=tuple((mark, text) for text, mark in notes.marks.items()),
        reading=tuple(_reading(summary)),
        provenance=tuple(_provenance(summary)),
    )


class _Notes:
    """Gives each note a letter, in the order in which they are met; the same note has the same letter."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}
        self._letters = ("".join(letters) for n in count(1) for letters in product(ascii_lowercase, repeat=n))

    def mark(self, texts: Sequence[str]) -> str:
        for text in texts:
            if text not in self.marks:
                self.marks[text] = next(self._letters)
        return _bracketed(self.marks[text] for text in texts)


def _bracketed(words: Iterable[str]) -> str:
    inside = ", ".join(words)
    return f" ({inside})" if inside else ""


def _columns(summary: Summary) -> tuple[Column, ...]:
    return (
        Column(("rank",)),
        Column(("method",), "left"),
        Column(("student",), "left"),
        *(column for task in summary.plan.tasks for column in _task_columns(task, summary)),
        Column(("average",)),
        Column(("params", "(M)")),
        Column(("compression",)),
        *(Column(("speed-up", column.hardware.device)) for column in summary.speed_ups),
        Column(("training", "cost")),
    )


def _task_columns(task: PlannedTask, summary: Summary) -> Iterator[Column]:
    """The scores, and beside them what others print, if there is anything."""
    yield Column((task.name, task.score, *(["(synthetic)"] if task.synthetic else [])))
    if _has_published(task, summary):
        yield Column((task.name, "published"))


def _has_published(task: PlannedTask, summary: Summary) -> bool:
    return any(figure.task == task.name for figure in summary.plan.published)


def _strings(row: Row, summary: Summary, notes: _Notes) -> tuple[str, ...]:
    if row.role == "teacher":
        rank, method, student = "teacher", row.label, NOTHING
    else:
        rank, method, student = _rank(row), row.label, row.student
    seconds = None if row.student_seconds is None else row.student_seconds + (row.teacher_seconds or 0.0)
    return (
        rank,
        method,
        student,
        *(text for task in summary.plan.tasks for text in _task_strings(task, row, summary, notes)),
        score(row.average),
        millions(row.parameters),
        NOTHING if row.compression is None else f"{row.compression:.1f}×",
        *(_speed_up(row, column) for column in summary.speed_ups),
        duration(seconds),
    )


def _task_strings(task: PlannedTask, row: Row, summary: Summary, notes: _Notes) -> Iterator[str]:
    """One for each of the task's columns."""
    yield _cell(row.cells[task.name], notes)
    if _has_published(task, summary):
        every = summary.plan.published
        found = published.of_row(every, task.name, row.label, row.student)
        texts = (published.text(each, task.score) + notes.mark([published.note(each, every)]) for each in found)
        yield " / ".join(texts) or NOTHING


def _speed_up(row: Row, column: SpeedUp) -> str:
    """``3.2× [3.1, 3.3]``; the teacher that all are compared with has no interval."""
    found = column.of.get((row.role, row.student or row.label))
    if found is None:
        return NOTHING
    alone = found.low is None or (row.role == "teacher" and row.label == column.reference)
    return f"{found.median:.1f}×" + ("" if alone else f" [{found.low:.1f}, {found.high:.1f}]")


def _rank(row: Row) -> str:
    return str(row.rank) if row.rank else row.status if row.status == "incomplete" else NOTHING


def _cell(cell: Cell, notes: _Notes) -> str:
    text = {"complete": score(cell.score), "not applicable": "n/a"}.get(cell.state, cell.state)
    return text + notes.mark(cell.notes)


def score(value: Statistic | None) -> str:
    """``85.3 ± 0.4``; without ± where there is one seed."""
    if value is None:
        return NOTHING
    return f"{value.mean:.1f}" if value.std is None else f"{value.mean:.1f} ± {value.std:.1f}"


def millions(parameters: tuple[int, int] | None) -> str:
    """Parameters in millions; ``0.21–0.22`` where the tasks' heads make a difference that shows."""
    if parameters is None:
        return NOTHING
    digits = 1 if parameters[1] >= 10e6 else 2 if parameters[1] >= 1e6 else 3
    least, most = (f"{number / 1e6:.{digits}f}" for number in parameters)
    return least if least == most else f"{least}–{most}"


def duration(seconds: float | None) -> str:
    """``4.2 s``, ``12.3 min``, ``2.1 h``."""
    if seconds is None:
        return NOTHING
    unit, length = ("s", 1) if seconds < 60 else ("min", 60) if seconds < 3600 else ("h", 3600)
    return f"{seconds / length:.1f} {unit}"


def _best(summary: Summary) -> dict[tuple[str, str], list[int]]:
    """(label, student) -> the columns that it leads among the students. Scores that print the same lead together."""
    tasks = summary.plan.tasks
    columns = [
        ([(row, row.cells[task.name].score) for row in summary.students], task.higher_is_better) for task in tasks
    ]
    columns.append(([(row, row.average) for row in summary.students], tasks[0].higher_is_better))
    best: dict[tuple[str, str], list[int]] = {}
    places = [3]  # of the tasks' scores and of the average; published figures lie between, and lead nothing
    for task in tasks:
        places.append(places[-1] + 1 + _has_published(task, summary))
    for index, (column, higher) in zip(places, columns, strict=True):
        scores = {(row.label, row.student): round(value.mean, 1) for row, value in column if value}
        top = (max if higher else min)(scores.values(), default=None)
        for row, value in scores.items():
            if value == top:
                best.setdefault(row, []).append(index)
    return best


def _marks(summary: Summary) -> Iterator[tuple[str, str]]:
    plan = summary.plan
    if synthetic := [task.name for task in plan.tasks if task.synthetic]:
        text = (
            f"the examples of {', '.join(synthetic)} are generated; scores on them say nothing about natural language"
        )
        yield "SYNTHETIC", text
    if plan.limits:
        limits = ", ".join(f"{split} {number}" for split, number in sorted(plan.limits.items()))
        yield "REHEARSAL", f"examples are limited ({limits}); not to be compared with results on the whole data"
    if len(plan.seeds) < 3:
        yield "PRELIMINARY", f"{_some(len(plan.seeds), 'seed')}; a difference between methods needs 3 or more"
    rows = [*summary.teachers, *summary.students]
    if incomplete := sum(row.status == "incomplete" for row in rows):
        yield (
            "INCOMPLETE",
            f"{incomplete} of {_some(len(rows), 'row')} without all results, so without rank and average",
        )
    if summary.beaten:
        cases = (
            f"{b.label} on {b.student} scores {b.score:.1f} on {b.task}, teacher {b.teacher} {b.teacher_score:.1f}"
            for b in summary.beaten
        )
        yield "TEACHER BEATEN", f"a student that has no teacher scores better than one: {'; '.join(cases)}"


def _reading(summary: Summary) -> Iterator[str]:
    plan, tasks = summary.plan, summary.plan.tasks
    raw = [task.name for task in tasks if scale(task) == 1]
    scaled = "" if not raw else f" ({', '.join(raw)}: as it is, from 0 to 100)"
    n = len(plan.seeds)
    spread = "" if n < 2 else " ± their standard deviation (n - 1), which is not a confidence interval"
    yield f"A score is the mean over {_some(n, 'seed')}{spread}; times 100{scaled}. A teacher has one seed."
    if len({task.higher_is_better for task in tasks}) == 1:
        diagnostic = [task.name for task in tasks if task.diagnostic]
        without = f" (without {', '.join(diagnostic)}, a diagnosis of another task's students)" if diagnostic else ""
        yield (
            f"The average is over the tasks{without}, and students of all sizes are ranked by it; averages that print "
            "the same share a rank. A row with a cell that is missing, failed or n/a has neither. Bold: the best "
            "student."
        )
    else:
        less = ", ".join(task.name for task in tasks if not task.higher_is_better)
        yield f"Less is better on {less}, more on the others: there is no average and no rank. Bold: the best student."
    if plan.published:
        yield (
            "Published: what a source prints for the same method, layers and width, with a teacher, data and tuning of "
            "its own, on a split that need not be this board's. It stands as printed, is in no average and never "
            "ranked; its metric is named where it is not the board's."
        )
    if plan.teachers:
        yield f"Compression: parameters of teacher {next(iter(plan.teachers))} over the student's, heads included."
    for column in summary.speed_ups:
        control = column.control
        warning = f"; the A/A control is off there ({control.median:.3f})" if control.leaves_out_one else ""
        yield (
            f"Speed-up, {column.hardware.device}: time of {column.reference} over the model's, a median over paired "
            f"rounds with its 95 % interval; {column.backend}, batch {column.shape[0]} of {column.shape[1]} tokens, on "
            f"{machine(column.hardware)}{warning}. More in latency.md."
        )
    yield (
        "Training cost: time of the student's own steps and its share of its teachers' passes, over all tasks and "
        "seeds of the row. A teacher's own fine-tuning stands in its row and in no other"
        + (", a stage on unlabelled text in no row: see below." if plan.generals else ".")
    )


def _provenance(summary: Summary) -> Iterator[tuple[str, str]]:
    plan, results = summary.plan, summary.results
    yield "Command", f"`{plan.command}`"
    yield "Seeds", ", ".join(map(str, plan.seeds))
    for task in plan.tasks:
        of_task = [result for result in results if result.task == task.name]
        if of_task:
            text = f"`{of_task[0].data_fingerprint}`, the same in {_some(len(of_task), 'result')}"
            yield f"Examples scored, {task.name}", text
    for planned in plan.generals:
        record = next((each for each in summary.generals if each.key == planned.key), None)
        took = duration(record.cost.student_seconds + record.cost.teacher_seconds) if record else "not made yet"
        text = (
            f"{', '.join(planned.labels)}, {planned.student}: {_some(planned.steps, 'step')} on {planned.data}, {took}"
        )
        yield "Before all tasks", f"{text}; `general/{planned.key}/student`"
    if not results:
        return
    yield "Hardware", _variants(_machine(result.provenance.hardware) for result in results)
    yield "Packages", _variants(_packages(result.provenance.packages) for result in results)
    yield "Code", _variants(_commit(r.provenance.git_commit, r.provenance.git_dirty) for r in results)
    if summary.others:
        yield "Not counted", f"{_some(summary.others, 'result')} of other settings in the same folder"


def _machine(hardware: Hardware) -> str:
    cores, threads = _some(hardware.cores, "core"), _some(hardware.threads, "thread")
    return f"{hardware.device}, {hardware.name}, {cores}, {threads}, {hardware.memory_bytes / 2**30:.0f} GiB"


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
    return "; ".join(f"{value} ({_some(number, 'result')})" for value, number in counts)


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
