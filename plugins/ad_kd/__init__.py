"""Attribution-driven knowledge distillation: Wu et al. 2023, arXiv 2305.10010."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness import (
    Batch,
    Choices,
    LossTerms,
    Method,
    MethodConfig,
    ModelOutputs,
    ModelShape,
    Needs,
    Problem,
    Stage,
    Step,
    TaskInfo,
    hookimpl,
)
from harness.api.lazy_torch import F, torch
from harness.api.live import LiveModel
from harness.api.losses import full_precision, soft_cross_entropy, task_loss

if TYPE_CHECKING:
    from torch import Tensor

DISTANCES = {"mse": "mse_loss", "l1": "l1_loss", "smooth_l1": "smooth_l1_loss"}
"""Option `distance` -> the function of `torch.nn.functional`."""


class ADKDConfig(MethodConfig):
    """Options of ad_kd. The authors' scripts choose temperature, alpha, beta and top_k for each task."""

    alpha: Annotated[float, Choices(0.8, 0.9, 1.0)] = Field(
        0.9, ge=0, le=1, description="weight of kd; the labels have weight 1 - alpha (authors' scripts: 0.8 to 1)"
    )
    beta: Annotated[float, Choices(1.0, 10.0, 50.0, 100.0)] = Field(
        10.0, ge=0, description="weight of the attributions (authors' scripts: 1 to 100)"
    )
    temperature: Annotated[float, Choices(1.0, 2.0, 3.0, 4.0)] = Field(
        2.0, gt=0, description="temperature of the soft targets (authors' scripts: 1 to 4)"
    )
    temperature_schedule: Literal["constant", "linear"] = Field(
        "constant", description="linear: the temperature falls by epoch from temperature to 1"
    )
    top_k: int | None = Field(
        None,
        ge=1,
        description="number of the teacher's largest features that count for a token (authors' scripts: 640 to 768);"
        " none: all",
    )
    steps: int = Field(1, ge=1, description="m, steps of the integrated gradients; 1: gradient times input")
    views: Literal["all", "one"] = Field(
        "all", description="attributions for every class; one: for the class that the teacher finds most likely"
    )
    norm: Literal["l2", "sum"] = Field(
        "l2", description="the values of an example's tokens are divided by their l2 norm, or by their sum"
    )
    distance: Literal["mse", "l1", "smooth_l1"] = Field("mse", description="distance of the attributions")


class ADKD(Method):
    """The loss (1 - alpha) * task + alpha * kd + beta * attribution."""

    name = "ad_kd"
    version = 2
    summary = "soft targets, and how much each token matters for every class (Wu et al. 2023)"
    group = "attention and relations"
    citation = """@inproceedings{wu2023adkd,
  title = {{AD-KD}: Attribution-Driven Knowledge Distillation for Language Model Compression},
  author = {Wu, Siyue and Chen, Hongzhan and Quan, Xiaojun and Wang, Qifan and Wang, Rui},
  booktitle = {Proceedings of ACL},
  year = {2023}
}"""
    Config = ADKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        if task.kind in ("qa", "token_classification"):
            return [
                Problem(
                    "ad_kd compares attributions to each class of an example; the paper has none for logits of each"
                    f" token, and {task.name} is a {task.kind} task"
                )
            ]
        return [
            Problem(f"ad_kd needs the embeddings, which cannot be captured from {model.name}")
            for model in (student, *teachers)
            if "embeddings" in model.missing
        ]

    def stages(self) -> Sequence[Stage]:
        return [Stage("distill", Needs(student=["logits", "embeddings"]), live=True)]

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = step.teachers
        outputs = teacher.run(["logits", "embeddings"], batch, patches={"embeddings": _leaf})
        target = outputs.logits.detach()
        views = self._views(target)
        own = self._attributions(step.student, student, batch, views, twice=True)
        theirs = self._attributions(teacher, outputs, batch, views, twice=False)
        return {
            "attribution": self._attribution(own, theirs.detach(), batch),
            "kd": self._kd(student.logits, target, batch, self.temperature(step)),
            "task": task_loss(student.logits, batch),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"task": 1 - self.config.alpha, "kd": self.config.alpha, "attribution": self.config.beta}

    def temperature(self, step: Step) -> float:
        """The temperature at this step; the linear schedule reaches 1 in the last epoch."""
        start: float = self.config.temperature
        last = math.ceil(step.epochs) - 1
        if self.config.temperature_schedule == "constant" or last < 1:
            return start
        return start + (1 - start) * min(1.0, math.floor(step.epoch) / last)

    def _kd(self, student: Tensor, teacher: Tensor, batch: Batch, temperature: float) -> Tensor:
        loss = soft_cross_entropy(student, teacher, batch, temperature)
        return loss / temperature**2 if batch.kind == "regression" else loss

    def _views(self, teacher: Tensor) -> Tensor:
        """For each view the class that each example is attributed to, int64 [V, B]."""
        examples, classes = teacher.shape
        if self.config.views == "one":
            return teacher.argmax(-1).unsqueeze(0)
        count = 1 if self._both_classes_are_equal else classes
        return torch.arange(count, device=teacher.device).unsqueeze(-1).expand(count, examples)

    @property
    def _both_classes_are_equal(self) -> bool:
        """Whether two classes give the same attributions once these are normalized: the margin of one is minus that of
        the other, but the points of a longer path have other weights."""
        return self.task.kind == "classification" and self.task.num_labels == 2 and self.config.steps == 1

    def _attributions(
        self, model: LiveModel, outputs: ModelOutputs, batch: Batch, views: Tensor, *, twice: bool
    ) -> Tensor:
        """Integrated gradients of -log p of every view, [V, B, N, H], from a baseline of zero; up to a factor of each
        view and example, which the normalization removes.

        The gradient of -log p is 1 - p times that of the margin. In half precision the product would underflow where a
        model is sure of a class, so margins are differentiated; 1 - p is the weight of a point of the path.

        Args:
            outputs: of the pass from the embeddings themselves, the last point of the path.
            twice: whether the gradients are differentiated again.
        """
        embeddings, steps = outputs.embeddings, int(self.config.steps)
        gradients, log_weights = [], []
        for k in range(1, steps + 1):
            at = outputs if k == steps else self._at(model, embeddings * (k / steps), batch)
            margins = self._margins(at.logits).gather(-1, views.T).T  # [V, B]
            of_views = [  # sums: examples do not depend on each other
                torch.autograd.grad(margin, at.embeddings, create_graph=twice, retain_graph=True)[0]
                for margin in margins.sum(-1)
            ]
            gradients.append(full_precision(torch.stack(of_views)))
            log_weights.append(self._log_weights(margins))
        weights = torch.stack(log_weights).softmax(0)[..., None, None]
        return (weights * torch.stack(gradients)).sum(0) * full_precision(embeddings)

    @staticmethod
    def _at(model: LiveModel, embeddings: Tensor, batch: Batch) -> ModelOutputs:
        """The outputs of the model from other embeddings."""
        return model.run(["logits", "embeddings"], batch, patches={"embeddings": lambda _: embeddings})

    def _margins(self, logits: Tensor) -> Tensor:
        """The log-odds d against each class, [B, C]: p = sigmoid(-d). For regression the prediction itself."""
        logits = full_precision(logits)
        if self.task.kind == "regression":
            return logits
        if self.task.kind == "multilabel":
            return -logits
        own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        others = logits.unsqueeze(1).expand(-1, len(own), -1).masked_fill(own, -math.inf)
        return others.logsumexp(-1) - logits

    def _log_weights(self, margins: Tensor) -> Tensor:
        """log(1 - p) [V, B], the factor between the gradients of -log p and of the margins; for regression 0."""
        return torch.zeros_like(margins) if self.task.kind == "regression" else F.logsigmoid(margins)

    def _attribution(self, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Distance of the attributions of tokens: sum over views, mean over real tokens, then over examples."""
        kept = min(self.config.top_k or teacher.shape[-1], teacher.shape[-1])
        largest = teacher.abs().topk(kept, dim=-1).values
        distance: Callable[..., Tensor] = getattr(F, DISTANCES[self.config.distance])
        distances = distance(self._by_token(student, batch), self._by_token(largest, batch), reduction="none")
        return (distances.sum(-1) / batch.lengths).mean(-1).sum()

    def _by_token(self, attributions: Tensor, batch: Batch) -> Tensor:
        """The l2 norms of [V, B, N, H] over features, divided by their own l2 norm or sum over tokens: [V, B, N]."""
        norms = torch.linalg.vector_norm(attributions, dim=-1).masked_fill(~batch.mask, 0)
        return F.normalize(norms, p=2 if self.config.norm == "l2" else 1, dim=-1)

    def notes(self) -> Mapping[str, Any]:
        if self.config.views == "all" and self._both_classes_are_equal:
            return {"views": "one of the two classes: both have the same attributions"}
        return {}


def _leaf(embeddings: Tensor) -> Tensor:
    return embeddings.detach().requires_grad_()


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(ADKD)
