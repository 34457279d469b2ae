"""Tiny random models with the head of each kind and a real tokenizer, saved as checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from tests.support.tokenizer_factory import bytelevel, wordpiece

HEADS = {
    "classification": AutoModelForSequenceClassification,
    "two": AutoModelForSequenceClassification,
    "multilabel": AutoModelForSequenceClassification,
    "regression": AutoModelForSequenceClassification,
    "qa": AutoModelForQuestionAnswering,
    "token_classification": AutoModelForTokenClassification,
}
LABELS = {
    "classification": ("negative", "neutral", "positive"),
    "multilabel": ("cheap", "fast", "loud"),
    "regression": ("value",),
    "two": ("no", "yes"),
    "token_classification": ("O", "B-PER", "I-PER", "B-LOC"),
}
PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


def save_checkpoint(folder: Path, kind: str, *, family: str = "bert", positions: int = 40, seed: int = 1) -> Path:
    """Save a model of one layer whose outputs differ clearly between texts."""
    tokenizer = wordpiece() if family == "bert" else bytelevel()
    names = LABELS.get(kind)
    labels = (
        {} if names is None else {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    )
    config = AutoConfig.for_model(
        family,
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=positions,
        pad_token_id=tokenizer.pad_token_id,
        problem_type=PROBLEM_TYPES.get(kind),
        initializer_range=0.5,
        **labels,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = HEADS[kind].from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
