import os
import subprocess
import sys

import torch
from transformers import BertConfig, BertModel

from harness.hub import obstacle

from .hub import serve

CLIENT = """
import sys
from transformers import AutoModel
from harness.hub import obstacle
weight = AutoModel.from_pretrained("someone/tiny").embeddings.word_embeddings.weight
print(obstacle("someone/tiny", "model"), weight.sum().item())
print(obstacle("someone/gone", "model"))
"""


def test_a_model_comes_from_the_loopback_hub(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = BertModel(config)
    model.save_pretrained(tmp_path / "tiny")
    with serve({("model", "someone/tiny"): tmp_path / "tiny"}) as hub:
        environment = os.environ | hub.environment(tmp_path / "home")
        done = subprocess.run(
            [sys.executable, "-c", CLIENT], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"None {model.embeddings.word_embeddings.weight.sum().item()}"
    assert "no model of this id" in second


def test_offline_mode_is_a_reason(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert obstacle("someone/tiny", "model") == "HF_HUB_OFFLINE forbids the hub"


def test_a_path_is_no_hub_id():
    assert "neither a hub id nor a folder" in (obstacle("some/where/else", "dataset") or "")
