"""The job graph of a plan: what has to be built, in which order, and with which resources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.api.engine import Resources
from harness.planning.job_inputs import TokenizerRef
from harness.planning.jobs import AugmentationJob, RunJob, TeacherJob, TextStageJob
from harness.planning.tuning_studies import Study

JobKind = Literal[
    "text stage", "augmentation", "teacher", "assistant", "teacher outputs", "tuning", "cohort", "latency", "report"
]


@dataclass(frozen=True)
class TeacherTraining:
    """Teachers of one task to fine-tune: a single one, or all teachers of a group, which train jointly.

    `weights_needed`: whether a missing run needs their weights; otherwise only their records are needed.
    """

    members: tuple[TeacherJob, ...]
    weights_needed: bool


@dataclass(frozen=True)
class AssistantCopy:
    """The trained student of a run to copy to the cache, where other runs read it as their teacher."""

    teacher: TeacherJob


@dataclass(frozen=True)
class OutputsToCache:
    """Outputs of a teacher to cache: those that the runs `users`, tokenized with `tokenizer_ref`, need."""

    teacher: TeacherJob
    tokenizer_ref: TokenizerRef
    users: tuple[RunJob, ...]


Work = TextStageJob | AugmentationJob | TeacherTraining | AssistantCopy | OutputsToCache | Study | RunJob | None
"""What builds an artifact; None for latency and report, which concern the whole suite."""


@dataclass(frozen=True)
class Artifact:
    """Something that a job builds.

    Attributes:
        key: unique key.
        title: what it is, for people: ``teacher base on sst2``.
        needs: keys of the artifacts that it is built from. If one of them fails, it fails.
        work: what builds it.
        seconds: estimated time to build it alone.
    """

    key: str
    title: str
    needs: tuple[str, ...]
    work: Work
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """A unit of work: builds its artifacts together, in one process.

    Attributes:
        kind: kind of work.
        artifacts: what it builds.
        resources: what it takes.
        seconds: estimated time.
        task: the task, if all artifacts are of one.
    """

    kind: JobKind
    artifacts: tuple[Artifact, ...]
    resources: Resources
    seconds: float
    task: str = ""

    @property
    def key(self) -> str:
        """Unique key in the graph."""
        return f"{self.kind}/{self.artifacts[0].key}"

    @property
    def title(self) -> str:
        """What it builds, for people."""
        first, *others = [artifact.title for artifact in self.artifacts]
        return f"{first} and {len(others)} more" if others else first


@dataclass(frozen=True)
class JobGraph:
    """The jobs of a plan in topological order: a job comes after all jobs that it needs.

    Raises:
        ValueError: two jobs build the same artifact, or an artifact is needed before it is built.
    """

    jobs: tuple[Job, ...]

    def __post_init__(self) -> None:
        built: set[str] = set()
        for job in self.jobs:
            for artifact in job.artifacts:
                if missing := [need for need in artifact.needs if need not in built]:
                    raise ValueError(f"{artifact.title} needs {', '.join(missing)}, which no earlier job builds")
            for artifact in job.artifacts:
                if artifact.key in built:
                    raise ValueError(f"two jobs build {artifact.title}")
                built.add(artifact.key)

    @cached_property
    def builder(self) -> Mapping[str, Job]:
        """Key of an artifact -> the job that builds it."""
        return {artifact.key: job for job in self.jobs for artifact in job.artifacts}

    @cached_property
    def by_key(self) -> Mapping[str, Job]:
        """Key of a job -> the job."""
        return {job.key: job for job in self.jobs}

    @cached_property
    def _dependencies(self) -> Mapping[str, tuple[str, ...]]:
        return {
            job.key: tuple(
                dict.fromkeys(self.builder[need].key for artifact in job.artifacts for need in artifact.needs)
            )
            for job in self.jobs
        }

    def dependencies(self, job: Job) -> tuple[str, ...]:
        """Keys of the jobs that must end before `job` starts."""
        return self._dependencies[job.key]

    def ready(self, ended: Iterable[str]) -> Iterator[Job]:
        """Yield the jobs that have not ended and whose dependencies have, in topological order."""
        ended = set(ended)
        for job in self.jobs:
            if job.key not in ended and ended.issuperset(self.dependencies(job)):
                yield job
