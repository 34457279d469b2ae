"""Checkpoints with Python code of their own, which run with `trust_remote_code` alone."""

from __future__ import annotations

import json
from pathlib import Path

CODE = {
    "configuration_own.py": """
from transformers import BertConfig


class OwnConfig(BertConfig):
    model_type = "own-encoder"
""",
    "modeling_own.py": """
from transformers import BertForSequenceClassification

from .configuration_own import OwnConfig


class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, **kwargs):
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
""",
}


def give_code(folder: Path) -> Path:
    """Let a classifier of BERT in `folder` be of a class whose code is in the folder."""
    for name, code in CODE.items():
        (folder / name).write_text(code, encoding="utf-8")
    config = folder / "config.json"
    own = {
        "model_type": "own-encoder",
        "architectures": ["OwnForSequenceClassification"],
        "auto_map": {
            "AutoConfig": "configuration_own.OwnConfig",
            "AutoModel": "modeling_own.OwnForSequenceClassification",
            "AutoModelForSequenceClassification": "modeling_own.OwnForSequenceClassification",
        },
    }
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    return folder
