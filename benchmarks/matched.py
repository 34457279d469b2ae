"""TextBrewer's losses as a method of the harness, so that both compute the same."""

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
    """Options of the comparison."""

    temperature: float = Field(4.0, gt=0, description="of the soft cross-entropy; TextBrewer's default")
    attention: bool = Field(False, description="compare attention probabilities, too")


class Matched(Method):
    """`kd_ce_loss`, `hid_mse_loss` and `att_mse_loss` of textbrewer.losses 0.2.1: means over all tokens of the batch,
    not over those of each example. Student layer m learns from teacher layer m L / l, the embeddings from the
    teacher's, through linear maps where the widths differ."""

    name = "matched"
    Config = MatchedConfig

    @property
    def pairs(self) -> dict[int, int]:
        """The teacher layer of each student layer."""
        mapped = layer_map("uniform", self.student.layers, self.teachers[0].layers, self.seed)
        return {own: source for own, (source,) in enumerate(mapped, start=1)}

    def stages(self) -> Sequence[Stage]:
        own, theirs = (
            ["logits", "embeddings", *layers("hidden", which)] for which in (self.pairs, self.pairs.values())
        )
        if self.config.attention:
            own, theirs = own + layers("scores", self.pairs), theirs + layers("scores", self.pairs.values())
        return [Stage("distill", Needs(student=own, teachers=[theirs]))]

    def modules(self, student: ModelShape, teachers: Sequence[ModelShape]) -> nn.ModuleDict:
        (teacher,) = teachers
        if student.hidden == teacher.hidden:
            return nn.ModuleDict()
        return nn.ModuleDict({str(own): nn.Linear(student.hidden, teacher.hidden) for own in (0, *self.pairs)})

    def losses(self, step: Step, batch: Batch, student: ModelOutputs, teachers: Sequence[ModelOutputs]) -> LossTerms:
        (teacher,) = teachers
        mask = batch.mask.float()
        hidden = {0: (student.embeddings, teacher.embeddings)} | {
            own: (student.hidden[own], teacher.hidden[source]) for own, source in self.pairs.items()
        }
        terms = {"kd": soft_cross_entropy(student.logits, teacher.logits, batch, self.config.temperature)}
        for own, (ours, theirs) in hidden.items():
            ours = step.modules[str(own)](ours) if len(step.modules) else ours
            squares = F.mse_loss(ours, theirs, reduction="none")  # in float32 under autocast, too
            terms[f"hidden_{own}"] = (squares * mask[..., None]).sum() / (mask.sum() * ours.shape[-1])
        if self.config.attention:
            for own, source in self.pairs.items():
                terms[f"attention_{own}"] = _attention(student.scores[own], teacher.scores[source], mask)
        return terms


def _attention(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Of scores [B, A, N, N]; squared differences over real pairs, heads and examples."""
    padding = (mask == 0)[:, None, None]
    ours, theirs = (torch.softmax(scores.masked_fill(padding, -torch.inf), dim=-1) for scores in (student, teacher))
    pairs = mask[:, None, :, None] * mask[:, None, None]
    return ((ours - theirs) ** 2 * pairs).sum() / (student.shape[1] * (mask.sum(-1) ** 2).sum())
