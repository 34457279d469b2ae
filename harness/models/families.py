"""What families of encoders call the same numbers, read and written through one place."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.api.model_outputs import ModelShape
from harness.config.schema import LARGEST_NUMBER, LARGEST_SIZE, MOST_LAYERS

if TYPE_CHECKING:
    from transformers import PretrainedConfig

LAYERS, HIDDEN, HEADS = "num_hidden_layers", "hidden_size", "num_attention_heads"
"""Families with other names of their own map these in their configuration (DistilBERT: n_layers, dim, n_heads)."""

FFN = ("intermediate_size", "hidden_dim", "ffn_dim")
"""The width of the feed-forward network, which no family maps."""

SCRATCH_POSITIONS = 512
"""Tokens that a teacher from scratch takes at least."""

FOLLOWERS = ("embedding_size", "pooler_hidden_size")
"""Widths that families may set apart from the encoder's."""

AFTER_PADDING = (
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod", "camembert"),
    *("mpnet", "longformer", "luke", "ibert", "esm", "data2vec-text", "lilt", "markuplm"),
)
"""Families that count positions from the one after their padding token's id: those before it hold no token."""


def shape(config: PretrainedConfig, name: str) -> ModelShape:
    """The numbers of an encoder; `name` is what messages call it. Raises `UserError` if its family has other names."""
    ffn = _ffn_name(config)
    missing = [key for key in (LAYERS, HIDDEN, HEADS) if not isinstance(getattr(config, key, None), int)]
    if ffn is None or missing:
        lacks = ", ".join([*missing, *([] if ffn else [" or ".join(FFN)])])
        raise UserError(
            f"{name}: a model of type {config.model_type!r} is no encoder that can be used here; its config.json lacks"
            f" {lacks}; take a BERT-like encoder (bert, roberta, distilbert, electra, albert)"
        )
    numbers = {key: getattr(config, key) for key in (LAYERS, HIDDEN, HEADS, ffn)}
    _refuse_degenerate(numbers, config, name)
    return ModelShape(
        name=name,
        layers=getattr(config, LAYERS),
        hidden=getattr(config, HIDDEN),
        heads=getattr(config, HEADS),
        ffn=getattr(config, ffn),
        model_type=config.model_type,
    )


def _refuse_degenerate(numbers: Mapping[str, int], config: PretrainedConfig, name: str) -> None:
    """Raise `UserError` for numbers of which no model can be built."""
    vocabulary = getattr(config, "vocab_size", None)
    every = {**numbers, **({"vocab_size": vocabulary} if isinstance(vocabulary, int) else {})}
    for key, number in every.items():
        most = {LAYERS: MOST_LAYERS, "vocab_size": LARGEST_NUMBER}.get(key, LARGEST_SIZE)
        if not 0 < number <= most:
            raise UserError(f"{name}: {key} in config.json is {number}; numbers from 1 to {most} are allowed")
    if numbers[HIDDEN] % numbers[HEADS] and getattr(config, "head_dim", None) is None:
        raise UserError(
            f"{name}: {HIDDEN} in config.json is {numbers[HIDDEN]}, which cannot be split among {numbers[HEADS]}"
            " attention heads; make it a multiple of num_attention_heads"
        )


def scratch_positions(max_length: int) -> int:
    """Tokens that a teacher from scratch has positions for; its own rows have up to `max_length`."""
    return max(SCRATCH_POSITIONS, max_length)


def most_tokens(config: PretrainedConfig) -> int | None:
    """How many tokens a model has positions for; None where its configuration sets no bound."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - ((config.pad_token_id or 0) + 1 if config.model_type in AFTER_PADDING else 0)


def resized(config: PretrainedConfig, *, layers: int, hidden: int, heads: int, ffn: int) -> PretrainedConfig:
    """A copy of `config` with these numbers, and with nothing of its runtime state (attention kernel, dtype).

    Embeddings as wide as the encoder stay so; embeddings with a width of their own (ELECTRA, ALBERT) keep it.
    """
    old = shape(config, config.model_type)
    fields = copy.deepcopy(config.to_dict())
    fields.pop("dtype", None)
    new = type(config).from_dict(fields)
    setattr(new, LAYERS, layers)
    setattr(new, HIDDEN, hidden)
    setattr(new, HEADS, heads)
    setattr(new, _ffn_name(config) or FFN[0], ffn)
    for key in FOLLOWERS:
        if getattr(config, key, None) == old.hidden:
            setattr(new, key, hidden)
    return new


def _ffn_name(config: PretrainedConfig) -> str | None:
    return next((key for key in FFN if isinstance(getattr(config, key, None), int)), None)
