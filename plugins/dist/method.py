"""DIST: correlations of the predictions over classes (inter) and over examples (intra), and the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, Needs, Search, Stage, Step
from harness.api.batch import IGNORED
from harness.api.lazy_torch import F, torch
from harness.api.losses import full_precision, mean_over_distributions, task_loss

from .correlation import correlation

if TYPE_CHECKING:
    from torch import Tensor

DEGENERATE = 2
"""Two numbers have a correlation of +1 or -1, whose gradient is 0."""


class DISTConfig(MethodConfig):
    """Options of dist."""

    temperature: Annotated[float, Search(1.0, 8.0, log=True)] = Field(
        1.0, gt=0, description="temperature of the probabilities; both terms are multiplied by its square"
    )
    beta: Annotated[float, Search(0.25, 8.0, log=True)] = Field(
        2.0, ge=0, description="weight of inter (authors' configurations: 2)"
    )
    gamma: Annotated[float, Search(0.25, 8.0, log=True)] = Field(
        2.0, ge=0, description="weight of intra (authors' configurations: 2)"
    )


class DIST(Method):
    """The loss task + beta * inter + gamma * intra."""

    name = "dist"
    summary = "correlations of the predictions over classes and over examples (Huang et al. 2022)"
    group = "logits"
    citation = """@inproceedings{huang2022knowledge,
  title = {Knowledge Distillation from A Stronger Teacher},
  author = {Huang, Tao and You, Shan and Wang, Fei and Qian, Chen and Xu, Chang},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022}
}"""
    Config = DISTConfig

    @property
    def _terms(self) -> tuple[str, ...]:
        """The correlation terms of this kind of task: a number has no classes, and positions of a text are none."""
        return {"regression": ("intra",), "qa": ("inter",)}.get(self.task.kind, ("inter", "intra"))

    @property
    def _inter_teaches(self) -> bool:
        return self.task.kind == "qa" or self.task.num_labels > DEGENERATE

    def notes(self) -> Mapping[str, Any]:
        if self.task.kind == "regression":
            return {"inter": "off: a regression task has no classes"}
        if self.task.kind == "qa":
            return {"intra": "off: the positions of a text are not classes"}
        if self._inter_teaches:
            return {}
        classes = f"{self.task.num_labels} class" + ("es" if self.task.num_labels > 1 else "")
        return {"inter": f"a constant without gradient: with {classes} every correlation over classes is 1, -1 or 0"}

    def stages(self) -> Sequence[Stage]:
        needs = Needs(student=["logits"], teachers=[["logits"]])
        return [Stage("distill", needs, batch_dependent=frozenset({"intra"}) & {*self._terms})]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        own, theirs = (self._probabilities(logits, batch) for logits in (student.logits, teacher.logits))
        compare = {"inter": self._inter, "intra": self._intra}
        terms = {name: self._scale * compare[name](own, theirs, batch) for name in self._terms}
        return {"task": task_loss(student.logits, batch), **terms}

    def weights(self, step: Step) -> Mapping[str, float]:
        weights = {"inter": self.config.beta, "intra": self.config.gamma}
        return {name: weights[name] for name in self._terms}

    @property
    def _scale(self) -> float:
        """The square of the temperature, which regression does not use."""
        return 1.0 if self.task.kind == "regression" else self.config.temperature**2

    def _probabilities(self, logits: Tensor, batch: Batch) -> Tensor:
        """softmax(logits / t), for multilabel the probability of each class; for regression the prediction itself."""
        logits = full_precision(logits)
        if batch.kind == "regression":
            return logits
        if batch.kind == "multilabel":
            return torch.sigmoid(logits / self.config.temperature)
        # the clamp: a temperature below 1 would make the lowest value of QA -inf
        scaled = (logits / self.config.temperature).clamp(min=torch.finfo(logits.dtype).min)
        return F.softmax(scaled, dim=-1)

    def _inter(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """1 - the correlation over the classes of each distribution, for QA over the positions allowed for an answer;
        mean over the distributions of an example, then over examples."""
        among = None if batch.answer_mask is None else batch.answer_mask[:, None, :]
        distance = 1 - correlation(student, teacher, among)
        distance = distance if self._inter_teaches else distance.detach()
        return mean_over_distributions(distance.reshape(len(distance), -1), batch)

    def _intra(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """1 - the correlation over the examples of the batch, for token classification over its labelled tokens; mean
        over the classes."""
        among = None
        if batch.kind == "token_classification":
            among = (batch.labels != IGNORED).flatten()
            student, teacher = student.flatten(0, 1), teacher.flatten(0, 1)
        return (1 - correlation(student.transpose(0, 1), teacher.transpose(0, 1), among)).mean()
