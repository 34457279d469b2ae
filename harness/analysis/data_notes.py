"""Notes on the data of tasks, for boards and commands: overlap of the splits, corrected answers, size of labels,
truncated texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from harness.api.task import LabelScale
from harness.storage.plan_file import DataReport, TruncatedTexts

OVERLAP = 0.01
"""Share of a validation split that may repeat texts of the training split without a warning."""

TRUNCATED = 0.1
"""Share of a split's texts that may be truncated without a warning."""

LARGEST, LEAST = 10.0, 0.01
"""Largest mean and standard deviation, and least standard deviation, of labels that models are trained on without a
warning. An untrained model's outputs are near 0, most within 1, and a step moves them by a small part of that."""


def warnings(
    reports: Mapping[str, DataReport],
    truncated: Mapping[str, Iterable[TruncatedTexts]] | None = None,
    *,
    max_length: str = "`training.max_length`",
) -> list[str]:
    """Return what a user should know of the data before the training, a line for each case.

    Args:
        reports: task -> what is known of its data.
        truncated: see `Plan.truncated`; None: it is not known.
        max_length: the name of the setting that truncates.
    """
    overlaps = [f"training and validation texts overlap: {overlap}" for overlap in overlapping(reports)]
    return [*overlaps, *unscaled(reports), *_truncations(truncated or {}, max_length)]


def overlapping(reports: Mapping[str, DataReport]) -> list[str]:
    """``cola: 16 of 1043 validation examples (1.5 %)`` for each split above `OVERLAP`."""
    return [f"{task}: {share}" for task, report in reports.items() for share in overlapping_splits(report)]


def overlapping_splits(report: DataReport) -> list[str]:
    """``16 of 1043 validation examples (1.5 %)`` for each split of a task above `OVERLAP`."""
    return [
        _share(report, split) for split, count in report.overlap.items() if count > OVERLAP * report.examples[split]
    ]


def unscaled(reports: Mapping[str, DataReport]) -> list[str]:
    """Return a line for each regression on labels of a size that models hardly learn."""
    return [
        f"{task}: the training labels have a mean of {report.labels.mean:.4g} and a standard deviation of"
        f" {report.labels.deviation:.4g}, far from the outputs of an untrained model (about 0), so that they may not be"
        " learned; give the task `standardize: true`"
        for task, report in reports.items()
        if report.labels is not None and not report.standardized and _far(report.labels)
    ]


def _far(labels: LabelScale) -> bool:
    return max(abs(labels.mean), labels.deviation) > LARGEST or 0 < labels.deviation < LEAST


def _truncations(truncated: Mapping[str, Iterable[TruncatedTexts]], max_length: str) -> Iterator[str]:
    """Yield a line for each tokenization of a task that truncates more than `TRUNCATED` of a split's texts."""
    for task, entries in truncated.items():
        for entry in entries:
            if any(count > TRUNCATED * entry.examined[split] for split, count in entry.longer.items()):
                remedy = f"raise {max_length} to keep them whole, if the models can read more"
                yield f"{task}: texts are truncated: {_longer(entry)}; {remedy}"


def _longer(entry: TruncatedTexts) -> str:
    shares = (
        f"{100 * count / entry.examined[split]:.1f} % of {entry.examined[split]} {split.replace('_', ' ')} examples"
        for split, count in entry.longer.items()
        if count
    )
    return f"{', '.join(shares)} have more than {entry.max_length} tokens"


def truncation(task: str, truncated: Iterable[TruncatedTexts]) -> Iterator[tuple[str, str]]:
    """Yield (name, value) lines for the provenance section of a board: of each tokenization that truncates texts."""
    entries = list(truncated)
    for entry in entries:
        if any(entry.longer.values()):
            students = f" ({', '.join(entry.students)})" if len(entries) > 1 else ""
            yield f"Truncated texts, {task}{students}", _longer(entry)


def provenance(task: str, report: DataReport) -> Iterator[tuple[str, str]]:
    """Yield (name, value) lines for the provenance section of a board."""
    shares = "; ".join(_share(report, split) for split in report.overlap)
    yield f"Validation texts in the training split, {task}", shares
    if report.repaired:
        counts = ", ".join(f"{count} in {split}" for split, count in report.repaired.items())
        yield f"Answers whose start was corrected, {task}", counts
    if report.standardized and report.labels:
        yield (
            f"Standardized labels, {task}",
            f"trained on (label - {report.labels.mean:.6g}) / {report.labels.unit:.6g}, the mean and the standard"
            " deviation of the training labels; scores are in the unit of the labels",
        )


def _share(report: DataReport, split: str) -> str:
    count, examples = report.overlap[split], report.examples[split]
    return f"{count} of {examples} {split.replace('_', ' ')} examples ({100 * count / examples:.1f} %)"
