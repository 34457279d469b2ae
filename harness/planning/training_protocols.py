"""Describe the training protocol of a row in a few words.

Readers need it to compare with a paper, whose protocol may have more stages, data or epochs.
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.planning.jobs import RunJob, tuned_batch_sizes
from harness.planning.stage_plan import planned_stages


def protocols(jobs: Iterable[RunJob]) -> dict[str, str]:
    """Return the protocol of each label, such as "task only, no augmentation, 3 epochs"."""
    rows: dict[str, list[RunJob]] = {}
    for job in jobs:
        rows.setdefault(job.planned.label, []).append(job)
    return {label: protocol(row) for label, row in rows.items()}


def protocol(row: list[RunJob]) -> str:
    """Describe the runs of one row on all tasks: its text stage, training data, stages and epochs."""
    stages = [stage.name for stage in row[0].stages]
    parts = [
        _join_distinct(["stage on text, then the task" if job.general else "task only" for job in row]),
        _join_distinct([_data(job) for job in row]),
        *(["teachers not fine-tuned together"] if any(map(_fine_tuned_before, row)) else []),
        *([f"stages {' + '.join(stages)}"] if len(stages) > 1 else []),
        _epochs(row),
        *_row_batch_sizes(row),
    ]
    return ", ".join(parts)


def _fine_tuned_before(job: RunJob) -> bool:
    """Whether the method would fine-tune its teachers together, but some are fine-tuned already."""
    if len(job.teachers) < 2 or all(teacher.spec.is_trained for teacher in job.teachers):
        return False
    return job.method.cofinetuning() is not None


def _data(job: RunJob) -> str:
    sources = {batches.data for batches in job.stage_batches}
    if sources == {"task"}:
        return "no augmentation"
    return "augmented data" if sources == {"augmented"} else "augmented data in some stages"


def _row_batch_sizes(row: list[RunJob]) -> list[str]:
    """Name the batch sizes that are not the suite's. Empty: there are none."""
    descriptions = [_batch_sizes(job) for job in row]
    if not any(descriptions):
        return []
    joined = _join_distinct(list(filter(None, descriptions)))
    return [joined if all(descriptions) else f"{joined} on some tasks"]


def _batch_sizes(job: RunJob) -> str:
    """Name the batch sizes of a run that are not the suite's: those of stages, or a tuned one. Empty: there are none.

    Beside a tuned one, all that are set are named, since they are not tuned.
    """
    tuned, overrides = bool(tuned_batch_sizes(job)), job.cell.variant.stages
    sizes = {
        stage.name: training.batch_size
        for stage, training in zip(job.stages, job.stage_training, strict=True)
        if training != job.training or (tuned and stage.name in overrides and overrides[stage.name].batch_size)
    }
    if len(sizes) == len(job.stages) and len(set(sizes.values())) == 1:
        return f"batches of {next(iter(sizes.values()))}"
    parts = ["tuned batch size"] if tuned else []
    return ", ".join([*parts, *(f"batches of {size} in {stage}" for stage, size in sizes.items())])


def _join_distinct(descriptions: list[str]) -> str:
    """Join the distinct descriptions of a row's runs with "or"."""
    return " or ".join(dict.fromkeys(descriptions))


def _epochs(row: list[RunJob]) -> str:
    """Describe the epochs of all stages together, as a range if tasks differ. They count the task's own examples."""
    counts = [_epoch_count(job) for job in row]
    least, most = f"{min(counts):.4g}", f"{max(counts):.4g}"
    if least == most:
        return f"{least} epoch{'' if least == '1' else 's'}"
    return f"{least} to {most} epochs"


def _epoch_count(job: RunJob) -> float:
    return round(float(sum(stage.epochs for stage in planned_stages(job))), 2)
