"""Methods that fine-tune teachers: one by one, or several jointly under one head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from torch import nn

from harness.api.batch import Batch
from harness.api.losses import task_loss
from harness.api.method import Cofinetuning, LossTerms, Method, MethodConfig, Needs, Stage, Step, TaskInfo
from harness.api.model_outputs import ModelOutputs, ModelShape
from harness.models import joint_teachers
from harness.models.capture import Capture
from harness.training.batch_stream import TokenizedTask


class SupervisedFineTuning(Method):
    """Fine-tunes one teacher on the task's labels."""

    name = "teacher"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("fine-tuning", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        return {"task": task_loss(student.logits, batch)}


class JointFineTuning(Method):
    """Fine-tunes several teachers jointly under one head.

    The first teacher is trained as the run's student, the encoders of the others as the method's modules.

    Args:
        cofinetuning: the losses.
        members: all teachers, the first included; they share their head.
        tokenizations: the same training rows for teachers with another tokenizer than the first, by index in `members`.
    """

    name = "teachers together"
    min_teachers = max_teachers = 0

    def __init__(
        self,
        cofinetuning: Cofinetuning,
        members: Sequence[joint_teachers.Member],
        *,
        task: TaskInfo,
        student: ModelShape,
        seed: int,
        tokenizations: Mapping[int, TokenizedTask] | None = None,
    ) -> None:
        super().__init__(MethodConfig(), task=task, student=student, teachers=(), seed=seed)
        self.terms = cofinetuning.losses
        self.others = members[1:]
        self.tokenizations = tokenizations or {}

    def stages(self) -> Sequence[Stage]:
        return [Stage("fine-tuning", Needs(student=["logits"]))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        # Bodies only: the shared head is part of the student, so that it is updated, clipped and saved once.
        return nn.ModuleDict({str(index): member.body for index, member in enumerate(self.others, start=1)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        batches = [batch]
        for index in range(1, 1 + len(self.others)):
            batches.append(self.tokenizations[index].same_rows(batch) if index in self.tokenizations else batch)
        outputs = [
            capture.run(inputs.inputs, ["logits"], answer_mask=inputs.answer_mask)
            for capture, inputs in zip(self._captures, batches[1:], strict=True)
        ]
        return self.terms(batches, [student, *outputs])

    @cached_property
    def _captures(self) -> list[Capture]:
        """Created on first use, when the models are on their device."""
        return [Capture(member) for member in self.others]
