"""Builds, saves and loads teachers that are trained jointly: several encoders under one head."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from harness.api.losses import projection
from harness.models import heads
from harness.models.families import HIDDEN
from harness.models.initialization import seeded
from harness.models.quiet_transformers import quiet_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput

    from harness.api.task import Task

WEIGHTS = "head.pt"


class SharedHead(nn.Module):
    """A pooling and a prediction layer, like BERT's.

    For sequences: tanh(W h + b) of the first token, dropout, and a linear map to the labels. For token classification
    and QA: a linear map of every token.
    """

    def __init__(self, width: int, task: Task, dropout: float) -> None:
        super().__init__()
        self.pooler = None if task.kind in ("token_classification", "qa") else nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, task.num_labels)

    def forward(self, hidden: Tensor) -> Tensor:
        """From [B, N, H] to [B, C], or for token classification and QA [B, N, C]."""
        if self.pooler is None:
            logits: Tensor = self.output(hidden)
        else:
            logits = self.output(self.dropout(torch.tanh(self.pooler(hidden[:, 0]))))
        return logits


class Body(nn.Module):
    """An encoder, and a linear map from its width to the head's if they differ."""

    def __init__(self, encoder: PreTrainedModel, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        hidden = getattr(encoder.config, HIDDEN)
        self.bridge: nn.Module = nn.Identity() if hidden == width else projection(hidden, width)
        self.takes_types = "token_type_ids" in inspect.signature(encoder.forward).parameters

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None) -> Tensor:
        """The last hidden states in the head's width, [B, N, width]."""
        types = {"token_type_ids": token_type_ids} if self.takes_types and token_type_ids is not None else {}
        hidden: Tensor = self.bridge(self.encoder(input_ids, attention_mask=attention_mask, **types)[0])
        return hidden


class Member(nn.Module):
    """One encoder with the shared head, with the interface of a transformers model that `Capture` and scoring need."""

    def __init__(self, body: Body, head: SharedHead) -> None:
        super().__init__()
        self.body = body
        self.head = head

    @property
    def base_model(self) -> PreTrainedModel:
        return self.body.encoder

    @property
    def config(self) -> PretrainedConfig:
        return self.body.encoder.config

    @property
    def device(self) -> torch.device:
        return self.head.output.weight.device

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=self.head(self.body(input_ids, attention_mask, token_type_ids)))


class AnsweringMember(Member):
    """A member for extractive QA, recognized by its inputs like transformers' QA models."""

    def forward(  # the positions are part of the interface; losses are computed elsewhere
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        start_positions: Tensor | None = None,
        end_positions: Tensor | None = None,
    ) -> QuestionAnsweringModelOutput:
        from transformers.modeling_outputs import QuestionAnsweringModelOutput

        start, end = self.head(self.body(input_ids, attention_mask, token_type_ids)).unbind(-1)
        return QuestionAnsweringModelOutput(start_logits=start, end_logits=end)


def build(models: Sequence[PreTrainedModel], task: Task, *, seed: int) -> list[Member]:
    """Put the encoders of `models` under one new head: float32, on the CPU, in eval mode.

    The head has the width of the first encoder, and its pretrained pooler if there is one. The rest of the head, and
    the maps of encoders of other widths, are initialized under `seed`; the global random state is not changed. The
    encoders' poolers are removed. The encoders are not copied, so `models` cannot be used any more.
    """
    encoders = [model.base_model for model in models]
    config = encoders[0].config
    width = getattr(config, HIDDEN)
    with seeded(seed):
        head = SharedHead(width, task, _dropout(encoders[0]))
        for linear in (head.pooler, head.output):
            if linear is not None:
                nn.init.normal_(linear.weight, std=getattr(config, "initializer_range", 0.02))
                nn.init.zeros_(linear.bias)
        bodies = [Body(encoder, width) for encoder in encoders]
    pretrained = _pooler(encoders[0])
    if head.pooler is not None and pretrained is not None:
        head.pooler.load_state_dict(pretrained.state_dict())
    for encoder in encoders:
        _drop_pooler(encoder)
    return [member(body, head, task) for body in bodies]


def member(body: Body, head: SharedHead, task: Task) -> Member:
    """Combine `body` and `head` to one model, in eval mode. Members with the same `head` object share it."""
    return (AnsweringMember if task.kind == "qa" else Member)(body, head).eval()


def save(members: Sequence[Member], folder: Path) -> None:
    """Write all members of one head to the existing `folder`."""
    for index, one in enumerate(members):
        with quiet_transformers():
            one.body.encoder.save_pretrained(folder / str(index))
    bridges = [one.body.bridge.state_dict() for one in members]
    with (folder / WEIGHTS).open("wb") as file:  # given a path, torch.save would not say why it cannot write
        torch.save({"head": members[0].head.state_dict(), "bridges": bridges}, file)


def load(folder: Path, index: int, task: Task, *, trust_remote_code: bool = False) -> Member:
    """Load member `index` with its own copy of the head: float32, on the CPU, in eval mode."""
    weights: dict[str, Any] = torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True)
    encoder = heads.load(folder / str(index), task, seed=0, trust_remote_code=trust_remote_code).base_model
    _drop_pooler(encoder)
    width = weights["head"]["output.weight"].shape[1]
    head, body = SharedHead(width, task, _dropout(encoder)), Body(encoder, width)
    head.load_state_dict(weights["head"])
    body.bridge.load_state_dict(weights["bridges"][index])
    return member(body, head, task)


def _pooler(encoder: PreTrainedModel) -> nn.Linear | None:
    """The pooler's linear layer (BERT: within a module; ALBERT: the pooler itself)."""
    pooler = getattr(encoder, "pooler", None)
    return next((part for part in pooler.modules() if isinstance(part, nn.Linear)), None) if pooler else None


def _drop_pooler(encoder: PreTrainedModel) -> None:
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None


def _dropout(encoder: PreTrainedModel) -> float:
    """The encoder's dropout; BERT's 0.1 for families with another name for it."""
    return float(getattr(encoder.config, "hidden_dropout_prob", 0.1))
