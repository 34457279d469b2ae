"""ALP-KD: each student layer learns from a mixture of teacher layers, in addition to predictions and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    layers,
)
from harness.api import layer_mapping
from harness.api.lazy_torch import F, nn, torch
from harness.api.losses import full_precision, projection, soft_target_loss, task_loss

if TYPE_CHECKING:
    from torch import Tensor

PROJECTION = "projection"


class ALPKDConfig(MethodConfig):
    """Options of alp_kd."""

    mode: Literal["alp", "no", "po", "concat"] = Field(
        "alp",
        description="alp: a mixture of all teacher layers; no, po: of a bucket of consecutive layers for each student"
        " layer, without or with an overlap; concat: the layers of a bucket, concatenated and projected",
    )
    temperature: Annotated[float, Search(1.0, 20.0, log=True)] = Field(
        20.0, gt=0, description="temperature of kd (GLMKD: 20)"
    )
    task_weight: float = Field(0.1, ge=0, description="weight of task (GLMKD: 0.1)")
    kd_weight: float = Field(0.7, ge=0, description="weight of kd (GLMKD: 0.7)")
    alp_weight: Annotated[float, Search(0.02, 20.0, log=True)] = Field(
        0.2, ge=0, description="weight of alp (GLMKD's 0.2, which its code does not apply)"
    )
    scale: bool = Field(False, description="divide the inner products of [CLS] vectors by the root of their width")
    detach_attention: bool = Field(False, description="no gradient through the weights of the mixture")


class ALPKD(Method):
    """The loss b_1 * task + b_2 * kd + b_3 * alp."""

    name = "alp_kd"
    summary = "the [CLS] of mixtures of teacher layers, weighted by attention (Passban et al. 2021)"
    group = "hidden states"
    citation = """@inproceedings{passban2021alpkd,
  title = {{ALP-KD}: Attention-Based Layer Projection for Knowledge Distillation},
  author = {Passban, Peyman and Wu, Yimeng and Rezagholizadeh, Mehdi and Liu, Qun},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  year = {2021}
}"""
    Config = ALPKDConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        if self.config.mode == "alp" or teacher.layers % student.layers == 0:
            return ()
        counts = f"{student.name} has {student.layers} layers, {teacher.name} has {teacher.layers}"
        return [
            Problem(
                f"mode {self.config.mode!r} cuts the teacher's layers into a bucket for each student layer, which needs"
                f" a teacher depth that is a multiple of the student's: {counts}; or use mode 'alp'"
            )
        ]

    @property
    def buckets(self) -> tuple[tuple[int, ...], ...]:
        """The teacher layers of each student layer."""
        (teacher,) = self.teachers
        if self.config.mode == "alp":
            return (tuple(range(1, teacher.layers + 1)),) * self.student.layers
        blocks = layer_mapping.layer_map("mean", self.student.layers, teacher.layers, self.seed)
        if self.config.mode != "po":
            return blocks
        return blocks[:1] + tuple((block[0] - 1, *block) for block in blocks[1:])

    def notes(self) -> Mapping[str, Any]:
        return {"buckets": [list(bucket) for bucket in self.buckets]}

    def stages(self) -> Sequence[Stage]:
        (teacher,) = self.teachers
        needs = [["logits", *layers("hidden", range(1, m.layers + 1))] for m in (self.student, teacher)]
        return [Stage("distill", Needs(student=needs[0], teachers=[needs[1]]))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        if self.config.mode == "concat":
            widths = [len(bucket) * teacher.hidden for bucket in self.buckets]
            return nn.ModuleDict({f"concat_{m}": projection(w, student.hidden) for m, w in enumerate(widths, start=1)})
        if student.hidden == teacher.hidden:
            return nn.ModuleDict()
        return nn.ModuleDict({PROJECTION: projection(teacher.hidden, student.hidden)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        return {
            "task": task_loss(student.logits, batch),
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
            "alp": self._alp(step.modules, student, teacher),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        return {"task": self.config.task_weight, "kd": self.config.kd_weight, "alp": self.config.alp_weight}

    def _alp(self, modules: nn.ModuleDict, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """MSE of the student's [CLS] vectors and their targets, mean over features and examples, sum over layers."""
        # Products of whole vectors are large; rounding them under autocast would change the softmax.
        with torch.autocast(student.logits.device.type, enabled=False):
            sources = {k: full_precision(states[:, 0]) for k, states in teacher.hidden.items()}
            if PROJECTION in modules:
                sources = {k: modules[PROJECTION](vectors) for k, vectors in sources.items()}
            distances = []
            for m, bucket in enumerate(self.buckets, start=1):
                own = full_precision(student.hidden[m][:, 0])
                target = self._target(modules, m, own, [sources[k] for k in bucket])
                distances.append((own - target).square().mean())
        return torch.stack(distances).sum()

    def _target(self, modules: nn.ModuleDict, layer: int, own: Tensor, bucket: Sequence[Tensor]) -> Tensor:
        """The target of a student layer's vectors `own` [B, H]: the vectors of the bucket, concatenated and projected,
        or their mean with the weights softmax(own . vector)."""
        if self.config.mode == "concat":
            target: Tensor = modules[f"concat_{layer}"](torch.cat([*bucket], -1))
            return target
        vectors = torch.stack([*bucket], 1)  # [B, K, H]
        products = (vectors @ own.unsqueeze(-1)).squeeze(-1)
        if self.config.scale:
            products = products * own.shape[-1] ** -0.5
        attention = F.softmax(products, dim=-1)
        if self.config.detach_attention:
            attention = attention.detach()
        return (attention.unsqueeze(-1) * vectors).sum(1)
