"""A suite with every key known: what there is to do, in which company, and what of it the store keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.config.schema import SuiteSpec
from harness.planning import board_rows as rows
from harness.planning import figure_matching, memory_estimate, memory_packing, tuning_studies
from harness.planning.jobs import AugmentationJob, Choice, GeneralJob, RunJob, TeacherJob
from harness.planning.training_protocols import protocols
from harness.resolution.suite import Resolved
from harness.storage.records import DataReport, NotApplicable, PlanFile, PlannedGeneral, PlannedTask


@dataclass(frozen=True)
class Plan:
    """A suite with every key known. `device` is where it will train; `choices` say which teachers' tensors are kept;
    `data` is what was found in the examples of each task."""

    resolved: Resolved
    device: str
    teachers: tuple[TeacherJob, ...]
    runs: tuple[RunJob, ...]
    not_applicable: tuple[NotApplicable, ...]
    choices: tuple[Choice, ...] = ()
    data: Mapping[str, DataReport] = field(default_factory=dict)

    @property
    def spec(self) -> SuiteSpec:
        return self.resolved.suite.spec

    @cached_property
    def room(self) -> int:
        """Bytes that a cohort may take."""
        return memory_estimate.room(self.device, self.spec.training.max_memory_gb)

    def cohorts(self, jobs: Sequence[RunJob]) -> list[list[RunJob]]:
        """The jobs in groups that train side by side, in the suite's order: as many as have room in memory. Where they
        have not, runs with teachers of one seed stay together."""
        groups: dict[tuple[str, str, int, str], dict[str, RunJob]] = {}
        for job in jobs:
            # Two labels of one key are one run: the board shows its record under both.
            groups.setdefault(job.cohort, {}).setdefault(job.planned.key, job)
        ordered = [sorted(group.values(), key=lambda job: job.lineage.place) for group in groups.values()]
        return [part for group in ordered for part in memory_packing.split(group, self.load, self.room)]

    def load(self, job: RunJob) -> memory_estimate.Load:
        """What a run takes of the memory."""
        return memory_packing.of_run(job, job.training, self.device)

    def generals(self, jobs: Sequence[RunJob]) -> list[GeneralJob]:
        """The general stages that the jobs begin with, each once, an assistant before its students."""
        found = [each for job in jobs if job.general for each in job.general.chain]
        return list({each.key: each for each in found}.values())

    def augmentations(self, jobs: Sequence[RunJob]) -> list[AugmentationJob]:
        """The training data that the jobs ask to be made, each once."""
        return list({job.augmented.key: job.augmented for job in jobs if job.augmented}.values())

    def _planned(self, job: GeneralJob) -> PlannedGeneral:
        """A general stage, with every row of the board that begins with it."""
        rows = (run for run in self.runs if run.general and job.key in {each.key for each in run.general.chain})
        labels = list(dict.fromkeys(run.planned.label for run in rows))
        return PlannedGeneral(key=job.key, labels=labels, student=job.student, data=job.data, steps=job.steps)

    def file(self, command: str) -> PlanFile:
        """What the suite asks for, as the store keeps it."""
        suite, limit = self.resolved.suite, self.spec.training.limit
        labels = dict.fromkeys(variant.label for variant in suite.variants)
        teachers: dict[str, dict[str, list[str]]] = {}
        for job in self.teachers:
            teachers.setdefault(job.row, {}).setdefault(job.data.task.name, []).append(job.key)
        return PlanFile(
            suite=self.spec.name,
            command=command,
            tasks=[
                PlannedTask(
                    name=task.name,
                    kind=task.kind,
                    score=task.score,
                    synthetic=task.synthetic,
                    labels=list(task.labels),
                    percent=task.in_percent,
                    diagnostic=task.diagnostic,
                    higher_is_better=task.higher_is_better,
                    data=self.data.get(task.name),
                )
                for task in suite.tasks
            ],
            students=list(self.spec.students),
            labels=list(labels),
            teachers=teachers,
            seeds=list(self.spec.seeds),
            runs=[job.planned for job in self.runs],
            not_applicable=list(self.not_applicable),
            limits={name: value for name, value in limit.model_dump().items() if value is not None},
            generals=[self._planned(job) for job in self.generals(self.runs)],
            latency=self.spec.latency,
            published=figure_matching.beside(self.resolved),
            citations={v.method.name: v.method.citation for v in suite.variants if v.method.citation},
            rows=rows.rows(self.resolved, protocols(self.runs)),
            shapes=rows.shapes(self.resolved),
            tuning=tuning_studies.planned(self.runs, self.spec),
        )
