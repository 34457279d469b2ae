"""What a model computes on a batch, read example by example, real tokens only, by transformers' own eager attention.

What padding could change is not there. Layers are counted from 1; layer 0 is the embedding output.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from harness.api.batch import IGNORED

Vector = list[float]
Matrix = list[Vector]

LINEAR = {
    "queries": ("attention.self.query", "attention.q_lin"),
    "keys": ("attention.self.key", "attention.k_lin"),
    "values": ("attention.self.value", "attention.v_lin"),
}
"""What the linear maps of a layer are called in BERT's likes and in DistilBERT; each gives one matrix."""

AFTER_ATTENTION = ("attention.output.dense", "attention.out_lin")
"""The output projection, whose input is the attention output."""


@dataclass(frozen=True)
class Example:
    """What a model computed on one example; `hidden[m][token][feature]`, and likewise the others from layer 1 on (their
    entry 0 is empty). `logits` has one vector for each distribution: one, for QA start and end, for text each token,
    for token classification each labelled token, for multilabel (z, 0) of each class: its softmax is the sigmoid of z.
    """

    hidden: list[Matrix]
    queries: list[Matrix]
    keys: list[Matrix]
    values: list[Matrix]
    context: list[Matrix]
    logits: list[Vector]
    heads: int

    @property
    def layers(self) -> int:
        return len(self.hidden) - 1

    @property
    def cls(self) -> Vector:
        return self.hidden[-1][0]


def read(model: PreTrainedModel, batch: Mapping[str, torch.Tensor]) -> list[Example]:
    """All examples of a batch."""
    model = copy.deepcopy(model).double().eval()
    model.set_attn_implementation("eager")
    layers = getattr(model.base_model, "encoder", None) or model.base_model.transformer
    taken: dict[str, list[torch.Tensor]] = {name: [] for name in (*LINEAR, "context")}
    for layer in layers.layer:
        parts = dict(layer.named_modules())
        for name, spellings in LINEAR.items():
            part = next(parts[spelling] for spelling in spellings if spelling in parts)
            part.register_forward_hook(lambda m, args, out, name=name: taken[name].append(out))
        part = next(parts[spelling] for spelling in AFTER_ATTENTION if spelling in parts)
        part.register_forward_pre_hook(lambda m, args: taken["context"].append(args[0]))
    names = ["input_ids", "attention_mask"]
    if getattr(model.config, "type_vocab_size", 0) == 2 and "token_type_ids" in batch:
        names.append("token_type_ids")
    with torch.no_grad():
        out = model(**{name: batch[name] for name in names}, output_hidden_states=True)
    return [_example(i, model, batch, out, taken) for i in range(len(batch["input_ids"]))]


def _example(
    i: int,
    model: PreTrainedModel,
    batch: Mapping[str, torch.Tensor],
    out: Any,
    taken: Mapping[str, list[torch.Tensor]],
) -> Example:
    length = int(batch["attention_mask"][i].sum())

    def real(tensors: Iterable[torch.Tensor]) -> list[Matrix]:
        return [tensor[i, :length].tolist() for tensor in tensors]

    if "start_positions" in batch:
        places = _places(batch, i)
        logits = [out.start_logits[i, places].tolist(), out.end_logits[i, places].tolist()]
    elif is_multilabel(batch):
        logits = [[z, 0.0] for z in out.logits[i].tolist()]
    elif type(model).__name__.endswith("ForTokenClassification"):
        logits = out.logits[i, batch["labels"][i] != IGNORED].tolist()
    elif out.logits.dim() == 3:
        logits = out.logits[i, :length].tolist()
    else:
        logits = [out.logits[i].tolist()]
    layered = {name: [[], *real(tensors)] for name, tensors in taken.items()}
    return Example(real(out.hidden_states), logits=logits, heads=model.config.num_attention_heads, **layered)


def is_multilabel(batch: Mapping[str, torch.Tensor]) -> bool:
    return "labels" in batch and batch["labels"].is_floating_point() and batch["labels"].squeeze(-1).dim() == 2


def labels(batch: Mapping[str, torch.Tensor], kind: str) -> list[list[float]]:
    """Of each example and distribution: a class, a number, for QA the place among those where an answer may lie, for
    text the token that was masked or -100, for multilabel the index of z where the class is present, else that of 0."""
    if kind == "token_classification":
        return [[label for label in row if label != IGNORED] for row in batch["labels"].tolist()]
    if kind == "multilabel":
        return [[1 - label for label in row] for row in batch["labels"].tolist()]
    if "start_positions" not in batch and batch["labels"].shape == batch["input_ids"].shape:
        lengths = batch["attention_mask"].sum(-1).tolist()
        return [row[:length] for row, length in zip(batch["labels"].tolist(), lengths, strict=True)]
    if "start_positions" not in batch:
        return [[label] for label in batch["labels"].flatten().tolist()]
    return [
        [_places(batch, i).index(int(batch[name][i])) for name in ("start_positions", "end_positions")]
        for i in range(len(batch["input_ids"]))
    ]


def _places(batch: Mapping[str, torch.Tensor], i: int) -> list[int]:
    return [n for n, allowed in enumerate(batch["answer_mask"][i].tolist()) if allowed]
