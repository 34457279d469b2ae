"""Random models of two layers, and batches of a few tokens for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.api.batch import NOT_MASKED, TaskKind
from harness.api.task import Splits, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 0
CLS, SEP = 1, 2
FIRST_WORD = 3

MASKED = 0.25
"""Share of a text's tokens that are masked."""


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
    distilbert, electra, albert, ... The head of kind ``text`` predicts tokens. The global random state is left alone.
    """
    from transformers import AutoConfig

    from harness.models import families
    from harness.models import heads as task_heads

    config = AutoConfig.for_model(model_type, vocab_size=vocab, max_position_embeddings=50, pad_token_id=PAD)
    if hasattr(config, "embedding_size"):
        config.embedding_size = hidden // 2
    config = families.resized(config, layers=layers, hidden=hidden, heads=heads, ffn=ffn)
    return task_heads.from_config(config, tiny_task(kind, num_labels), seed=seed).eval()


def tiny_task(kind: TaskKind, num_labels: int) -> Task:
    """What stands for a task where there are no data but batches."""
    labels = tuple(f"class {i}" for i in range(num_labels)) if kind == "classification" else ()
    return Task("tiny", kind, _no_data, metrics=(), score="", labels=labels)


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

    Each is [CLS] first [SEP] second [SEP], in words of up to two tokens: ``word_ids`` are those of `Batch`, which
    models do not take. Labels are ``labels``, or for QA ``start_positions``, ``end_positions`` and ``answer_mask``
    ([CLS] and the second part's words); the last example of a QA batch has no answer. Of text, tokens are masked, at
    least one in each example: the last of the vocabulary stands in their place, and ``labels`` are what stood there.
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
    first = (places > 0) & (places < first_sep)
    second = (places > first_sep) & (places < last_sep)
    words = torch.where(first, (places - 1) // 2, torch.where(second, (places - first_sep - 1) // 2, -1))
    made = {"input_ids": ids.masked_fill(~real, PAD), "attention_mask": real.long(), "word_ids": words}
    if token_type_ids:
        made["token_type_ids"] = ((places > first_sep) & real).long()
    if kind == "classification":
        made["labels"] = torch.randint(num_labels, (batch,), generator=rng)
    elif kind == "regression":
        made["labels"] = torch.rand(batch, generator=rng)
    elif kind == "text":
        made |= _masked(made["input_ids"], words >= 0, vocab - 1, rng)
    else:
        start, end = first_sep[:, 0] + 1, last_sep[:, 0] - 1
        start[-1] = end[-1] = 0
        made |= {"start_positions": start, "end_positions": end, "answer_mask": second | (places == 0)}
    return made


def _masked(ids: Tensor, maskable: Tensor, mask: int, rng: torch.Generator) -> dict[str, Tensor]:
    draws = torch.rand(ids.shape, generator=rng).masked_fill(~maskable, 2.0)
    chosen = (draws < MASKED) | (draws == draws.amin(-1, keepdim=True))
    return {"input_ids": ids.masked_fill(chosen, mask), "labels": ids.masked_fill(~chosen, NOT_MASKED)}


def _no_data(source: str | None) -> Splits:
    raise ValueError("a tiny model's task has no data")
