"""The test kit for plugin authors: tiny models and batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.batch import TaskKind
from harness.tasks.base import Splits, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 0
CLS, SEP = 1, 2
FIRST_WORD = 3


def tiny_model(
    model_type: str = "bert",
    *,
    kind: TaskKind = "classification",
    num_labels: int = 2,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    ffn: int = 64,
    vocab: int = 64,
    seed: int = 0,
) -> PreTrainedModel:
    """A random encoder with a head, in eval mode; the same for the same arguments. Takes up to 48 tokens.

    `model_type` is any of transformers' encoders whose configuration speaks of these numbers: bert, roberta,
    distilbert, electra, albert, ... The global random state is left alone.
    """
    from transformers import AutoConfig

    from harness.models import families
    from harness.models import heads as task_heads

    config = AutoConfig.for_model(model_type, vocab_size=vocab, max_position_embeddings=50, pad_token_id=PAD)
    if hasattr(config, "embedding_size"):
        config.embedding_size = hidden // 2
    config = families.resized(config, layers=layers, hidden=hidden, heads=heads, ffn=ffn)
    labels = tuple(f"class {i}" for i in range(num_labels)) if kind == "classification" else ()
    task = Task("tiny", kind, _no_data, metrics=(), score="", labels=labels)
    return task_heads.from_config(config, task, seed=seed).eval()


def tiny_batch(
    kind: TaskKind,
    *,
    batch: int = 4,
    length: int = 12,
    vocab: int = 64,
    num_labels: int = 2,
    seed: int = 0,
    token_type_ids: bool = True,
) -> dict[str, Tensor]:
    """`batch` random examples of ragged lengths, the first of them `length` tokens, padded, in transformers' naming.

    Each is [CLS] first [SEP] second [SEP]. Labels are ``labels``, or for QA ``start_positions``, ``end_positions``
    and ``answer_mask`` ([CLS] and the second part's words); the last example of a QA batch has no answer.
    """
    if length < 6:
        raise ValueError(f"length is {length}; two parts and three special tokens need at least 6")
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(6, length + 1, (batch,), generator=rng)
    lengths[0] = length
    places = torch.arange(length)
    real = places < lengths[:, None]
    first_sep = lengths[:, None] // 2 - 1
    last_sep = lengths[:, None] - 1
    ids = torch.randint(FIRST_WORD, vocab, (batch, length), generator=rng)
    ids[:, 0] = CLS
    ids[(places == first_sep) | (places == last_sep)] = SEP
    second = (places > first_sep) & (places < last_sep)
    made = {"input_ids": ids.masked_fill(~real, PAD), "attention_mask": real.long()}
    if token_type_ids:
        made["token_type_ids"] = ((places > first_sep) & real).long()
    if kind == "classification":
        made["labels"] = torch.randint(num_labels, (batch,), generator=rng)
    elif kind == "regression":
        made["labels"] = torch.rand(batch, generator=rng)
    else:
        start, end = first_sep[:, 0] + 1, last_sep[:, 0] - 1
        start[-1] = end[-1] = 0
        made |= {"start_positions": start, "end_positions": end, "answer_mask": second | (places == 0)}
    return made


def _no_data(source: str | None) -> Splits:
    raise ValueError("a tiny model's task has no data")
