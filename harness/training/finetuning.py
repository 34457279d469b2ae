"""How teachers learn their task: alone, or together under one head."""

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
    """The task's labels alone: how a teacher learns its task."""

    name = "teacher"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("fine-tuning", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        return {"task": task_loss(student.logits, batch)}


class JointFineTuning(Method):
    """Teachers that learn their task side by side, under one head: the first is the host's student, the encoders of
    the others are modules beside it.

    `readings` has the same training rows as members with another tokenizer than the first one's read them, by their
    index among all members.
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
        readings: Mapping[int, TokenizedTask] | None = None,
    ) -> None:
        super().__init__(MethodConfig(), task=task, student=student, teachers=(), seed=seed)
        self.terms = cofinetuning.losses
        self.others = members[1:]
        self.readings = readings or {}

    def stages(self) -> Sequence[Stage]:
        return [Stage("fine-tuning", Needs(student=["logits"]))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        # Their head is the student's: it stands there alone, so that it is stepped, clipped and saved once.
        return nn.ModuleDict({str(index): member.body for index, member in enumerate(self.others, start=1)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        batches = [self.readings[i].like(batch) if i in self.readings else batch for i in range(1 + len(self.others))]
        read = [
            capture.run(own.inputs, ["logits"], answer_mask=own.answer_mask)
            for capture, own in zip(self._captures, batches[1:], strict=True)
        ]
        return self.terms(batches, [student, *read])

    @cached_property
    def _captures(self) -> list[Capture]:
        """Made once the models are where they are trained."""
        return [Capture(member) for member in self.others]
