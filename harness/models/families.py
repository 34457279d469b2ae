"""Reads and writes sizes in encoder configurations, whose families have different names for them."""

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
"""Families with other names (DistilBERT: n_layers, dim, n_heads) map these in their configuration class."""

FFN = ("intermediate_size", "hidden_dim", "ffn_dim")
"""Names of the width of the feed-forward network, which configuration classes do not map."""

SCRATCH_POSITIONS = 512
"""Minimum number of positions of a teacher from scratch."""

FOLLOWERS = ("embedding_size", "pooler_hidden_size")
"""Widths that may differ from the encoder's; resized with it if they are equal to it."""

AFTER_PADDING = (
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod", "camembert"),
    *("mpnet", "longformer", "luke", "ibert", "esm", "data2vec-text", "lilt", "markuplm"),
)
"""Families whose positions start after the padding token's id, so that fewer of them are usable."""


def shape(config: PretrainedConfig, name: str) -> ModelShape:
    """The sizes of an encoder; `name` names it in messages.

    Raises:
        UserError: the configuration lacks a size, or a size is out of range.
    """
    ffn = _ffn_name(config)
    missing = [key for key in (LAYERS, HIDDEN, HEADS) if not isinstance(getattr(config, key, None), int)]
    if ffn is None or missing:
        lacks = ", ".join([*missing, *([] if ffn else [" or ".join(FFN)])])
        raise UserError(
            f"{name}: model type {config.model_type!r} is not supported: its config.json lacks {lacks}; use a BERT-like"
            " encoder (bert, roberta, distilbert, electra, albert)"
        )
    sizes = {key: getattr(config, key) for key in (LAYERS, HIDDEN, HEADS, ffn)}
    _check_sizes(sizes, config, name)
    return ModelShape(
        name=name,
        layers=getattr(config, LAYERS),
        hidden=getattr(config, HIDDEN),
        heads=getattr(config, HEADS),
        ffn=getattr(config, ffn),
        model_type=config.model_type,
    )


def _check_sizes(sizes: Mapping[str, int], config: PretrainedConfig, name: str) -> None:
    """Raise `UserError` for sizes that no model can have."""
    vocabulary = getattr(config, "vocab_size", None)
    checked = {**sizes, **({"vocab_size": vocabulary} if isinstance(vocabulary, int) else {})}
    for key, number in checked.items():
        most = {LAYERS: MOST_LAYERS, "vocab_size": LARGEST_NUMBER}.get(key, LARGEST_SIZE)
        if not 0 < number <= most:
            raise UserError(f"{name}: {key} in config.json is {number}; numbers from 1 to {most} are allowed")
    if sizes[HIDDEN] % sizes[HEADS] and getattr(config, "head_dim", None) is None:
        raise UserError(
            f"{name}: {HIDDEN} in config.json is {sizes[HIDDEN]}, which cannot be split among {sizes[HEADS]}"
            " attention heads; make it a multiple of num_attention_heads"
        )


def scratch_positions(max_length: int) -> int:
    """Number of positions of a teacher from scratch whose rows have up to `max_length` tokens."""
    return max(SCRATCH_POSITIONS, max_length)


def most_tokens(config: PretrainedConfig) -> int | None:
    """The most tokens that a model has positions for; None if its configuration sets no limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - ((config.pad_token_id or 0) + 1 if config.model_type in AFTER_PADDING else 0)


def resized(config: PretrainedConfig, *, layers: int, hidden: int, heads: int, ffn: int) -> PretrainedConfig:
    """A copy of `config` with other sizes and without runtime state (attention kernel, dtype).

    Embeddings as wide as the encoder are resized with it; those with another width (ELECTRA, ALBERT) keep it.
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
