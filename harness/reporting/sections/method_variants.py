"""Report section on variants of a method, such as ablations: each compared with the full method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness import hookimpl
from harness.analysis.summary import Summary
from harness.api.report import Section
from harness.reporting.formatting import format_value
from harness.reporting.sections.comparison import (
    compare_row,
    compared_scopes,
    csv_rows,
    how_to_read,
    incomplete_rows,
    table,
)
from harness.storage.plan_file import PlanFile, PlannedRow


@hookimpl
def harness_report_sections(results: Summary) -> list[Section]:
    """Return a section for each method with variants and each student."""
    return [
        section
        for method, labels in _families(results.plan)
        for student in results.plan.students
        if (section := _section(results, method, labels, student))
    ]


def _families(plan: PlanFile) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """Yield (method, label -> the settings that differ from the full method). The full method comes first.

    The full method is the entry that sets no options, otherwise the first entry. Rows of a grid are not variants.
    """
    entries = [row.entry for row in plan.rows.values()]
    single = {label: row for label, row in plan.rows.items() if entries.count(row.entry) == 1}
    for method in dict.fromkeys(row.method for row in single.values()):
        of_method = {label: row for label, row in single.items() if row.method == method}
        full = next((row for row in of_method.values() if row.plain), next(iter(of_method.values())))
        labels = {label: _differences(row, full) for label, row in of_method.items() if row is not full}
        labels = {label: differs for label, differs in labels.items() if differs}
        if labels:
            first = next(label for label, row in of_method.items() if row is full)
            yield method, {first: {}, **labels}


def _differences(row: PlannedRow, full: PlannedRow) -> dict[str, str]:
    return {
        name: format_value(value) if not isinstance(value, list) else ", ".join(map(format_value, value))
        for name, value in row.settings.items()
        if value != full.settings.get(name)
    }


def _words(differs: Mapping[str, str]) -> str:
    return ", ".join(f"{name}: {value}" for name, value in differs.items())


def _section(results: Summary, method: str, labels: Mapping[str, Mapping[str, str]], student: str) -> Section | None:
    """Return None for a student without the full method or without a variant."""
    first = next(iter(labels))
    rows = {row.label: row for row in results.students if row.student == student and row.label in labels}
    scopes = compared_scopes(results, list(rows.values()))
    full = rows.get(first)
    if full is None or len(rows) < 2 or not scopes:
        return None
    lines = [
        compare_row(results, scopes, (label, _words(differs)), rows[label], full)
        for label, differs in labels.items()
        if label in rows
    ]
    reference = f"the same student's with `{first}`"
    text = [
        table(["label", "what differs"], lines, scopes),
        how_to_read(results, scopes, reference),
        incomplete_rows({label: rows[label] for label in labels if label in rows}, scopes[0]),
    ]
    return Section(
        title=f"Variants of {method}, student {student}",
        text="\n\n".join(part for part in text if part),
        file="variants",
        rows=csv_rows(results, {"method": method, "student": student}, ["label", "differs"], lines, scopes),
    )
