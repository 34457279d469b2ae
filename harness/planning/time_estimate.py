"""Estimate how long jobs take, to decide their order and how to share them among workers.

The rates are orders of magnitude. Decisions compare estimates with each other; no result or key depends on them, unlike
the rates of `teacher_cache_policy`, which therefore have other values and stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from harness.api.model_outputs import ModelShape
from harness.config.training_schema import TrainingSpec
from harness.planning.batch_lengths import BatchLengths
from harness.planning.job_inputs import TaskData
from harness.planning.jobs import AugmentationJob, RunJob, TeacherJob, TextStageJob
from harness.planning.stage_plan import planned_stages
from harness.planning.tuning_studies import Study
from harness.teacher_outputs import output_store

ESTIMATED_FLOPS = {"cpu": 4e10, "mps": 2e12, "cuda": 3e13}
"""Assumed FLOP/s of training: of one thread on a CPU, of the whole device otherwise."""

ESTIMATED_LAYER_SECONDS = 5e-4
"""Minimum time of one layer in an optimization step, in seconds: launching its kernels."""

TEXT_FILL = 0.4
"""Assumed length of the rows of a text stage, as a fraction of max_length."""

START_SECONDS = 5.0
"""Time of loading data and models for a job."""

AUGMENTED_ROW_SECONDS = 0.05
"""Time to augment one training example."""


class TimeEstimate:
    """Estimates times in seconds on one device.

    Args:
        device: the device, as in a plan.
        threads: CPU threads of a worker.
        shapes: name of a teacher in the suite -> its shape.
    """

    def __init__(self, device: str, threads: int, shapes: Mapping[str, ModelShape]) -> None:
        kind = torch.device(device).type
        self.rate = ESTIMATED_FLOPS.get(kind, ESTIMATED_FLOPS["cuda"]) * (threads if kind == "cpu" else 1)
        self.shapes = shapes
        self.lengths = BatchLengths()

    def run(self, job: RunJob) -> float:
        """Time to train a student, without its teachers' forward passes.

        A step of a live stage counts as one more pass of the student, and one of each teacher, with gradients.
        """
        seconds = 0.0
        for planned in planned_stages(job):
            tokens, live = self._tokens(job.data, planned.training), planned.stage.live
            step = (1 + live) * self._step(job.method.student, tokens)
            step += live * sum(self._step(teacher, tokens) for teacher in job.method.teachers)
            seconds += planned.steps * step
        return seconds

    def teacher_passes(self, job: RunJob) -> Mapping[str, float]:
        """Key of a teacher -> time of its forward passes for the run; empty if the run reads cached outputs."""
        if job.reads_cache:
            return {}
        times: dict[str, float] = {}
        for planned in planned_stages(job):
            tokens, needs = self._tokens(job.data, planned.training), planned.stage.needs.teachers
            for teacher, shape, names in zip(job.teachers, job.method.teachers, needs, strict=False):
                if names:
                    seconds = planned.steps * self._pass(shape, tokens)
                    times[teacher.key] = times.get(teacher.key, 0.0) + seconds
        return times

    def cohort(self, jobs: tuple[RunJob, ...]) -> float:
        """Time of a cohort: its students one after another, and each teacher once per batch."""
        passes: dict[str, float] = {}
        for job in jobs:
            for key, seconds in self.teacher_passes(job).items():
                passes[key] = max(seconds, passes.get(key, 0.0))
        return START_SECONDS + sum(map(self.run, jobs)) + sum(passes.values())

    def study(self, study: Study) -> float:
        """Time of all trials of a study."""
        return study.spec.trials * (self.run(study.job) + sum(self.teacher_passes(study.job).values()))

    def teacher(self, job: TeacherJob) -> float:
        """Time to fine-tune a teacher; of one that is fine-tuned already, to score it."""
        shape, data, size = self.shapes[job.alone.row], job.data, job.training.max_batch_size
        tokens = self._tokens(data, job.training)
        if not job.spec.finetune:
            batches = sum(math.ceil(examples / size) for examples in data.report.examples.values())
            return batches * self._pass(shape, tokens)
        return job.training.epochs * math.ceil(data.train_examples / size) * self._step(shape, tokens)

    def outputs(self, job: RunJob, index: int) -> float:
        """Time of the pass that caches a teacher's outputs, in batches of rows of similar length."""
        batched = job.training.model_copy(update={"batching": "bucketed"})
        tokens = output_store.BATCH_SIZE * self.lengths.tokens(job.data, batched)
        batches = output_store.count_batches(job.data.train_examples)
        return batches * self._pass(job.method.teachers[index], tokens)

    def text_stage(self, job: TextStageJob) -> float:
        """Time to distil a student on text."""
        (teacher,) = job.method.teachers
        tokens = job.training.max_batch_size * job.training.max_length * TEXT_FILL
        return job.steps * (self._step(job.method.student, tokens) + self._pass(teacher, tokens))

    def augmentation(self, job: AugmentationJob) -> float:
        """Time to augment a training set."""
        return AUGMENTED_ROW_SECONDS * job.data.train_examples

    def _tokens(self, data: TaskData, training: TrainingSpec) -> float:
        """Number of tokens of a batch, padding included."""
        return training.max_batch_size * self.lengths.tokens(data, training)

    def _step(self, shape: ModelShape, tokens: float) -> float:
        return 3 * self._pass(shape, tokens)  # the backward pass takes twice the time of the forward pass

    def _pass(self, shape: ModelShape, tokens: float) -> float:
        weights = shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.ffn)
        return shape.layers * ESTIMATED_LAYER_SECONDS + 2 * weights * tokens / self.rate
