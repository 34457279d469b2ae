"""Made-up inputs: a model's time depends on their shape, not on what the tokens say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SEED = 20240229


def batch(
    models: Sequence[PreTrainedModel], size: int, length: int, *, padded: bool = False
) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 [size, length], of tokens that all the models know and none pads with.

    Without padding, as the shape says; `padded` leaves all rows but the first less and less of their tokens.
    """
    vocabulary = min(model.config.vocab_size for model in models)
    padding = {model.config.pad_token_id for model in models}
    words = torch.tensor([token for token in range(vocabulary) if token not in padding])
    draw = torch.Generator().manual_seed(SEED)
    ids = words[torch.randint(len(words), (size, length), generator=draw)]
    lengths = torch.full((size, 1), length)
    if padded:
        lengths = (length * (size - torch.arange(size)) // size).clamp(min=1)[:, None]
    mask = (torch.arange(length) < lengths).long()
    return {"input_ids": ids, "attention_mask": mask}


def check_lengths(names: Sequence[str], models: Iterable[nn.Module], lengths: Sequence[int]) -> None:
    """Raise `UserError` for a length that a model has no positions for."""
    for name, model in zip(names, models, strict=True):
        limit = positions(model)
        if limit is not None and max(lengths) > limit:
            raise UserError(
                f"latency.lengths: {name} reads at most {limit} tokens, found {max(lengths)}; take shorter lengths"
            )


def positions(model: nn.Module) -> int | None:
    """The most tokens that a model has positions for; None: it has no table of them.

    RoBERTa's table begins with rows for padding, which no token takes.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None
