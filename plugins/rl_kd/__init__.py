"""Reinforced multi-teacher selection: Yuan et al. 2021, arXiv 2012.06048."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from harness import (
    Batch,
    LossTerms,
    Method,
    MethodConfig,
    ModelOutputs,
    ModelShape,
    Needs,
    Problem,
    Search,
    Stage,
    Step,
    TaskInfo,
    hookimpl,
)
from harness.api.device_transfer import to_device
from harness.api.lazy_torch import F, nn, torch
from harness.api.losses import full_precision, soft_cross_entropies, task_loss, task_loss_by_example

if TYPE_CHECKING:
    from torch import Tensor

AVERAGE, POLICY, JOINT = "average", "policy", "joint"


class RLKDConfig(MethodConfig):
    """Options of rl_kd."""

    alpha: Annotated[float, Search(0.1, 0.9)] = Field(
        0.5, ge=0, le=1, description="weight of kd; the labels have weight 1 - alpha"
    )
    temperature: Annotated[float, Search(1, 20, log=True)] = Field(
        10.0, gt=0, description="temperature of the soft targets"
    )
    reward: Literal["r1", "r2", "r3"] = Field(
        "r2", description="r1: minus task; r2: minus task and kd; r3 needs a score on held-out data and is refused"
    )
    division: Literal["chosen", "teachers"] = Field(
        "chosen", description="kd is divided by the number of chosen teachers, or of all"
    )
    policy_lr: float = Field(1.0, gt=0, description="learning rate of the policy, as a factor of the student's")


class RLKD(Method):
    """A policy chooses for each example the teachers that it learns from, and is rewarded by the student's loss."""

    name = "rl_kd"
    summary = "a policy chooses the teachers of each example (Yuan et al. 2021)"
    group = "multi-teacher"
    citation = """@inproceedings{yuan2021reinforced,
  title = {Reinforced Multi-Teacher Selection for Knowledge Distillation},
  author = {Yuan, Fei and Shou, Linjun and Pei, Jian and Lin, Wutao and Gong, Ming and Fu, Yan and Jiang, Daxin},
  booktitle = {Proceedings of AAAI},
  year = {2021}
}"""
    min_teachers = 2
    max_teachers = None
    Config = RLKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        problems = []
        if task.kind in ("qa", "token_classification"):
            problems.append(
                Problem(
                    "the policy of rl_kd reads the teachers' predictions for an example, and those of a"
                    f" {task.kind} task ({task.name}) are predictions for tokens"
                )
            )
        if self.config.reward == "r3":
            problems.append(
                Problem(
                    "reward 'r3' needs the student's accuracy on held-out examples at every step, which a method cannot"
                    " read; use r1 or r2"
                )
            )
        return problems

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        predictions = self.task.num_labels + 1  # and the loss
        return nn.ModuleDict({"policy": nn.Linear(teachers[0].hidden + len(teachers) * predictions, len(teachers))})

    def stages(self) -> Sequence[Stage]:
        logits = [{"logits"} for _ in self.teachers]
        last = f"hidden[{self.teachers[0].layers}]"
        with_state = Needs(["logits"], [{"logits", last}, *logits[1:]])
        policy = frozenset({"policy"})
        return [
            Stage(AVERAGE, Needs(["logits"], logits)),
            Stage(POLICY, with_state, batch_dependent=policy, module_terms=policy),
            Stage(JOINT, with_state, batch_dependent=policy, module_terms=policy),
        ]

    def learning_rates(self, step: Step) -> Mapping[str, float]:
        return {"modules.policy": self.config.policy_lr}

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        task = task_loss(student.logits, batch)
        by_teacher = self._kd(student.logits, teachers, batch)
        if step.stage.name == AVERAGE:
            return {"task": task, "kd": by_teacher.mean()}
        log_chosen, log_left = self._log_probabilities(step, batch, teachers)
        actions = self._draw(log_chosen.detach().exp(), step.generator)
        kd = self._chosen(by_teacher, actions)
        step.log("chosen_teachers", actions.sum(-1).mean())
        if step.stage.name == JOINT and step.index % 2 == 0:
            return {"task": task, "kd": kd}
        reward = -task.detach() - (kd.detach() if self.config.reward == "r2" else 0)
        step.log("reward", reward)
        return {"policy": -reward * torch.where(actions.bool(), log_chosen, log_left).sum()}

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"task": 1 - self.config.alpha, "kd": self.config.alpha}

    def _kd(self, student: Tensor, teachers: Sequence[ModelOutputs], batch: Batch) -> Tensor:
        """t^2 KL(teacher || student) of each example and teacher, [B, M]; for regression the squared difference."""
        temperature: float = self.config.temperature
        scale = 1.0 if batch.kind == "regression" else temperature**2
        losses = []
        for teacher in teachers:
            cross_entropy = soft_cross_entropies(student, teacher.logits, batch, temperature)
            entropy = soft_cross_entropies(teacher.logits, teacher.logits, batch, temperature)
            losses.append(scale * (cross_entropy - entropy).mean(-1))
        return torch.stack(losses, dim=-1)

    def _chosen(self, by_teacher: Tensor, actions: Tensor) -> Tensor:
        """The loss of the chosen teachers, mean over examples: a scalar."""
        count = actions.sum(-1) if self.config.division == "chosen" else actions.shape[-1]
        return ((by_teacher * actions).sum(-1) / count).mean()

    def _log_probabilities(self, step: Step, batch: Batch, teachers: Sequence[ModelOutputs]) -> tuple[Tensor, Tensor]:
        """The log-probabilities that each teacher is chosen for each example, and that it is not: [B, M] each."""
        scores = full_precision(step.modules["policy"](self._state(batch, teachers)))
        return F.logsigmoid(scores), F.logsigmoid(-scores)

    def _state(self, batch: Batch, teachers: Sequence[ModelOutputs]) -> Tensor:
        """What the policy reads: the first teacher's [CLS], then the predictions and the losses of all teachers."""
        meaning = full_precision(teachers[0].hidden[self.teachers[0].layers][:, 0])
        logits = [full_precision(teacher.logits) for teacher in teachers]
        losses = torch.stack([task_loss_by_example(z, batch) for z in logits], dim=-1)
        return torch.cat([meaning, *map(self._predictions, logits), losses], dim=-1)

    def _predictions(self, logits: Tensor) -> Tensor:
        """The probabilities of the classes [B, C]; for regression the prediction [B, 1]."""
        if self.task.kind == "regression":
            return logits
        return logits.sigmoid() if self.task.kind == "multilabel" else logits.softmax(-1)

    @staticmethod
    def _draw(probabilities: Tensor, generator: torch.Generator) -> Tensor:
        """The chosen teachers of each example, 0 or 1, [B, M]; if none is drawn, the likeliest one."""
        draws = to_device(torch.rand(probabilities.shape, generator=generator), probabilities.device)
        actions = (draws < probabilities).to(probabilities.dtype)
        # Not F.one_hot, which checks its values on the CPU.
        teachers = torch.arange(probabilities.shape[-1], device=probabilities.device)
        likeliest = (teachers == probabilities.argmax(-1, keepdim=True)).to(actions.dtype)
        return torch.where(actions.any(-1, keepdim=True), actions, likeliest)

    def notes(self) -> Mapping[str, Any]:
        return {"state": "[CLS] of the first teacher, predictions and losses of all teachers"}


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(RLKD)
