"""Notes on the data of tasks, for boards and `harness plan`: overlap of the splits, corrected answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.storage.plan_file import DataReport

OVERLAP = 0.01
"""Share of a validation split that may repeat texts of the training split without a warning."""


def overlapping(reports: Mapping[str, DataReport]) -> list[str]:
    """``cola: 16 of 1043 validation examples (1.5 %)`` for each split above `OVERLAP`."""
    return [
        f"{task}: {_share(report, split)}"
        for task, report in reports.items()
        for split, count in report.overlap.items()
        if count > OVERLAP * report.examples[split]
    ]


def provenance(task: str, report: DataReport) -> Iterator[tuple[str, str]]:
    """Yield (name, value) lines for the provenance section of a board."""
    shares = "; ".join(_share(report, split) for split in report.overlap)
    yield f"Validation texts in the training split, {task}", shares
    if report.repaired:
        counts = ", ".join(f"{count} in {split}" for split, count in report.repaired.items())
        yield f"Answers whose start was corrected, {task}", counts


def _share(report: DataReport, split: str) -> str:
    count, examples = report.overlap[split], report.examples[split]
    return f"{count} of {examples} {split.replace('_', ' ')} examples ({100 * count / examples:.1f} %)"
