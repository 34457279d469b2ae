"""LRC-BERT, latent-representation contrastive distillation: Fu et al. 2021, arXiv 2012.07335."""

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
    layers,
)
from harness.api import layer_mapping
from harness.api.lazy_torch import F, nn, torch
from harness.api.losses import full_precision, projection, soft_target_loss, task_loss

if TYPE_CHECKING:
    from torch import Tensor


class LRCBertConfig(MethodConfig):
    """Options of lrc_bert."""

    alpha: float = Field(1.0, ge=0, description="weight of cos_nce in the stage all")
    beta: Annotated[float, Search(0.1, 10, log=True)] = Field(1.0, ge=0, description="weight of kd in the stage all")
    gamma: Annotated[float, Search(0.1, 10, log=True)] = Field(3.0, ge=0, description="weight of the labels")
    temperature: float = Field(1.1, gt=0, description="temperature of the soft targets")
    pool: Literal["cls", "mean"] = Field(
        "cls", description="the vector of an example: its [CLS], or the mean of its real tokens"
    )
    contrast: Literal["cos_nce", "mse"] = Field(
        "cos_nce", description="loss of the layers: contrastive in the angle, or the mean squared error"
    )
    projections: Literal["layer", "shared"] = Field("layer", description="one projection per layer, or one for all")
    perturbation: bool = Field(True, description="move the embeddings along their gradient, and learn from there")
    contrast_stage: bool = Field(True, description="train on the layers alone first, for half of the steps")


class LRCBert(Method):
    """Contrast of layer vectors; then alpha * cos_nce + beta * kd + gamma * task."""

    name = "lrc_bert"
    summary = "contrast of layers by their angle, with perturbed embeddings (Fu et al. 2021)"
    group = "hidden states"
    citation = """@inproceedings{fu2021lrc,
  title = {{LRC-BERT}: Latent-representation Contrastive Knowledge Distillation for Natural Language Understanding},
  author = {Fu, Hao and Zhou, Shaojun and Yang, Qihong and Tang, Junjie and Liu, Guiquan and Liu, Kaikui and
            Li, Xiaolong},
  booktitle = {Proceedings of AAAI},
  year = {2021}
}"""
    Config = LRCBertConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        problem = layer_mapping.check("uniform", student.layers, teachers[0].layers)
        return [problem] if problem else []

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        names = ["shared"] if self.config.projections == "shared" else map(str, range(1, student.layers + 1))
        return nn.ModuleDict({name: projection(student.hidden, teachers[0].hidden) for name in names})

    @property
    def layer_map(self) -> dict[int, int]:
        """The teacher layer of each student layer."""
        mapped = layer_mapping.layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)
        return {m: source for m, (source,) in enumerate(mapped, start=1)}

    def notes(self) -> Mapping[str, Any]:
        return {"layer_map": [[layer] for layer in self.layer_map.values()]}

    def stages(self) -> Sequence[Stage]:
        theirs = layers("hidden", self.layer_map.values())
        stages = [Stage("all", Needs(self._own("all"), [["logits", *theirs]]), batch_dependent=self._coupled("all"))]
        if self.config.contrast_stage:
            needs = Needs(self._own("contrast"), [theirs])
            stages.insert(0, Stage("contrast", needs, batch_dependent=self._coupled("contrast")))
        return stages

    def _read(self, stage: str) -> list[str]:
        """The student's outputs that the terms of a stage compare."""
        return [*(["logits"] if stage == "all" else []), *layers("hidden", self.layer_map)]

    def _own(self, stage: str) -> list[str]:
        """The student's outputs that the host computes: none if the method runs the student itself, twice."""
        return [] if self.config.perturbation else self._read(stage)

    def _coupled(self, stage: str) -> frozenset[str]:
        """The terms that compare examples. The direction of a perturbation depends on all terms."""
        if self.config.contrast == "mse":
            return frozenset()
        others = {"kd", "task"} if stage == "all" and self.config.perturbation else set()
        return frozenset({"cos_nce"} | others)

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        if not self.config.perturbation:
            return self._terms(step, batch, student, teacher)
        needs = self._read(step.stage.name)
        first = step.student.run([*needs, "embeddings"], patches={"embeddings": _same})
        weights = self.weights(step)
        terms = self._terms(step, batch, first, teacher)
        total = torch.stack([weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
        (gradient,) = torch.autograd.grad(total, first.embeddings)
        moved = first.embeddings + F.normalize(full_precision(gradient), dim=-1).to(first.embeddings.dtype)
        perturbed = step.student.run(needs, patches={"embeddings": lambda _: moved})
        return self._terms(step, batch, perturbed, teacher)

    def weights(self, step: Step) -> Mapping[str, float]:
        if step.stage.name == "contrast":
            return {}
        return {self.config.contrast: self.config.alpha, "kd": self.config.beta, "task": self.config.gamma}

    def _terms(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> dict[str, Tensor]:
        terms = {self.config.contrast: self._of_layers(step, batch, student, teacher)}
        if step.stage.name == "all":
            terms["kd"] = soft_target_loss(student.logits, teacher.logits, batch, self.config.temperature)
            terms["task"] = task_loss(student.logits, batch)
        return terms

    def _of_layers(self, step: Step, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """The loss of the mapped layers, summed over them."""
        compare = cos_nce if self.config.contrast == "cos_nce" else _squared_error
        losses = []
        for m, source in self.layer_map.items():
            projected = step.modules["shared" if self.config.projections == "shared" else str(m)](student.hidden[m])
            losses.append(compare(self._vector(projected, batch), self._vector(teacher.hidden[source], batch)))
        return torch.stack(losses).sum()

    def _vector(self, hidden: Tensor, batch: Batch) -> Tensor:
        """The vectors [B, H] of the examples, in at least float32."""
        hidden = full_precision(hidden)
        if self.config.pool == "cls":
            return hidden[:, 0]
        return hidden.masked_fill(~batch.mask.unsqueeze(-1), 0).sum(1) / batch.lengths.unsqueeze(-1)


def cos_nce(student: Tensor, teacher: Tensor) -> Tensor:
    """g(t, s) + 1 - (1 / 2K) sum_k (g(n_k, s) - g(t, s)), mean over examples: a scalar.

    g is the cosine distance. s and t are the vectors [B, H] of an example, n_k the teacher's of the K other examples.
    """
    with torch.autocast(student.device.type, enabled=False):
        distances = 1 - F.normalize(student, dim=-1) @ F.normalize(teacher, dim=-1).T  # row s, column t or n
    own, others = distances.diagonal(), len(distances) - 1
    # Of the negatives' sum over all columns, that of the example itself is zero.
    margins = (distances - own.unsqueeze(-1)).sum(-1)
    return (own + 1 - margins / (2 * max(others, 1))).mean()


def _same(embeddings: Tensor) -> Tensor:
    """A patch that changes nothing: the output is then the tensor from which the rest of the pass is computed."""
    return embeddings


def _squared_error(student: Tensor, teacher: Tensor) -> Tensor:
    return F.mse_loss(student, teacher)


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(LRCBert)
