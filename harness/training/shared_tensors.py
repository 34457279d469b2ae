"""Notices when a method changes tensors in place that the runs of a cohort share."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from harness.api.batch import Batch
from harness.training.step_batch import StepBatch, TeacherOutputs


class SharedTensorsChanged(Exception):
    """One of several runs that took a step together has changed shared tensors. None of them has taken the step."""


class SharedTensors:
    """The batch and the teachers' outputs of a step."""

    def __init__(self, data: StepBatch, teachers: Mapping[str, TeacherOutputs]) -> None:
        shared: list[Batch | TeacherOutputs] = [*data.batches.values(), *teachers.values()]
        self._tensors: list[torch.Tensor] = [tensor for item in shared for tensor in item.tensors()]
        self._versions = self._count()
        self.modified = False
        """Whether `check` has found a change."""

    @property
    def changed(self) -> bool:
        """Whether one of them has been changed in place since the last `check`, also through a view."""
        return self._count() != self._versions

    def check(self) -> None:
        """Raise `TypeError` if one of them has been changed in place since the last call."""
        if self.changed:
            self._versions, self.modified = self._count(), True
            raise TypeError("the batch or a teacher output was changed in place by the method; other runs share it")

    def _count(self) -> list[int]:
        return [tensor._version for tensor in self._tensors]
