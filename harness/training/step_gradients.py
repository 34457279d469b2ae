"""The gradients of a run at a step, computed in micro-batches if the whole batch does not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from harness.api.batch import Batch
from harness.api.method import Needs, Step
from harness.api.model_outputs import ModelOutputs
from harness.models.capture import Capture
from harness.training import micro_batching, precision
from harness.training.loss_passes import BatchPart, LoggedValue, LossPasses
from harness.training.random_state import RandomState
from harness.training.stage_progress import StageProgress
from harness.training.step_models import step_models
from harness.training.step_needs import needs_at
from harness.training.step_rollback import StepRollback
from harness.training.trained_parameters import TrainedParameters


@dataclass(frozen=True)
class StepStart:
    """The start of a step: what undoes an attempt at it, and the outputs that the method reads."""

    before: StepRollback
    needs: Needs


class StepGradients:
    """Computes the gradients of a run at its current step. An exception of the method propagates.

    Args:
        passes: of the run, like all arguments.
        capture: of the student.

    Attributes:
        micro_batch_size: examples per forward and backward pass; None: those of a whole batch.
    """

    def __init__(
        self,
        passes: LossPasses,
        progress: StageProgress,
        trained: TrainedParameters,
        capture: Capture,
        random: RandomState,
    ) -> None:
        self.passes = passes
        self.micro_batch_size = passes.training.micro_batch_size
        self._progress, self._trained, self._capture, self._random = progress, trained, capture, random

    def current_step(self) -> Step:
        """The current step, as the method receives it outside `losses`, with an empty scratch."""
        progress = self._progress
        return Step(
            stage=progress.stage,
            index=progress.step,
            steps=progress.length,
            epoch=progress.epoch,
            epochs=progress.epochs,
            modules=self._trained.modules,
            generator=self._random.generator,
        )

    def start(self) -> StepStart:
        """Prepare the student and the modules for a step."""
        self._trained.set_train_mode()
        before = StepRollback(self._random, self._trained.modules, self._trained.optimizer)
        return StepStart(before, needs_at(self.passes.method, self.current_step()))

    def compute(
        self,
        start: StepStart,
        batches: Sequence[Batch],
        teachers: Mapping[str, Sequence[ModelOutputs]],
        live_teachers: Sequence[Capture],
    ) -> tuple[Step, list[LoggedValue]]:
        """Accumulate the gradients of all examples; returns the step and the values to log.

        If memory does not suffice, they are computed again in smaller micro-batches, from the same random state and
        buffers.

        Raises:
            InsufficientMemory: the batch cannot be split further.
        """
        stage, average = self._progress.stage, self._trained.average
        models = partial(step_models, stage=stage, student=self._capture, teachers=live_teachers, average=average)
        requested = self._pass_size(batches)
        retry = micro_batching.MemoryRetry(requested, can_split=not stage.batch_dependent)
        try:
            for size in retry:
                with retry:
                    start.before.restore()
                    step = self.current_step()
                    parts = self.passes.parts(start.needs, batches, teachers, size)
                    with self._random.active():
                        logged = self.passes.run(step, start.needs, parts, models)
        except micro_batching.InsufficientMemory as error:
            raise micro_batching.InsufficientMemory(self._memory_message(requested, str(error))) from None
        if retry.size < requested:
            self.micro_batch_size = retry.size
        return step, logged

    def parts(
        self, start: StepStart, batches: Sequence[Batch], teachers: Mapping[str, Sequence[ModelOutputs]]
    ) -> Iterator[BatchPart]:
        """The parts of a batch, given as groups, each of which takes a pass."""
        return self.passes.parts(start.needs, batches, teachers, self._pass_size(batches))

    def add(self, step: Step, part: BatchPart, student: ModelOutputs) -> list[LoggedValue]:
        """Add the gradients of a part with respect to what its losses reach, from the student's outputs on it.

        Returns the values to log.
        """
        stage, average, training = self._progress.stage, self._trained.average, self.passes.training
        models = step_models(part.batch, stage=stage, student=self._capture, average=average)
        with self._random.active(), precision.matmuls(training, self.passes.device):
            return self.passes.add_gradients(replace(step, models=models), part, lambda: student)

    def state_dict(self) -> dict[str, Any]:
        return {"micro_batch_size": self.micro_batch_size, "passes": self.passes.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.micro_batch_size = state["micro_batch_size"]
        self.passes.load_state_dict(state["passes"])

    def _pass_size(self, batches: Sequence[Batch]) -> int:
        """Examples per forward and backward pass on a batch, given as groups."""
        largest = max(len(batch.ids) for batch in batches)
        return largest if self._progress.stage.batch_dependent else min(largest, self.micro_batch_size or largest)

    def _memory_message(self, count: int, reason: str) -> str:
        examples, together = "one example of", self._progress.stage.batch_dependent
        if together:
            examples = f"{count} examples, which {', '.join(sorted(together))} compare with each other, of"
        return (
            f"memory does not suffice for {examples} a batch: lower training.batch_size (or that of the stage) or"
            f" training.max_length, set training.precision to bf16, or use a smaller student ({reason})"
        )
