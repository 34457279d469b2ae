"""Report section on attention heads: score and time of students that differ only in their number of heads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tabulate import tabulate

from harness import hookimpl
from harness.analysis.speed_up import machine, milliseconds
from harness.analysis.summary import Summary
from harness.api.report import Section
from harness.api.wording import counted
from harness.reporting.export_rows import exact
from harness.reporting.sections.comparison import (
    compare_row,
    compared_scopes,
    csv_rows,
    how_to_read,
    incomplete_rows,
    table,
)
from harness.storage.latency_records import InputShape, LatencyRecord, Ratio, Timing, paired_ratio
from harness.storage.plan_file import PlanFile


@hookimpl
def harness_report_sections(results: Summary) -> list[Section]:
    """Return a section for each set of students that differ only in their number of heads."""
    return [_section(results, heads) for heads in _families(results.plan)]


def _families(plan: PlanFile) -> list[dict[str, int]]:
    """Return student -> heads, most heads first, for each set of students that agree in everything else."""
    families: dict[tuple[Any, ...], dict[str, int]] = {}
    for name in plan.students:
        if shape := plan.shapes.get(name):
            families.setdefault((shape.layers, shape.hidden, shape.ffn, shape.init), {})[name] = shape.heads
    ordered = [dict(sorted(family.items(), key=lambda item: -item[1])) for family in families.values()]
    return [heads for heads in ordered if len(set(heads.values())) > 1]


def _section(results: Summary, heads: Mapping[str, int]) -> Section:
    most = next(iter(heads))
    shape = results.plan.shapes[most]
    scores, rows = _scores(results, heads)
    times = [part for record in results.latencies for part in _times(record, heads)]
    if not times:
        state = "not measured yet" if results.plan.latency else "not measured: the suite has no `latency` section"
        times = [f"Their latency is {state}."]
    for record in results.latencies:
        rows += _time_rows(record, heads)
    return Section(
        title=f"Number of heads: {counted(shape.layers, 'layer')}, hidden {shape.hidden}",
        text="\n\n".join([*scores, *times]),
        file="heads",
        rows=rows,
    )


def _scores(results: Summary, heads: Mapping[str, int]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return text and CSV rows that compare each label's students with the student with the most heads."""
    most = next(iter(heads))
    rows = [row for row in results.students if row.student in heads]
    scopes = compared_scopes(results, rows)
    if not scopes:
        return [], []
    by_name = {(row.label, row.student): row for row in rows}
    lines = [
        compare_row(results, scopes, (label, str(count), student), row, by_name.get((label, most)))
        for label in results.plan.labels
        for student, count in heads.items()
        if (row := by_name.get((label, student)))
    ]
    text = [
        table(["method", "heads", "student"], lines, scopes),
        how_to_read(results, scopes, f"the same method's on {most}"),
        incomplete_rows({f"{row.label} on {row.student}": row for row in rows}, scopes[0]),
    ]
    return [part for part in text if part], csv_rows(results, {}, ["label", "heads", "student"], lines, scopes)


def _times(record: LatencyRecord, heads: Mapping[str, int]) -> Iterator[str]:
    """Yield the table of one machine: a row for each backend and shape, a column for each number of heads."""
    students = [student for student in heads if _measured(record, student)]
    if len(students) < 2:
        return
    most, *fewer = students
    lines = [_line(record, backend, shape, students) for backend in record.backends for shape in record.shapes]
    titles = [f"{most}, {counted(heads[most], 'head')} (ms)", f"over {record.reference}"]
    titles += [f"{student}, {counted(heads[student], 'head')}" for student in fewer]
    headers = ["backend", "batch", "tokens", *titles]
    yield f"### Time, {machine(record.provenance.hardware)}"
    yield tabulate(
        lines,
        headers=headers,
        tablefmt="pipe",
        colalign=["left", *["right"] * (len(headers) - 1)],
        disable_numparse=True,
    )
    yield (
        f"Median time of {most}, its speed-up over {record.reference}, and the speed-ups over {most} of the students "
        "with fewer heads: medians over the same rounds, with their 95 % intervals. For the procedure and the A/A "
        "control see latency.md."
    )


def _line(record: LatencyRecord, backend: str, shape: InputShape, students: Sequence[str]) -> list[str]:
    timings = {timing.model: timing for timing in record.at(backend, shape)}
    most, *fewer = [timings[student] for student in students]
    return [
        backend,
        *map(str, shape),
        milliseconds(most.percentile(0.5)),
        _times_faster(record.ratio(most).inverse),
        *(_times_faster(_speed_up(timing, most)) for timing in fewer),
    ]


def _time_rows(record: LatencyRecord, heads: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield CSV rows: each student's speed-up over the one with the most heads, at each backend and shape."""
    students = [student for student in heads if _measured(record, student)]
    for backend in record.backends:
        for shape in record.shapes:
            timings = {timing.model: timing for timing in record.at(backend, shape)}
            for student in students:
                ratio = _speed_up(timings[student], timings[students[0]])
                yield {
                    "heads": heads[student],
                    "student": student,
                    "scope": f"speed-up over {students[0]}",
                    "mean": exact(ratio.median),
                    "low": exact(ratio.low),
                    "high": exact(ratio.high),
                    "backend": backend,
                    "batch_size": shape[0],
                    "length": shape[1],
                    "on": machine(record.provenance.hardware),
                }


def _speed_up(timing: Timing, other: Timing) -> Ratio:
    """Return the speed-up over the other timing, paired by round."""
    return paired_ratio(timing.nanoseconds, other.nanoseconds).inverse


def _times_faster(ratio: Ratio) -> str:
    interval = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.median:.2f}×{interval}"


def _measured(record: LatencyRecord, student: str) -> bool:
    """Return whether the student was measured."""
    return any((model.role, model.name) == ("student", student) for model in record.models)
