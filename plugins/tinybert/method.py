"""TinyBERT: two stages, first the teacher's intermediate outputs, then its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, StrictBool

from harness import (
    Augmentation,
    Batch,
    General,
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
from harness.api import losses as shared
from harness.api.lazy_torch import nn, torch

from .augmentation import AugmentConfig, augmentation

if TYPE_CHECKING:
    from torch import Tensor


class TinyBERTConfig(MethodConfig):
    """Options of tinybert."""

    attention_loss: Literal["mse", "kl", "cosine"] = Field(
        "mse",
        description="mse: of scores before the softmax (paper, equation 7); kl, cosine: of attention probabilities",
    )
    mapping: layer_mapping.LayerMapping = Field(
        "uniform", description="which teacher layer each student layer learns from"
    )
    attention_weight: Annotated[float, Search(0.1, 10.0, log=True)] = Field(
        1.0, ge=0, description="weight of the attention loss"
    )
    representation_weight: float = Field(1.0, ge=0, description="weight of the hidden and embedding losses")
    temperature: Annotated[float, Search(1.0, 10.0, log=True)] = Field(
        1.0, gt=0, description="temperature of the prediction stage (paper, section 3.1: 1)"
    )
    projection_bias: bool = Field(False, description="projections have a bias (authors' code: fit_dense)")
    regression_loss: Literal["teacher", "labels"] = Field(
        "teacher",
        description="target of the prediction stage of a regression task: the teacher's predictions, or the labels"
        " (authors' code)",
    )
    augment: StrictBool | AugmentConfig = Field(
        False,
        description="train on augmented sentences, too (paper, appendix A); true: as in the paper; or a mapping of"
        " variants, probability, candidates, model, vectors, seed; QA and token classification are not augmented",
    )

    keyed_separately: ClassVar[frozenset[str]] = frozenset({"augment"})


class TinyBERT(Method):
    """Stage intermediate: attention, hidden and embedding losses; stage prediction: soft cross-entropy."""

    name = "tinybert"
    summary = "attention, hidden states and embeddings first, then predictions (Jiao et al. 2020)"
    group = "attention and relations"
    citation = """@inproceedings{jiao2020tinybert,
  title = {{TinyBERT}: Distilling {BERT} for Natural Language Understanding},
  author = {Jiao, Xiaoqi and Yin, Yichun and Shang, Lifeng and Jiang, Xin and Chen, Xiao and Li, Linlin and Wang, Fang
            and Liu, Qun},
  booktitle = {Findings of EMNLP},
  year = {2020}
}"""
    Config = TinyBERTConfig

    def check(self, task: TaskInfo, student: ModelShape, teachers: Sequence[ModelShape]) -> Sequence[Problem]:
        (teacher,) = teachers
        problems = []
        if student.heads != teacher.heads:
            heads = f"{student.name} has {student.heads}, {teacher.name} has {teacher.heads}"
            problems.append(Problem(f"tinybert's attention loss needs equal numbers of heads: {heads}"))
        unmapped = layer_mapping.check(self.config.mapping, student.layers, teacher.layers)
        return problems + ([unmapped] if unmapped else [])

    @property
    def layer_map(self) -> layer_mapping.LayerMap:
        """The teacher layers of each student layer."""
        return layer_mapping.layer_map(self.config.mapping, self.student.layers, self.teachers[0].layers, self.seed)

    def notes(self) -> Mapping[str, Any]:
        notes: dict[str, Any] = {"layer_map": [list(sources) for sources in self.layer_map]}
        if self.config.augment is not False and self.augmentation() is None:
            others = "questions and their contexts" if self.task.kind == "qa" else "words with tags"
            notes["augment"] = f"off: the paper augments sentences and pairs of them, not {others}"
        return notes

    def augmentation(self) -> Augmentation | None:
        augment = self.config.augment
        if augment is False or self.task.kind in ("token_classification", "qa"):
            return None
        return augmentation(AugmentConfig() if augment is True else augment)

    def general(self) -> General:
        """The losses of stage intermediate on unlabelled text (general distillation: paper, section 3.2)."""
        names = ("attention_loss", "mapping", "attention_weight", "representation_weight", "projection_bias")
        options = {name: getattr(self.config, name) for name in names}
        return General(Stage("general", self._intermediate), options=options)

    def stages(self) -> Sequence[Stage]:
        prediction = Needs(student=["logits"], teachers=[] if self._uses_labels else [["logits"]])
        return [Stage("intermediate", self._intermediate, share=2), Stage("prediction", prediction, share=1)]

    @property
    def _uses_labels(self) -> bool:
        """Whether the prediction stage learns from the labels in place of the teacher."""
        return self.task.kind == "regression" and bool(self.config.regression_loss == "labels")

    @property
    def _intermediate(self) -> Needs:
        student_layers = range(1, self.student.layers + 1)
        teacher_layers = sorted({layer for sources in self.layer_map for layer in sources})
        return Needs(student=self._outputs(student_layers), teachers=[self._outputs(teacher_layers)])

    def _outputs(self, indices: Sequence[int]) -> list[str]:
        """Names of the outputs of these layers. Queries and keys replace the scores, which take much more memory."""
        return ["embeddings", *(need for name in ("hidden", "queries", "keys") for need in layers(name, indices))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        names = ["embedding", *(f"hidden_{m}" for m in range(1, student.layers + 1))]
        bias = self.config.projection_bias
        return nn.ModuleDict({name: shared.projection(student.hidden, teacher.hidden, bias=bias) for name in names})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        if step.stage.name == "prediction" and self._uses_labels:
            return {"prediction": shared.task_loss(student.logits, batch)}
        (teacher,) = teachers
        if step.stage.name == "prediction":
            kd = shared.soft_cross_entropy(student.logits, teacher.logits, batch, self.config.temperature)
            return {"prediction": kd}
        embedding = step.modules["embedding"](student.embeddings)
        return {
            "attention": self._attention(batch, student, teacher),
            "hidden": self._hidden(step.modules, batch, student, teacher),
            "embedding": shared.token_mse(embedding, teacher.embeddings, batch.mask),
        }

    def weights(self, step: Step) -> Mapping[str, float]:
        representation = self.config.representation_weight
        return {"attention": self.config.attention_weight, "hidden": representation, "embedding": representation}

    def _hidden(self, modules: nn.ModuleDict, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Equation 8, summed over student layers."""
        terms = [
            shared.token_mse(
                modules[f"hidden_{m}"](student.hidden[m]), layer_mapping.gather(teacher.hidden, sources), batch.mask
            )
            for m, sources in enumerate(self.layer_map, start=1)
        ]
        return torch.stack(terms).sum()

    def _attention(self, batch: Batch, student: ModelOutputs, teacher: ModelOutputs) -> Tensor:
        """Equation 7, or its variants of Dankar et al. 2023, summed over student layers.

        With mapping ``mean`` the teacher layers' scores are averaged for `mse`, their probabilities for `kl` and
        `cosine`.
        """
        losses = {"mse": shared.score_mse, "kl": shared.attention_kl, "cosine": shared.attention_cosine}
        loss = losses[self.config.attention_loss]
        terms = [
            loss(
                (student.queries[m], student.keys[m]),
                [(teacher.queries[g], teacher.keys[g]) for g in sources],
                batch.mask,
            )
            for m, sources in enumerate(self.layer_map, start=1)
        ]
        return torch.stack(terms).sum()
