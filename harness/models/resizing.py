"""Encoder configurations with other sizes. Fields that depend on depth or width change with them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.api.errors import UserError
from harness.api.wording import counted
from harness.models.families import FFN, HEAD_SIZE, HEADS, HIDDEN, LAYERS, attention_heads, ffn_name, shape

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FOLLOWERS = ("embedding_size", "pooler_hidden_size")
"""Widths that may differ from the encoder's; resized with it if they are equal to it."""

PROPORTIONAL = ("intra_bottleneck_size", "true_hidden_size")
"""Widths in a fixed proportion to the encoder's (MobileBERT)."""

BY_LAYER = ("layer_types", "mlp_layer_types", "attention_window")
"""Fields with one entry for each layer: the kind of attention (ModernBERT), the window (Longformer)."""


def resized(
    config: PretrainedConfig, *, layers: int, hidden: int, heads: int, ffn: int, copied: Sequence[int] = ()
) -> PretrainedConfig:
    """A copy of `config` with other sizes and without runtime state (attention kernel, dtype).

    Embeddings as wide as the encoder are resized with it; those with another width (ELECTRA, ALBERT) keep it. The width
    of a head keeps its proportion to hidden size / heads.

    Args:
        heads: self-attention heads.
        copied: for each new layer the old one that it copies, counted from 1, whose kind it has. Empty: the kinds of
            the new layers continue the pattern of the old ones.

    Raises:
        UserError: the family has no encoder of these sizes.
    """
    old = shape(config, config.model_type)
    fields = copy.deepcopy(config.to_dict())
    fields.pop("dtype", None)
    fields |= _widths(config, hidden, heads)
    fields |= _by_layer(fields, old.layers, layers, copied)
    fields[ffn_name(config) or FFN[0]] = ffn
    if "block_sizes" in fields:
        fields |= _blocks(len(fields["block_sizes"]), layers)
    else:
        fields[_stored_name(config, LAYERS)] = layers
    try:
        return type(config).from_dict(fields)
    except Exception as error:  # configuration classes check their fields with exceptions of several kinds
        sizes = f"{counted(layers, 'layer')}, {counted(heads, 'head')}, hidden {hidden} and FFN {ffn}"
        raise UserError(f"an encoder of type {config.model_type!r} cannot have {sizes}: {error}") from error


def _widths(config: PretrainedConfig, hidden: int, heads: int) -> dict[str, Any]:
    """Width, heads, and the fields that depend on them."""
    old = shape(config, config.model_type)
    all_heads: int = getattr(config, HEADS)
    fields: dict[str, Any] = {
        _stored_name(config, HIDDEN): hidden,
        _stored_name(config, HEADS): heads * all_heads // attention_heads(config),
    }
    fields |= {key: hidden for key in FOLLOWERS if getattr(config, key, None) == old.hidden}
    fields |= {key: getattr(config, key) * hidden // old.hidden for key in PROPORTIONAL if hasattr(config, key)}
    if (groups := getattr(config, "num_key_value_heads", None)) is not None:
        target = max(1, groups * heads // old.heads)
        fields["num_key_value_heads"] = max(n for n in range(1, target + 1) if heads % n == 0)
    fields |= {
        key: size * old.heads * hidden // (old.hidden * heads)
        for key in HEAD_SIZE
        if (size := getattr(config, key, None)) is not None
    }
    return fields


def _by_layer(fields: dict[str, Any], old: int, layers: int, copied: Sequence[int]) -> dict[str, Any]:
    """The fields in `BY_LAYER`, for the new number of layers."""
    entries = {key: fields[key] for key in BY_LAYER if isinstance(fields.get(key), list | tuple)}
    return {
        key: [kinds[layer - 1] for layer in copied] if copied else _continued(kinds, layers)
        for key, kinds in entries.items()
        if len(kinds) == old
    }


def _continued(kinds: Sequence[Any], count: int) -> list[Any]:
    """The first `count` entries of the shortest period of `kinds`, repeated."""
    periods = (n for n in range(1, len(kinds) + 1) if all(kinds[i] == kinds[i % n] for i in range(len(kinds))))
    period = next(periods)
    return [kinds[i % period] for i in range(count)]


def _blocks(count: int, layers: int) -> dict[str, list[int]]:
    """Funnel's blocks: `layers` layers in up to `count` blocks of about equal size."""
    count = min(count, layers)
    sizes = [layers // count + (block < layers % count) for block in range(count)]
    return {"block_sizes": sizes, "block_repeats": [1] * count}


def _stored_name(config: PretrainedConfig, name: str) -> str:
    """The name under which the configuration stores a size."""
    stored: str = config.attribute_map.get(name, name)
    return stored
