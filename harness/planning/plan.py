"""Define `Plan`: the jobs of a suite with their keys, their cohorts, and the plan file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from harness.config.schema import SuiteSpec
from harness.planning import board_rows as rows
from harness.planning import figure_matching, memory_estimate, memory_packing, tuning_studies
from harness.planning.cache_decisions import CacheDecision
from harness.planning.jobs import AugmentationJob, CohortId, RunJob, TeacherJob, TextStageJob
from harness.planning.training_protocols import protocols
from harness.resolution.suite import Resolved
from harness.storage.plan_file import (
    DataReport,
    NotApplicable,
    PlanFile,
    PlannedAssistant,
    PlannedGeneral,
    PlannedTask,
    TruncatedTexts,
)


@dataclass(frozen=True)
class Plan:
    """The jobs of a suite, with their keys.

    Attributes:
        device: the device to train on.
        cache_decisions: the decisions which teacher outputs are cached.
        data: task -> report on its examples.
        held_out: task -> number of examples that are held out of its training split, as limited by the suite.
        truncated: task -> the texts that are longer than its `max_length`, for each tokenizer of the students.
    """

    resolved: Resolved
    device: str
    teachers: tuple[TeacherJob, ...]
    runs: tuple[RunJob, ...]
    not_applicable: tuple[NotApplicable, ...]
    cache_decisions: tuple[CacheDecision, ...] = ()
    data: Mapping[str, DataReport] = field(default_factory=dict)
    held_out: Mapping[str, int] = field(default_factory=dict)
    truncated: Mapping[str, Sequence[TruncatedTexts]] = field(default_factory=dict)
    _loads: dict[tuple[str, int], memory_estimate.Load] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def spec(self) -> SuiteSpec:
        return self.resolved.suite.spec

    @cached_property
    def room(self) -> int:
        """Memory that a cohort may take, in bytes."""
        return memory_estimate.room(self.device, self.spec.training.max_memory_gb)

    def cohorts(self, jobs: Sequence[RunJob]) -> list[list[RunJob]]:
        """Group jobs that train together, in the suite's order.

        A cohort that does not fit in memory is split; runs with teachers of the same seed are adjacent then.
        """
        groups: dict[CohortId, dict[str, RunJob]] = {}
        for job in jobs:
            # Runs with equal keys are trained once: the board shows the record under each label.
            groups.setdefault(job.cohort, {}).setdefault(job.planned.key, job)
        ordered = [sorted(group.values(), key=lambda job: job.lineage.seed_index) for group in groups.values()]
        return [part for group in ordered for part in memory_packing.split(group, self.load, self.room)]

    def load(self, job: RunJob) -> memory_estimate.Load:
        """Return the memory that a run adds to its cohort."""
        key = job.planned.key, job.max_batch_size  # tuning may change the batch size of a planned run
        if key not in self._loads:
            self._loads[key] = memory_packing.of_run(job, self.device)
        return self._loads[key]

    def text_stages(self, jobs: Sequence[RunJob]) -> list[TextStageJob]:
        """Return the distinct text stages that the jobs start from, an assistant before its students."""
        stages = [stage for job in jobs if job.general for stage in job.general.chain]
        return list({stage.key: stage for stage in stages}.values())

    def augmentations(self, jobs: Sequence[RunJob]) -> list[AugmentationJob]:
        """Return the distinct augmented data sets that the jobs request."""
        return list({job.augmented.key: job.augmented for job in jobs if job.augmented}.values())

    def _planned_generals(self) -> list[PlannedGeneral]:
        """Return the text stages as stored in the plan file, each with the label of every row that starts from it."""
        labels: dict[str, dict[str, None]] = {}
        for run in self.runs:
            for stage in run.general.chain if run.general else ():
                labels.setdefault(stage.key, {})[run.planned.label] = None
        return [
            PlannedGeneral(
                key=job.key, labels=list(labels[job.key]), student=job.student, data=job.data, steps=job.steps
            )
            for job in self.text_stages(self.runs)
        ]

    def file(self, command: str) -> PlanFile:
        """Return the plan file that is stored with the results. `command` is the command line that made it."""
        suite, limit = self.resolved.suite, self.spec.training.limit
        labels = dict.fromkeys(variant.label for variant in suite.variants)
        teachers: dict[str, dict[str, list[str]]] = {}
        for job in self.teachers:
            teachers.setdefault(job.row, {}).setdefault(job.data.task.name, []).append(job.key)
        data = (*(job.data for job in self.teachers), *(job.data for job in self.runs))
        fingerprints = {task.task.name: task.validation_fingerprint for task in data}
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
                    data_fingerprint=fingerprints.get(task.name),
                    truncated=list(self.truncated.get(task.name, ())),
                )
                for task in suite.tasks
            ],
            students=list(self.spec.students),
            labels=list(labels),
            teachers=teachers,
            assistants={
                name: PlannedAssistant(label=row.label, student=row.student, seed=row.seed)
                for name, row in suite.rows.items()
            },
            seeds=list(self.spec.seeds),
            runs=[job.planned for job in self.runs],
            not_applicable=list(self.not_applicable),
            limits={name: value for name, value in limit.model_dump().items() if value is not None},
            generals=self._planned_generals(),
            latency=self.spec.latency,
            published=figure_matching.matching_figures(self.resolved),
            citations={v.method.name: v.method.citation for v in suite.variants if v.method.citation},
            rows=rows.rows(self.resolved, protocols(self.runs)),
            shapes=rows.shapes(self.resolved),
            tuning=tuning_studies.planned(self.runs, self.spec),
        )
