"""Reads sizes from encoder configurations, whose families have different names for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.api.errors import UserError
from harness.api.model_outputs import ModelShape
from harness.config.setting_types import LARGEST_NUMBER, LARGEST_SIZE, MOST_LAYERS

if TYPE_CHECKING:
    from transformers import PretrainedConfig

LAYERS, HIDDEN, HEADS = "num_hidden_layers", "hidden_size", "num_attention_heads"
"""Families with other names (DistilBERT: n_layers, dim, n_heads) map these in their configuration class."""

FFN = ("intermediate_size", "hidden_dim", "ffn_dim", "d_inner")
"""Names of the width of the feed-forward network, which configuration classes do not map."""

HEAD_SIZE = ("head_dim", "d_head", "attention_head_size")
"""Names of the width of one attention head, in families where it need not be hidden size / heads."""

SCRATCH_POSITIONS = 512
"""Minimum number of positions of a teacher from scratch."""

BOUND_TO_HEADS = {
    "deberta": "stores queries, keys and values head by head",
    "mpnet": "has a position term for each head",
    "convbert": "has convolution kernels for each head",
    "modernbert": "rotates queries and keys head by head",
    "nomic_bert": "rotates queries and keys head by head",
    "eurobert": "rotates queries and keys head by head",
}
"""Families whose weights mean something else with another number of heads, or do not fit, and why."""

OWN_SCORES = ("big_bird", "convbert", "megatron-bert", "rembert")
"""Families that ignore transformers' attention interface, and whose attention is softmax(Q K^T / sqrt(d)) nevertheless.

Others add terms to the scores (DeBERTa, MPNet), or compute only a part of them (Longformer).
"""

FULL_ATTENTION = {"big_bird": "original_full"}
"""Families that choose between full and sparse attention by the length of a batch, and the setting for full attention.

BigBird replaces its sparse attention for good at the first batch of up to 704 tokens, so that results would depend on
the order of batches.
"""

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
    ffn = ffn_name(config)
    missing = [key for key in (LAYERS, HIDDEN, HEADS) if not isinstance(getattr(config, key, None), int)]
    if ffn is None or missing:
        lacks = ", ".join([*missing, *([] if ffn else [" or ".join(FFN)])])
        raise UserError(
            f"{name}: model type {config.model_type!r} is not supported: its config.json lacks {lacks}; use one of the"
            " encoder families in docs/encoders.md (bert, roberta, deberta-v2, modernbert, ...)"
        )
    sizes = {key: getattr(config, key) for key in (LAYERS, HIDDEN, HEADS, ffn)}
    _check_sizes(sizes, config, name)
    hidden, qkv_width = sizes[HIDDEN], _qkv_width(config)
    return ModelShape(
        name=name,
        layers=sizes[LAYERS],
        hidden=hidden,
        heads=attention_heads(config),
        ffn=sizes[ffn],
        model_type=config.model_type,
        qkv_width=qkv_width,
        context_width=hidden if hasattr(config, "head_ratio") else qkv_width,
    )


def attention_heads(config: PretrainedConfig) -> int:
    """The number of self-attention heads: in ConvBERT a part of num_attention_heads, whose rest are convolutions."""
    heads: int = getattr(config, HEADS)
    return max(1, heads // getattr(config, "head_ratio", 1))


def _qkv_width(config: PretrainedConfig) -> int:
    """The width of queries, with all heads concatenated."""
    hidden: int = getattr(config, HIDDEN)
    if getattr(config, "use_bottleneck", False):  # MobileBERT
        heads = attention_heads(config)
        return int(config.intra_bottleneck_size) // heads * heads
    if hasattr(config, "head_ratio"):  # ConvBERT: one half of the output comes from attention
        heads = attention_heads(config)
        return hidden // heads // 2 * heads
    head_size = next((size for key in HEAD_SIZE if (size := getattr(config, key, None)) is not None), None)
    return hidden if head_size is None else int(head_size) * getattr(config, HEADS)


def _check_sizes(sizes: Mapping[str, int], config: PretrainedConfig, name: str) -> None:
    """Raise `UserError` for sizes that no model can have."""
    vocabulary = getattr(config, "vocab_size", None)
    checked = {**sizes, **({"vocab_size": vocabulary} if isinstance(vocabulary, int) else {})}
    for key, number in checked.items():
        most = {LAYERS: MOST_LAYERS, "vocab_size": LARGEST_NUMBER}.get(key, LARGEST_SIZE)
        if not 0 < number <= most:
            raise UserError(f"{name}: {key} in config.json is {number}; numbers from 1 to {most} are allowed")
    if sizes[HIDDEN] % sizes[HEADS] and all(getattr(config, key, None) is None for key in HEAD_SIZE):
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


def ffn_name(config: PretrainedConfig) -> str | None:
    """The name of the feed-forward width in this configuration; None if it has none."""
    return next((key for key in FFN if isinstance(getattr(config, key, None), int)), None)
