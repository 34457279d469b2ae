"""Create the teachers of a plan: fine-tuned on each task, fine-tuned before, or students of other rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.api.method import Cofinetuning
from harness.api.task import Task
from harness.config.teacher_schema import TeacherSpec
from harness.config.training_schema import TrainingSpec
from harness.models import finetuned_heads, pretrained
from harness.planning import keys
from harness.planning.job_inputs import TaskData
from harness.planning.jobs import RunJob, TeacherJob
from harness.planning.suite_models import SuiteModels, check_max_length, max_length_key
from harness.planning.teacher_groups import TeacherGroups
from harness.resolution.suite import MethodVariant, Suite
from harness.storage.hashing import key


class TeacherJobs:
    """The teachers of one plan.

    Args:
        suite, models: what to plan.
        device: where they are trained.
        runs: (task, label, student) -> its runs, which the caller fills: a row before the rows that learn from it.
    """

    def __init__(
        self, suite: Suite, models: SuiteModels, device: str, runs: Mapping[tuple[str, str, str], Sequence[RunJob]]
    ) -> None:
        self.suite = suite
        self.spec = suite.spec
        self.models = models
        self.device = device
        self._runs = runs
        self._jobs: dict[tuple[str, str], list[TeacherJob]] = {}
        self._groups = TeacherGroups()

    def add_task(self, data: TaskData) -> None:
        """Create the teachers of a task that are not rows of the suite."""
        for name, spec in self.spec.teachers.items():
            if name not in self.suite.rows:
                self._jobs[data.task.name, name] = self._per_seed(name, spec, data)

    def alone(self) -> Iterator[tuple[str, TeacherJob]]:
        """Yield the task and job of each teacher as created so far, without groups."""
        for (task, _), jobs in self._jobs.items():
            for job in jobs:
                yield task, job

    def of(self, task: str, name: str) -> list[TeacherJob]:
        """Return the teacher of all runs, or one for each seed of the suite."""
        if (task, name) not in self._jobs:
            self._jobs[task, name] = self._assistants(task, name)
        return self._jobs[task, name]

    def for_seed(self, task: str, name: str, seed_index: int) -> TeacherJob:
        """Return the teacher for the seed at position `seed_index`."""
        jobs = self.of(task, name)
        return jobs[seed_index] if len(jobs) > 1 else jobs[0]

    def together(
        self, alone: Sequence[TeacherJob], variant: MethodVariant, cofinetuning: Cofinetuning
    ) -> tuple[TeacherJob, ...]:
        """Return the teachers `alone` of one task as members of a group."""
        return self._groups.together(alone, variant, cofinetuning)

    def _per_seed(self, name: str, spec: TeacherSpec, data: TaskData) -> list[TeacherJob]:
        """Return one teacher, or one per seed of the suite."""
        specs = spec.per_seed
        if len(specs) == 1:
            return [self._teacher(name, specs[0], data)]
        return [
            replace(self._teacher(name, single, data), name=f"{name} (seed {single.seed})", seed_index=seed_index)
            for seed_index, single in enumerate(specs)
        ]

    def _teacher(self, name: str, spec: TeacherSpec, data: TaskData) -> TeacherJob:
        job = self._trained(name, spec, data) if spec.finetune else self._finetuned_before(name, spec, data)
        where = f"teachers.{name}.max_length" if spec.max_length else max_length_key(self.suite, data.task.name)
        check_max_length(job.training.max_length, where, name, self.models.max_tokens(job))
        return job

    def _finetuned_before(self, name: str, spec: TeacherSpec, data: TaskData) -> TeacherJob:
        """Return the job of a checkpoint that is used with its own head."""
        checkpoint, task = self.models.checkpoint(name), data.task
        assert checkpoint is not None  # the schema allows `finetune: false` with `model` only
        settings = self._settings(task)
        if spec.max_length is not None:
            settings = settings.model_copy(update={"max_length": spec.max_length})
        tokenizer_ref, trust = self.models.tokenizer(checkpoint), self.spec.trust_remote_code
        head = finetuned_heads.find(checkpoint, task, spec.labels_on(task.name), name, trust_remote_code=trust)
        digest = pretrained.fingerprint(checkpoint)
        parts = keys.finetuned_teacher(digest, head.order, data, tokenizer_ref, settings.max_length, self.device)
        return TeacherJob(
            row=name,
            name=name,
            spec=spec,
            data=data,
            checkpoint=checkpoint,
            tokenizer_ref=tokenizer_ref,
            training=settings,
            parts=parts,
            key=key(parts),
            order=head.order,
            head=head.summary,
        )

    def _trained(self, name: str, spec: TeacherSpec, data: TaskData) -> TeacherJob:
        overrides = {"epochs": spec.epochs, "lr": spec.lr, "batch_size": spec.batch_size, "max_length": spec.max_length}
        update: dict[str, object] = {k: v for k, v in overrides.items() if v is not None}
        if "batch_size" in update:
            update["token_budget"] = None
        settings = self._settings(data.task).model_copy(update=update)
        checkpoint = self.models.checkpoint(name)
        if checkpoint is not None:
            tokenizer_ref = self.models.tokenizer(checkpoint)
        else:
            tokenizer_ref = self.models.whole_word_tokenizer(data, settings.max_length)
        digest = pretrained.fingerprint(checkpoint) if checkpoint is not None else None
        parts = keys.teacher(spec, digest, data, tokenizer_ref, settings, self.device)
        trust, head = self.spec.trust_remote_code, ""
        if checkpoint is not None:
            head = finetuned_heads.if_fine_tuned(checkpoint, data.task, trust_remote_code=trust)
        return TeacherJob(
            row=name,
            name=name,
            spec=spec,
            data=data,
            checkpoint=checkpoint,
            tokenizer_ref=tokenizer_ref,
            training=settings,
            parts=parts,
            key=key(parts),
            head=head,
        )

    def _settings(self, task: Task) -> TrainingSpec:
        """Return the training settings of a teacher. It trains alone, so how students take a step does not count."""
        return self.spec.training.on(task.name).model_copy(update={"execution": "sequential"})

    def _assistants(self, task: str, name: str) -> list[TeacherJob]:
        """Return the teacher that is a row of the suite: the student of each of its runs, or of the one of its seed."""
        row, spec = self.suite.rows[name], self.spec.teachers[name]
        return [
            TeacherJob(
                row=name,
                name=f"{name} (seed {run.planned.seed})" if row.seed is None else name,
                spec=spec,
                data=run.data,
                checkpoint=None,
                tokenizer_ref=run.tokenizer_ref,
                training=run.training,
                parts=run.parts,
                key=run.planned.key,
                seed_index=seed_index if row.seed is None else None,
                run=run,
            )
            for seed_index, run in enumerate(self._runs[task, row.label, row.student])
            if row.seed in (None, run.planned.seed)
        ]
