import os
import subprocess
import sys

import pytest
import torch
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from transformers import BertConfig, BertModel

from harness.api.errors import UserError
from harness.models import pretrained
from harness.storage.hub import http_client, unavailable_reason
from harness.tasks import data_sources
from tests.support.hub_server import serve
from tests.support.patience import PATIENCE

httpx = http_client()

CLIENT = """
import sys
from transformers import AutoModel
from harness.storage.hub import unavailable_reason
weight = AutoModel.from_pretrained("someone/tiny").embeddings.word_embeddings.weight
print(unavailable_reason("someone/tiny", "model"), weight.sum().item())
print(unavailable_reason("someone/gone", "model"))
"""


def test_a_model_comes_from_the_loopback_hub(tmp_path):
    torch.manual_seed(0)
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = BertModel(config)
    model.save_pretrained(tmp_path / "tiny")
    with serve({("model", "someone/tiny"): tmp_path / "tiny"}) as hub:
        environment = os.environ | hub.environment(tmp_path / "home")
        command = [sys.executable, "-c", CLIENT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == f"None {model.embeddings.word_embeddings.weight.sum().item()}"
    assert "no model of this id" in second


def test_offline_mode_is_a_reason(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert unavailable_reason("someone/tiny", "model") == "HF_HUB_OFFLINE is set"


def test_a_path_is_not_a_hub_id():
    assert "neither a hub id nor a folder" in (unavailable_reason("some/where/else", "dataset") or "")


def http_error(status):
    """The error of the hub's client for that status."""
    request = httpx.Request("GET", "https://hub.test/api")
    return HfHubHTTPError("no", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(("status", "message"), [(401, "hf auth login"), (403, "hf auth login"), (500, "status 500")])
def test_a_rejected_login_is_reported(monkeypatch, status, message):
    def refuse(self, *args, **options):
        raise http_error(status)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", refuse)
    assert message in (unavailable_reason("someone/tiny", "model") or "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (GatedRepoError("no", response=http_error(403).response), "it is gated on the hub: request access"),
        (httpx.ReadTimeout("slow"), "the download broke off (slow); try again"),
        (RuntimeError("a chunk is missing"), "the download broke off (a chunk is missing)"),
    ],
    ids=["gated", "timeout", "chunks"],
)
def test_an_interrupted_download_is_reported(monkeypatch, error, message):
    def breaks(*args, **options):
        raise error

    monkeypatch.setattr(pretrained, "unavailable_reason", lambda model, kind: None)
    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lambda self, model: ["config.json"])
    monkeypatch.setattr("huggingface_hub.snapshot_download", breaks)
    with pytest.raises(UserError) as caught:
        pretrained.read_config("someone/tiny", online=True)
    assert message in str(caught.value)
    assert "someone/tiny" in str(caught.value)
    with pytest.raises(UserError, match="data set 'someone/data'") as caught, data_sources._load_errors("someone/data"):
        raise error
    assert ("gated" in str(caught.value)) == ("gated" in message)
