"""The parts of a cohort, each by itself in a loop as plain as it gets: what training cannot cost less than."""

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
from harness.training.optimizer import adamw, set_learning_rate
from harness.training.run import Run, weighted_sum
from harness.training.schedule import learning_rate


class Parts:
    """Of the cohort of `runs`: the teacher's forward passes, and each student's steps on what the teacher said.

    Batches are made and the teacher's tensors are computed before anything is timed.
    """

    def __init__(self, workload: Workload, runs: Sequence[Run]) -> None:
        self.workload = workload
        self.batches = workload.batches(max(run.steps for run in runs))
        due = zip_longest(*(_stages(run) for run in runs))
        self.needs = [
            {need for stage, _ in filter(None, stages) for names in stage.needs.teachers for need in names}
            for stages in due
        ]
        self.taught = list(self.teach())

    def teach(self) -> Iterator[ModelOutputs]:
        """The teacher on every batch, for all that any run needs of it there."""
        for batch, needs in zip(self.batches, self.needs, strict=True):
            with torch.no_grad(), self.workload.autocast():
                yield _read(self.workload.teacher.capture, batch, needs)

    def train(self, run: Run) -> None:
        """The student of a fresh run: forward, losses, backward, step, to the run's end."""
        settings, modules = self.workload.training, [run.student.train(), run.modules.train()]
        parameters = [parameter for module in modules for parameter in module.parameters()]
        given = zip(_stages(run), self.batches, self.taught, strict=False)
        for (stage, steps), of_stage in groupby(given, key=itemgetter(0)):
            optimizer = adamw(modules, weight_decay=settings.weight_decay)
            for index, (_, batch, taught) in enumerate(of_stage):
                step = Step(stage, index, steps, 0.0, 1.0, run.modules, run.random.generator)
                read = [taught.only(names) for names in stage.needs.teachers]
                with self.workload.autocast():
                    terms = run.method.losses(step, batch, _read(run.capture, batch, stage.needs.student), read)
                weighted_sum(terms, run.method.weights(step)).backward()  # type: ignore[no-untyped-call]
                if settings.max_grad_norm is not None:
                    clip_grad_norm_(parameters, settings.max_grad_norm)
                peak = settings.lr if stage.lr is None else stage.lr
                set_learning_rate(optimizer, learning_rate(peak, index, steps, settings.warmup_ratio))
                optimizer.step()
                optimizer.zero_grad()


def _stages(run: Run) -> list[tuple[Stage, int]]:
    """Of each step, with how many the stage has."""
    return [each for each in zip(run.stages, run.lengths, strict=True) for _ in range(each[1])]


def _read(capture: Capture, batch: Batch, needs: Collection[str]) -> ModelOutputs:
    """By transformers alone where it gives all that is needed."""
    if set(needs) <= {"logits"}:
        return ModelOutputs(capture.model(**batch.inputs).logits)
    return capture.run(batch.inputs, needs, answer_mask=batch.answer_mask)
