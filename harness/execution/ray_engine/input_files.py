"""The model folders and files of a plan that its jobs read, which other machines may lack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from harness.planning.job_graph import AssistantCopy, OutputsToCache, TeacherTraining, Work
from harness.planning.jobs import AugmentationJob, RunJob, TeacherJob, TextStageJob
from harness.planning.tuning_studies import Study


def paths(works: Iterable[Work]) -> set[Path]:
    """Return the paths of all models and files that jobs read, except what other jobs build."""
    return {path for work in works for path in _paths(work) if path is not None}


def _paths(work: Work | TeacherJob) -> Iterator[Path | None]:
    match work:
        case TeacherJob():
            for member in work.group.members if work.group else (work,):
                yield member.checkpoint
        case TeacherTraining():
            for member in work.members:
                yield from _paths(member)
        case OutputsToCache() | AssistantCopy():
            yield from _paths(work.teacher)
        case TextStageJob():
            yield from (work.checkpoint, work.source, work.teacher)
            yield from _paths(work.assistant)
        case AugmentationJob():
            yield from (work.model, *work.files)
        case Study():
            yield from _paths(work.job)
        case RunJob():
            yield work.checkpoint
            for lineage in (work.lineage, work.first):
                for teacher in (*lineage.teachers, *([lineage.source] if lineage.source else [])):
                    yield from _paths(teacher)
            yield from _paths(work.augmented)
            yield from _paths(work.general)
