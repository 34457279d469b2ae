"""The files of an artifact in the results folder and in the cache."""

from __future__ import annotations

from dataclasses import dataclass

from harness.execution import augmented_data, teacher_runs, text_student_files
from harness.execution.ray_engine.transport import Roots
from harness.planning.job_graph import Artifact, AssistantCopy, TeacherTraining
from harness.planning.jobs import AugmentationJob, RunJob, TextStageJob
from harness.planning.tuning_studies import Study
from harness.storage.store import Store


@dataclass(frozen=True)
class ArtifactFiles:
    """Names of files and folders, see `transport`.

    Attributes:
        cached: the sealed folder in the cache that jobs read which need the artifact, if any.
        results: in the results folder.
        records: those of `results` from which a job continues, or which jobs read that need the artifact.
        checkpoints: the checkpoint of the unfinished artifact; of a tuning the journal, and the folder of the
            checkpoints of its trials.
        sources: in the results folder: what only its own job reads.
    """

    cached: str | None = None
    results: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def has_checkpoint(self, name: str) -> bool:
        """Whether the file `name` is a checkpoint of the artifact, or of one of its trials."""
        return name in self.checkpoints or self.has_trial_checkpoint(name)

    def has_trial_checkpoint(self, name: str) -> bool:
        """Whether the file `name` is a checkpoint of one of the artifact's trials."""
        return any(name.startswith(f"{own}/") for own in self.checkpoints)


def files_of(artifact: Artifact, roots: Roots) -> ArtifactFiles:
    """The files of an artifact. `roots`: the folders of this machine."""
    work = artifact.work
    if isinstance(work, RunJob):
        run, examples = f"store/runs/{artifact.key}", _examples(work.data.validation_fingerprint)
        return ArtifactFiles(None, (run, examples), (), (f"store/checkpoints/{artifact.key}.pt",))
    if isinstance(work, TeacherTraining):
        first, store = work.members[0], Store(roots.store)
        folder, fingerprint = roots.name(teacher_runs.cached(first).path), first.data.validation_fingerprint
        teachers = [roots.name(store.teacher_folder(member.key, fingerprint)) for member in work.members]
        records = tuple(f"{teacher}/record.json" for teacher in teachers)
        results = (*teachers, _examples(fingerprint))
        return ArtifactFiles(folder, results, records, (f"{folder}.pt",), sources=tuple(teachers))
    if isinstance(work, AssistantCopy):
        run = f"store/runs/{work.teacher.key}"
        sources = (f"{run}/student", f"{run}/record.json", f"{run}/checksums.json")
        return ArtifactFiles(roots.name(teacher_runs.cached(work.teacher).path), sources=sources)
    if isinstance(work, TextStageJob):
        folder, stored = roots.name(text_student_files.cached(work).path), (f"store/general/{artifact.key}",)
        return ArtifactFiles(folder, stored, (), (f"{folder}.pt",), sources=stored)
    if isinstance(work, AugmentationJob):
        return ArtifactFiles(roots.name(augmented_data.cached(work).path))
    if isinstance(work, Study):
        record, journal = f"store/tuning/{artifact.key}.json", f"store/tuning/{artifact.key}.log"
        return ArtifactFiles(None, (record, journal), (record,), (journal, f"store/checkpoints/{artifact.key}"))
    return ArtifactFiles()  # cached teacher outputs: each node computes its own


def _examples(fingerprint: str) -> str:
    return f"store/examples/{fingerprint}.parquet"
