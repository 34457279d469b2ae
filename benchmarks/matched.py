"""TextBrewer's losses as a method of the harness, for the benchmark `textbrewer`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from harness import Batch, LossTerms, Method, MethodConfig, ModelOutputs, ModelShape, Needs, Stage, Step, layers
from harness.api.layer_mapping import layer_map
from harness.api.losses import soft_cross_entropy


class MatchedConfig(MethodConfig):
    """Options of `Matched`."""

    temperature: float = Field(4.0, gt=0, description="of the soft cross-entropy; TextBrewer's default")
    attention: bool = Field(False, description="also match attention probabilities")


class Matched(Method):
    """`kd_ce_loss`, `hid_mse_loss` and `att_mse_loss` of textbrewer.losses 0.2.1: means over all tokens of a batch.

    Student layer m is matched with teacher layer m L / l, and embeddings with embeddings, through linear maps if the
    widths differ.
    """

    name = "matched"
    Config = MatchedConfig

    @property
    def pairs(self) -> dict[int, int]:
        """Student layer -> teacher layer."""
        mapped = layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)
        return {layer: source for layer, (source,) in enumerate(mapped, start=1)}

    def stages(self) -> Sequence[Stage]:
        student, teacher = (
            ["logits", "embeddings", *layers("hidden", matched)] for matched in (self.pairs, self.pairs.values())
        )
        if self.config.attention:
            student, teacher = student + layers("scores", self.pairs), teacher + layers("scores", self.pairs.values())
        return [Stage("distill", Needs(student=student, teachers=[teacher]))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        if student.hidden == teacher.hidden:
            return nn.ModuleDict()
        return nn.ModuleDict({str(layer): nn.Linear(student.hidden, teacher.hidden) for layer in (0, *self.pairs)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        mask = batch.mask.float()
        hidden = {0: (student.embeddings, teacher.embeddings)} | {
            layer: (student.hidden[layer], teacher.hidden[source]) for layer, source in self.pairs.items()
        }
        terms = {"kd": soft_cross_entropy(student.logits, teacher.logits, batch, self.config.temperature)}
        for layer, (ours, theirs) in hidden.items():
            ours = step.modules[str(layer)](ours) if len(step.modules) else ours
            squares = F.mse_loss(ours, theirs, reduction="none")  # autocast computes it in float32
            terms[f"hidden_{layer}"] = (squares * mask[..., None]).sum() / (mask.sum() * ours.shape[-1])
        if self.config.attention:
            for layer, source in self.pairs.items():
                terms[f"attention_{layer}"] = _attention(student.scores[layer], teacher.scores[source], mask)
        return terms


def _attention(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of attention probabilities over non-padding token pairs, heads and examples.

    Args:
        student, teacher: attention scores [B, A, N, N].
        mask: [B, N].
    """
    padding = (mask == 0)[:, None, None]
    ours, theirs = (torch.softmax(scores.masked_fill(padding, -torch.inf), dim=-1) for scores in (student, teacher))
    pairs = mask[:, None, :, None] * mask[:, None, None]
    return ((ours - theirs) ** 2 * pairs).sum() / (student.shape[1] * (mask.sum(-1) ** 2).sum())
