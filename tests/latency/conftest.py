"""Tiny random models of several families."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    RobertaConfig,
)

from harness.models.initialization import seeded

CONFIGS = {
    "bert": BertConfig(
        vocab_size=60, num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    ),
    "roberta": RobertaConfig(
        vocab_size=60, num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=66, type_vocab_size=1, pad_token_id=1,
    ),
    "distilbert": DistilBertConfig(
        vocab_size=50, n_layers=1, dim=16, n_heads=2, hidden_dim=32, max_position_embeddings=32
    ),
}  # fmt: skip
CLASSES = {
    "classification": AutoModelForSequenceClassification,
    "qa": AutoModelForQuestionAnswering,
    "bare": AutoModel,
}


@pytest.fixture(scope="session")
def make():
    """``make("bert", "qa")``: a random model, in eval mode."""

    def create(family: str = "bert", head: str = "classification"):
        with seeded(3):
            return CLASSES[head].from_config(CONFIGS[family], dtype=torch.float32).eval()

    return create
