"""Made-up inputs: a model's time depends on their shape, not on what the tokens say."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from harness.api.errors import UserError
from harness.api.latency_backend import Inputs
from harness.models.families import most_tokens

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SEED = 20240229


def batch(
    models: Sequence[PreTrainedModel], size: int, length: int, *, padded: bool = False
) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 [size, length], of tokens that all the models know and none pads with.

    Without padding, as the shape says; `padded` leaves all rows but the first less and less of their tokens.
    """
    return rows(models, [max(1, length * (size - row) // size) if padded else length for row in range(size)])


def rows(models: Sequence[PreTrainedModel], lengths: Sequence[int]) -> dict[str, torch.Tensor]:
    """Such a batch of rows of those lengths, padded at their ends to the longest."""
    vocabulary = min(model.config.vocab_size for model in models)
    padding = {model.config.pad_token_id for model in models}
    words = torch.tensor([token for token in range(vocabulary) if token not in padding])
    draw = torch.Generator().manual_seed(SEED)
    longest = max(lengths)
    ids = words[torch.randint(len(words), (len(lengths), longest), generator=draw)]
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


def accepted_inputs(model: PreTrainedModel) -> tuple[str, ...]:
    """The inputs that a model reads: it tells segments apart, or it has no `token_type_ids`."""
    segments = "token_type_ids" in inspect.signature(model.forward).parameters
    segments = segments and getattr(model.config, "type_vocab_size", 0) > 1
    return ("input_ids", "attention_mask", *(["token_type_ids"] if segments else []))


def select_inputs(names: Sequence[str], given: Inputs) -> dict[str, torch.Tensor]:
    """Of a batch the named inputs. All of it is of the first segment where the batch says nothing of segments."""
    whole = {"token_type_ids": torch.zeros_like(given["input_ids"]), **given}
    return {name: whole[name] for name in names if name in whole}


def check_lengths(names: Sequence[str], configs: Iterable[PretrainedConfig], lengths: Sequence[int]) -> None:
    """Raise `UserError` for a length that a model has no positions for."""
    for name, config in zip(names, configs, strict=True):
        limit = most_tokens(config)
        if limit is not None and max(lengths, default=0) > limit:
            raise UserError(
                f"latency.lengths: {name} reads at most {limit} tokens, found {max(lengths)}; take shorter lengths"
            )
