"""Synthetic inputs: latency depends on their shape, not on the tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.api.latency_backend import Inputs
from harness.api.lazy_torch import torch
from harness.models.families import most_tokens

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SEED = 20240229


def batch(
    models: Sequence[PreTrainedModel], size: int, length: int, *, padded: bool = False
) -> dict[str, torch.Tensor]:
    """A batch of random tokens: `input_ids` and `attention_mask`, int64 [size, length].

    Tokens are in the vocabulary of all models, and none is a padding token.

    Args:
        padded: False: every row has `length` tokens. True: rows get shorter from the first to the last.
    """
    return rows(models, [max(1, length * (size - row) // size) if padded else length for row in range(size)])


def rows(models: Sequence[PreTrainedModel], lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Like `batch`, with rows of the given lengths, padded at the end to the longest."""
    vocabulary = min(model.config.vocab_size for model in models)
    padding = {model.config.pad_token_id for model in models}
    tokens = torch.tensor([token for token in range(vocabulary) if token not in padding])
    generator = torch.Generator().manual_seed(SEED)
    longest = max(lengths)
    ids = tokens[torch.randint(len(tokens), (len(lengths), longest), generator=generator)]
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


def accepted_inputs(model: PreTrainedModel) -> tuple[str, ...]:
    """The names of the inputs that a model uses: those with which it is trained."""
    from harness.models.introspection import input_names

    segments = "token_type_ids" in input_names(model)
    return ("input_ids", "attention_mask", *(["token_type_ids"] if segments else []))


def select_inputs(names: Sequence[str], batch: Inputs) -> dict[str, torch.Tensor]:
    """The named inputs of a batch. Missing `token_type_ids` default to zeros."""
    inputs = {"token_type_ids": torch.zeros_like(batch["input_ids"]), **batch}
    return {name: inputs[name] for name in names if name in inputs}


def check_lengths(names: Sequence[str], configs: Iterable[PretrainedConfig], lengths: Sequence[int]) -> None:
    """Raise `UserError` if a length exceeds the number of positions of a model."""
    for name, config in zip(names, configs, strict=True):
        limit = most_tokens(config)
        if limit is not None and max(lengths, default=0) > limit:
            raise UserError(
                f"latency.lengths: {name} supports at most {limit} tokens, found {max(lengths)}; use shorter lengths"
            )
