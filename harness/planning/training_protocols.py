"""A row's training protocol in a few words: a paper's own may have more stages, data or epochs."""

from __future__ import annotations

from collections.abc import Iterable

from harness.planning.jobs import RunJob
from harness.training.schedule import stage_steps


def protocols(jobs: Iterable[RunJob]) -> dict[str, str]:
    """Of each label: "task only, no augmentation, 3 epochs"."""
    rows: dict[str, list[RunJob]] = {}
    for job in jobs:
        rows.setdefault(job.planned.label, []).append(job)
    return {label: protocol(row) for label, row in rows.items()}


def protocol(row: list[RunJob]) -> str:
    """Of one row's runs, on all tasks: what comes before the task, what it trains on, its stages and its length."""
    stages = [stage.name for stage in row[0].method.stages()]
    parts = [
        _some(["stage on text, then the task" if job.general else "task only" for job in row]),
        _some([_data(job) for job in row]),
        *([f"stages {' + '.join(stages)}"] if len(stages) > 1 else []),
        _epochs(row),
    ]
    return ", ".join(parts)


def _data(job: RunJob) -> str:
    used = set(job.stage_data)
    if used == {"task"}:
        return "no augmentation"
    return "augmented data" if used == {"augmented"} else "augmented data in some stages"


def _some(found: list[str]) -> str:
    """What holds on all tasks, or what there is on one or another."""
    return " or ".join(dict.fromkeys(found))


def _epochs(row: list[RunJob]) -> str:
    """Passes over the task's own examples, of all stages together; the least and the most over the tasks."""
    counts = [_length(job) for job in row]
    least, most = f"{min(counts):.4g}", f"{max(counts):.4g}"
    if least == most:
        return f"{least} epoch{'' if least == '1' else 's'}"
    return f"{least} to {most} epochs"


def _length(job: RunJob) -> float:
    batches = -(-len(job.data.splits.train) // job.training.max_batch_size)
    lengths = stage_steps(
        job.method.stages(), job.cell.variant.stages, epochs=job.training.epochs, batches_per_epoch=batches
    )
    return round(sum(lengths) / batches, 2)
