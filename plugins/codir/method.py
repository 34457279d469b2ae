"""CoDIR: the concatenation of all layers is contrasted with the teacher's, against stored vectors of other examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

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
from harness.api.device_transfer import to_device
from harness.api.lazy_torch import F, nn, torch
from harness.api.losses import full_precision, soft_target_loss, task_loss, unit_vectors

from .negatives import draws, other_rows, rows_of_other_classes

if TYPE_CHECKING:
    from torch import Tensor

    from .memory import Memory


class CoDIRConfig(MethodConfig):
    """Options of codir."""

    form: Literal["infonce", "nce"] = Field(
        "infonce",
        description="infonce: the paper's loss; nce: that of the authors' code, in both directions and against stored"
        " positives",
    )
    pool: Literal["mean", "cls"] = Field(
        "mean", description="a layer's vector: the mean over real tokens, or the state at [CLS]"
    )
    contrast_temperature: float = Field(0.07, gt=0, description="temperature of the contrast")
    negatives: int = Field(100, ge=1, description="negatives of each example (K)")
    width: int = Field(128, ge=1, description="width of the projections")
    momentum: float = Field(0.5, ge=0, lt=1, description="weight of the old vector in the memory bank")
    temperature: float = Field(4.0, gt=0, description="temperature of the soft targets")
    beta: float = Field(0.5, ge=0, le=1, description="weight of the soft targets; the labels have weight 1 - beta")
    crd_weight: Annotated[float, Search(0.01, 1.0, log=True)] = Field(0.1, ge=0, description="weight of the contrast")


class CoDIR(Method):
    """The loss (1 - beta) * task + beta * kd + crd_weight * crd."""

    name = "codir"
    version = 2
    summary = "contrast of all intermediate layers against a memory of negatives (Sun et al. 2020)"
    group = "hidden states"
    citation = """@inproceedings{sun2020contrastive,
  title = {Contrastive Distillation on Intermediate Representations for Language Model Compression},
  author = {Sun, Siqi and Gan, Zhe and Fang, Yuwei and Cheng, Yu and Wang, Shuohang and Liu, Jingjing},
  booktitle = {Proceedings of EMNLP},
  year = {2020}
}"""
    Config = CoDIRConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        problem = layer_mapping.check("uniform", student.layers, teachers[0].layers)
        return [problem] if problem else []

    @property
    def own_layers(self) -> range:
        """All student layers."""
        return range(1, self.student.layers + 1)

    @property
    def teacher_layers(self) -> list[int]:
        """The teacher layer of each student layer."""
        mapped = layer_mapping.layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)
        return [source for (source,) in mapped]

    @property
    def banks(self) -> list[str]:
        """The models whose vectors are stored."""
        return ["teacher"] if self.config.form == "infonce" else ["teacher", "student"]

    def notes(self) -> Mapping[str, Any]:
        negatives = "other classes" if self.task.kind == "classification" else "all other examples"
        return {"layer_map": [[layer] for layer in self.teacher_layers], "negatives_from": negatives}

    def stages(self) -> Sequence[Stage]:
        own, theirs = layers("hidden", self.own_layers), layers("hidden", self.teacher_layers)
        return [Stage("distill", Needs(student=["logits", *own], teachers=[["logits", *theirs]]))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        from .memory import Memory

        config, count = self.config, len(self.own_layers)
        maps = {
            name: nn.Linear(count * shape.hidden, config.width, bias=False)
            for name, shape in (("student", student), ("teacher", teachers[0]))
        }
        memory = Memory(self.banks, examples=self.task.examples, width=config.width, momentum=config.momentum)
        return nn.ModuleDict({**maps, "memory": memory})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        vectors = {
            "student": self._vectors(step, "student", [student.hidden[m] for m in self.own_layers], batch),
            "teacher": self._vectors(step, "teacher", [teacher.hidden[g] for g in self.teacher_layers], batch),
        }
        return {
            "task": task_loss(student.logits, batch),
            "kd": soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature),
            "crd": self._contrast(step, batch, vectors),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        beta = self.config.beta
        return {"task": 1 - beta, "kd": beta, "crd": self.config.crd_weight}

    def after_step(self, step: Step) -> None:
        memory = cast("Memory", step.modules["memory"])
        for rows, labels, vectors, _ in step.scratch["seen"]:
            if labels is not None:
                memory.classes[rows] = labels
            for name in self.banks:
                memory.update(name, rows, vectors[name])
        for name in self.banks:
            scale = getattr(memory, f"{name}_scale")
            scales = [each[name] for *_, each in step.scratch["seen"] if name in each]
            if scales:
                scale.copy_(torch.where(scale > 0, scale, torch.cat(scales).mean()))

    def negatives(self, step: Step, batch: Batch) -> tuple[Tensor, Tensor]:
        """The rows of the negatives of each example, and which of them are valid: [B, K] each."""
        memory = cast("Memory", step.modules["memory"])
        rows = row_numbers(batch)
        drawn = to_device(draws(batch.rows, self.config.negatives, seed=self.seed, step=step.index), rows.device)
        if self.task.kind == "classification":
            return rows_of_other_classes(drawn, rows, batch.labels, memory.classes, self.task.num_labels)
        return other_rows(drawn, rows, len(memory.classes))

    def _vectors(self, step: Step, name: str, hidden: Sequence[Tensor], batch: Batch) -> Tensor:
        """The unit vector of each example [B, width]: of the concatenated layers, projected."""
        pooled = [states[:, 0] if self.config.pool == "cls" else mean_over_tokens(states, batch) for states in hidden]
        return unit_vectors(step.modules[name](torch.cat(pooled, dim=-1)))

    def _contrast(self, step: Step, batch: Batch, vectors: Mapping[str, Tensor]) -> Tensor:
        """The mean of the contrast over examples. Leaves in the scratch what the memory needs."""
        memory = cast("Memory", step.modules["memory"])
        rows = row_numbers(batch)
        drawn, valid = self.negatives(step, batch)
        allowed = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=-1)
        losses, scales = [], {}
        for bank in self.banks:
            stored: Tensor = getattr(memory, bank)
            anchor = vectors["student" if bank == "teacher" else "teacher"]
            positive = vectors[bank] if self.config.form == "infonce" else stored[rows].to(anchor.dtype)
            with torch.autocast(anchor.device.type, enabled=False):
                products = torch.einsum("bh,bkh->bk", anchor, stored[drawn].to(anchor.dtype))
                likeness = torch.cat([(anchor * positive).sum(-1, keepdim=True), products], dim=-1)
            likeness = likeness / self.config.contrast_temperature
            if self.config.form == "infonce":
                losses.append(info_nce(likeness, allowed))
            else:
                scales[bank] = scale_by_example(likeness.detach(), allowed, len(memory.classes))
                scale = getattr(memory, f"{bank}_scale").to(likeness.dtype)
                scale = torch.where(scale > 0, scale, scales[bank])[:, None]
                losses.append(nce(likeness, allowed, scale, self.config.negatives / len(memory.classes)))
        labels = batch.labels if self.task.kind == "classification" else None
        detached = {name: each.detach() for name, each in vectors.items()}
        step.scratch.setdefault("seen", []).append((rows, labels, detached, scales))
        return torch.stack(losses).mean()


def row_numbers(batch: Batch) -> Tensor:
    """The row numbers of the examples, int64 [B], on the device of the batch."""
    return to_device(torch.tensor(batch.rows), batch.labels.device)


def mean_over_tokens(hidden: Tensor, batch: Batch) -> Tensor:
    """The mean of [B, N, H] over real tokens, in at least float32: [B, H]."""
    summed = full_precision(hidden).masked_fill(~batch.mask[:, :, None], 0).sum(1)
    return summed / batch.lengths[:, None]


def info_nce(likeness: Tensor, allowed: Tensor) -> Tensor:
    """-log of the softmax at the positive, which comes first in `likeness` [B, 1 + K]; mean over examples."""
    return -F.log_softmax(likeness.masked_fill(~allowed, float("-inf")), dim=-1)[:, 0].mean()


def nce(likeness: Tensor, allowed: Tensor, scale: Tensor, noise: float) -> Tensor:
    """-log(q(p) / (q(p) + c)) - sum_k log(c / (q(n_k) + c)), q(v) = exp(v) / Z, c = `noise`; mean over examples.

    `scale` is Z, [B, 1] or [1, 1].
    """
    q = likeness.exp() / scale
    positive = (q[:, 0] / (q[:, 0] + noise)).log()
    negatives = (noise / (q[:, 1:] + noise)).log().masked_fill(~allowed[:, 1:], 0).sum(-1)
    return -(positive + negatives).mean()


def scale_by_example(likeness: Tensor, allowed: Tensor, examples: int) -> Tensor:
    """An estimate of Z from each example [B]: the mean of exp(v) over its products, times the number of examples."""
    mean = likeness.exp().masked_fill(~allowed, 0).sum(-1) / allowed.sum(-1)
    return examples * mean
