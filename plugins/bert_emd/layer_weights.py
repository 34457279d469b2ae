"""The weights of layers, which a method keeps as buffers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .transport import Floats


class LayerWeights(nn.Module):
    """The weights of all layers of the student [L_S] and the teacher [L_T], as float64 buffers; uniform at first.

    They stay on the CPU, which solves the transport: not every device has float64.
    """

    student: Tensor
    teacher: Tensor

    def __init__(self, student_layers: int, teacher_layers: int) -> None:
        super().__init__()
        self.register_buffer("student", torch.full((student_layers,), 1 / student_layers, dtype=torch.float64))
        self.register_buffer("teacher", torch.full((teacher_layers,), 1 / teacher_layers, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LayerWeights:
        return self  # what `nn.Module.to` and its like call

    def values(self) -> tuple[Floats, Floats]:
        """The weights of student and teacher in float64; each sums to 1."""
        student, teacher = (each.numpy() for each in (self.student, self.teacher))
        return student / student.sum(), teacher / teacher.sum()

    @torch.no_grad()
    def set(self, student: Floats, teacher: Floats) -> None:
        """Replace the weights in place."""
        self.student.copy_(torch.from_numpy(student))
        self.teacher.copy_(torch.from_numpy(teacher))
