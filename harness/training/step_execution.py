"""How the runs of a cohort that are at the same position take a step: one after another, or together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.api.batch import Batch
from harness.api.model_outputs import ModelOutputs
from harness.models.capture import Capture
from harness.training.run import Run
from harness.training.shared_tensors import SharedTensors


@dataclass(frozen=True)
class StepInputs:
    """What a run takes a step on.

    Attributes:
        batches: the batch, as groups.
        teachers: each teacher's outputs on each group.
        live_teachers: the teachers that the method may run itself.
    """

    batches: Sequence[Batch]
    teachers: Mapping[str, Sequence[ModelOutputs]]
    live_teachers: Sequence[Capture]

    @property
    def padded_tokens(self) -> int:
        """Tokens that the student processes, with padding."""
        return sum(batch.inputs["input_ids"].numel() for batch in self.batches)


class StepExecution(Protocol):
    """Decides which runs take a step together, and takes it."""

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """The runs, which are at the same position, in the groups that step together."""

    def step(self, inputs: Mapping[Run, StepInputs], shared: SharedTensors) -> list[Run]:
        """Take a step of a group, or of a part of it, whose runs are the keys of `inputs`.

        Returns:
            the runs that have to take the step alone.

        Any error but the following ends the run that caused it only.

        Raises:
            InsufficientMemory: memory does not suffice. All runs are as they were before the step.
            SharedTensorsChanged: one of several runs has changed `shared`. All runs are as they were before the step.
            DiskError: the data on which an epoch is scored cannot be read or stored.
        """

    def leave(self, run: Run) -> None:
        """Called when a run has ended or leaves the cohort."""


class SequentialExecution:
    """Each run takes its step alone."""

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        return [[run] for run in runs]

    def step(self, inputs: Mapping[Run, StepInputs], shared: SharedTensors) -> list[Run]:
        for run, of_run in inputs.items():
            step_alone(run, of_run, shared)
        return []

    def leave(self, run: Run) -> None:
        """Nothing to do."""


def step_alone(run: Run, inputs: StepInputs, shared: SharedTensors) -> None:
    """A step of one run, which fails if it changes `shared`."""
    run.step(inputs.batches, inputs.teachers, inputs.live_teachers)
    with run.failing():
        shared.check()
