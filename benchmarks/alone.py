"""The parts of a cohort (teacher passes, student steps) in plain loops: a lower bound of its training time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, zip_longest
from operator import itemgetter

import torch
from torch.nn.utils import clip_grad_norm_

from benchmarks.workload import Workload
from harness.api.batch import Batch
from harness.api.method import Stage, Step
from harness.api.model_outputs import ModelOutputs
from harness.models.capture import Capture
from harness.training.loss_passes import weighted_sum
from harness.training.optimizer import adamw, set_learning_rate
from harness.training.run import Run
from harness.training.schedule import learning_rate


class Parts:
    """The parts of the cohort of `runs`: teacher forward passes, and the steps of each student on teacher outputs.

    Batches and teacher outputs are computed on construction, so that they are not timed with the students.
    """

    def __init__(self, workload: Workload, runs: Sequence[Run]) -> None:
        self.workload = workload
        self.batches = workload.batches(max(run.steps for run in runs))
        steps = zip_longest(*(_stages(run) for run in runs))
        self.needs = [
            {need for stage, _ in filter(None, stages) for names in stage.needs.teachers for need in names}
            for stages in steps
        ]
        self.teacher_outputs = list(self.teach())

    def teach(self) -> Iterator[ModelOutputs]:
        """Run the teacher on every batch, for the union of the outputs that the runs need."""
        for batch, needs in zip(self.batches, self.needs, strict=True):
            with torch.no_grad(), self.workload.autocast():
                yield _forward(self.workload.teacher.capture, batch, needs)

    def train(self, run: Run) -> None:
        """Train the student of a fresh run to its end: forward, losses, backward, optimizer step."""
        settings, modules = self.workload.training, [run.student.train(), run.modules.train()]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        inputs = zip(_stages(run), self.batches, self.teacher_outputs, strict=False)
        for (stage, steps), stage_inputs in groupby(inputs, key=itemgetter(0)):
            optimizer = adamw(modules, weight_decay=settings.weight_decay)
            for index, (_, batch, outputs) in enumerate(stage_inputs):
                step = Step(stage, index, steps, 0.0, 1.0, run.modules, run.random.generator)
                teachers = [outputs.only(names) for names in stage.needs.teachers]
                with self.workload.autocast():
                    student = _forward(run.capture, batch, stage.needs.student)
                    terms = run.method.losses(step, batch, student, teachers)
                weighted_sum(terms, run.method.weights(step)).backward()  # type: ignore[no-untyped-call]
                if settings.max_grad_norm is not None:
                    clip_grad_norm_(parameters, settings.max_grad_norm)
                peak = settings.lr if stage.lr is None else stage.lr
                set_learning_rate(optimizer, learning_rate(peak, index, steps, settings.warmup_ratio))
                optimizer.step()
                optimizer.zero_grad()


def _stages(run: Run) -> list[tuple[Stage, int]]:
    """For each step its stage and the number of steps of that stage."""
    return [stage for stage in zip(run.progress.stages, run.progress.lengths, strict=True) for _ in range(stage[1])]


def _forward(capture: Capture, batch: Batch, needs: Collection[str]) -> ModelOutputs:
    """A forward pass, without the harness's capture if logits suffice."""
    if set(needs) <= {"logits"}:
        return ModelOutputs(capture.model(**batch.inputs).logits)
    return capture.run(batch.inputs, needs, answer_mask=batch.answer_mask)
