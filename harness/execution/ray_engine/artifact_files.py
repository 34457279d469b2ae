"""The files of an artifact in the results folder and in the cache."""

from __future__ import annotations

from dataclasses import dataclass

from harness.execution import augmented_data, teacher_runs, text_students
from harness.planning.job_graph import Artifact, AssistantCopy, TeacherTraining
from harness.planning.jobs import AugmentationJob, RunJob, TextStageJob
from harness.planning.tuning_studies import Study
from harness.storage import cache_dir


@dataclass(frozen=True)
class ArtifactFiles:
    """Names of files and folders, see `transport`.

    Attributes:
        cached: the sealed folder in the cache that jobs read which need the artifact, if any.
        results: in the results folder.
        records: those of `results` from which a job continues, or which jobs read that need the artifact.
        checkpoints: checkpoints of the unfinished artifact, and the journal of a tuning.
        sources: in the results folder: what only its own job reads.
    """

    cached: str | None = None
    results: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


def files_of(artifact: Artifact) -> ArtifactFiles:
    """The files of an artifact."""
    work = artifact.work
    root = cache_dir.root()
    if isinstance(work, RunJob):
        run, examples = f"store/runs/{artifact.key}", _examples(work.data.validation_fingerprint)
        return ArtifactFiles(None, (run, examples), (), (f"store/checkpoints/{artifact.key}.pt",))
    if isinstance(work, TeacherTraining):
        folder = f"cache/{teacher_runs.folder(work.members[0]).relative_to(root).as_posix()}"
        teachers = [f"store/teachers/{member.key}" for member in work.members]
        examples = _examples(work.members[0].data.validation_fingerprint)
        records = tuple(f"{teacher}/record.json" for teacher in teachers)
        return ArtifactFiles(folder, (*teachers, examples), records, (f"{folder}.pt",))
    if isinstance(work, AssistantCopy):
        folder = f"cache/{teacher_runs.folder(work.teacher).relative_to(root).as_posix()}"
        run = f"store/runs/{work.teacher.key}"
        return ArtifactFiles(folder, sources=(f"{run}/student", f"{run}/record.json", f"{run}/checksums.json"))
    if isinstance(work, TextStageJob):
        folder = f"cache/{text_students.folder(work).relative_to(root).as_posix()}"
        return ArtifactFiles(folder, (f"store/general/{artifact.key}",), (), (f"{folder}.pt",))
    if isinstance(work, AugmentationJob):
        return ArtifactFiles(f"cache/{augmented_data.folder(work).relative_to(root).as_posix()}")
    if isinstance(work, Study):
        record, journal = f"store/tuning/{artifact.key}.json", f"store/tuning/{artifact.key}.log"
        return ArtifactFiles(None, (record, journal), (record,), (journal,))
    return ArtifactFiles()  # cached teacher outputs: each node computes its own


def _examples(fingerprint: str) -> str:
    return f"store/examples/{fingerprint}.parquet"
