"""Fine-tuning on the labels without a teacher: the baseline for every distillation method."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness import Batch, LossTerms, Method, ModelOutputs, Needs, Stage, Step, hookimpl
from harness.api.losses import task_loss


class Finetune(Method):
    """Cross-entropy with the labels, for regression the squared error; no teacher."""

    name = "finetune"
    summary = "fine-tuning on the labels, without a teacher"
    min_teachers = max_teachers = 0

    def stages(self) -> Sequence[Stage]:
        return [Stage("finetune", Needs(student=["logits"]))]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        return {"task": task_loss(student.logits, batch)}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(Finetune)
