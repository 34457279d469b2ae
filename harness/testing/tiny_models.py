"""Tiny random models, and batches of random tokens for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.api.batch import IGNORED, NOT_MASKED, TaskKind
from harness.api.task import Splits, Task
from harness.testing.task_kinds import require_kinds

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PAD = 0
CLS, SEP = 1, 2
FIRST_WORD = 3

MASKED = 0.25
"""Share of the tokens of unlabelled text that are masked."""


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
    settings: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """Build a random encoder with a head, in eval mode, for up to 48 tokens; equal arguments give equal weights.

    `model_type` is any transformers encoder whose configuration has these sizes: bert, roberta, distilbert, electra,
    albert, ...; `settings` are further fields of the configuration. The head for ``text`` is a masked-language-model
    head. Does not change the global random state.

    Raises:
        UserError: there is no such kind.
    """
    require_kinds([kind])
    from transformers import AutoConfig

    from harness.models import heads as task_heads
    from harness.models import resizing

    fields = {"vocab_size": vocab, "max_position_embeddings": 50, "pad_token_id": PAD, **(settings or {})}
    config = AutoConfig.for_model(model_type, **fields)
    if hasattr(config, "embedding_size"):
        config.embedding_size = hidden // 2
    config = resizing.resized(config, layers=layers, hidden=hidden, heads=heads, ffn=ffn)
    return task_heads.from_config(config, tiny_task(kind, num_labels), seed=seed).eval()


def tiny_task(kind: TaskKind, num_labels: int) -> Task:
    """A `Task` without data, for tests that use batches only."""
    classes = kind in ("classification", "multilabel", "token_classification")
    labels = tuple(f"class {i}" for i in range(num_labels)) if classes else ()
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
    """Make `batch` random examples of different lengths, padded, with the argument names of transformers models.

    The first example has `length` tokens. Each is [CLS] first [SEP] second [SEP], in words of up to two tokens:
    ``word_ids`` as in `Batch`, which models do not take. Labels are ``labels`` (token classification: at the first
    token of each word), or for QA ``start_positions``, ``end_positions`` and ``answer_mask`` ([CLS] and the second
    part's words); the last QA example has no answer. In text at least one token of each example is masked: it is
    replaced by the last token of the vocabulary, and ``labels`` holds the original tokens.

    Raises:
        UserError: there is no such kind.
        ValueError: `length` is below 6.
    """
    require_kinds([kind])
    if length < 6:
        raise ValueError(f"length is {length}; two parts and three special tokens need at least 6")
    rng = torch.Generator().manual_seed(seed)
    lengths = torch.randint(6, length + 1, (batch,), generator=rng)
    lengths[0] = length
    positions = torch.arange(length)
    real = positions < lengths[:, None]
    first_sep = lengths[:, None] // 2 - 1
    last_sep = lengths[:, None] - 1
    ids = torch.randint(FIRST_WORD, vocab, (batch, length), generator=rng)
    ids[:, 0] = CLS
    ids[(positions == first_sep) | (positions == last_sep)] = SEP
    first = (positions > 0) & (positions < first_sep)
    second = (positions > first_sep) & (positions < last_sep)
    words = torch.where(first, (positions - 1) // 2, torch.where(second, (positions - first_sep - 1) // 2, -1))
    tensors = {"input_ids": ids.masked_fill(~real, PAD), "attention_mask": real.long(), "word_ids": words}
    if token_type_ids:
        tensors["token_type_ids"] = ((positions > first_sep) & real).long()
    if kind == "classification":
        tensors["labels"] = torch.randint(num_labels, (batch,), generator=rng)
    elif kind == "multilabel":
        tensors["labels"] = torch.randint(2, (batch, num_labels), generator=rng).float()
    elif kind == "regression":
        tensors["labels"] = torch.rand(batch, generator=rng)
    elif kind == "token_classification":
        begins = (words >= 0) & (words != F.pad(words, (1, 0), value=-1)[:, :-1])
        tags = torch.randint(num_labels, (batch, length), generator=rng)
        tensors["labels"] = tags.masked_fill(~begins, IGNORED)
    elif kind == "text":
        tensors |= _masked(tensors["input_ids"], words >= 0, vocab - 1, rng)
    else:
        start, end = first_sep[:, 0] + 1, last_sep[:, 0] - 1
        start[-1] = end[-1] = 0
        tensors |= {"start_positions": start, "end_positions": end, "answer_mask": second | (positions == 0)}
    return tensors


def _masked(ids: Tensor, maskable: Tensor, mask: int, rng: torch.Generator) -> dict[str, Tensor]:
    draws = torch.rand(ids.shape, generator=rng).masked_fill(~maskable, 2.0)
    chosen = (draws < MASKED) | (draws == draws.amin(-1, keepdim=True))
    return {"input_ids": ids.masked_fill(chosen, mask), "labels": ids.masked_fill(~chosen, NOT_MASKED)}


def _no_data(source: str | None) -> Splits:
    raise ValueError("a tiny model's task has no data")
