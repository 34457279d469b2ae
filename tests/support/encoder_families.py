"""Tiny random encoders of every documented family, configured as the released models are."""

from collections.abc import Mapping
from typing import Any

import pytest
import transformers
from packaging.version import Version
from transformers import PreTrainedModel

from harness.testing import tiny_model

DEBERTA = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
SETTINGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "BERT": ("bert", {}),
    "RoBERTa": ("roberta", {"type_vocab_size": 1}),
    "XLM-RoBERTa": ("xlm-roberta", {"type_vocab_size": 1}),
    "CamemBERT": ("camembert", {"type_vocab_size": 1}),
    "DistilBERT": ("distilbert", {}),
    "ELECTRA": ("electra", {}),
    "ALBERT": ("albert", {}),
    "DeBERTa": ("deberta", {**DEBERTA, "type_vocab_size": 0}),
    "DeBERTa-v2": (
        "deberta-v2",
        {**DEBERTA, "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_buckets": 8, "conv_kernel_size": 3},
    ),
    "DeBERTa-v3": (
        "deberta-v2",
        {**DEBERTA, "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_buckets": 8},
    ),
    "ModernBERT": ("modernbert", {"local_attention": 8, "cls_token_id": 1, "sep_token_id": 2}),
    "MPNet": ("mpnet", {}),
    "NomicBERT": ("nomic_bert", {}),
    "EuroBERT": ("eurobert", {"num_key_value_heads": 6, "classifier_pooling": "mean"}),
    "MobileBERT": ("mobilebert", {"embedding_size": 16, "intra_bottleneck_size": 256}),
    "ConvBERT": ("convbert", {"conv_kernel_size": 3}),
    "BigBird": ("big_bird", {}),
    "Longformer": ("longformer", {"attention_window": 8, "type_vocab_size": 1}),
    "Funnel": ("funnel", {}),
}
"""Name in the docs -> model type and further fields of the configuration."""

SINCE = {"eurobert": "5.3", "nomic_bert": "5.5"}
"""Model type -> the first version of transformers that has it."""


def tiny_encoder(family: str, **sizes: Any) -> PreTrainedModel:
    """A `tiny_model` of a family in `SETTINGS`. Skips the test if transformers is older than the family."""
    model_type, settings = SETTINGS[family]
    if Version(transformers.__version__) < Version(SINCE.get(model_type, "0")):
        pytest.skip(f"transformers {transformers.__version__} has no {model_type}")
    return tiny_model(model_type, settings={**settings, **(sizes.pop("settings", {}))}, **sizes)
