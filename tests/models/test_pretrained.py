"""Models by folder and by hub id; a local server replaces the hub."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig

from harness.api.errors import UserError
from harness.api.task import Task
from harness.models import heads, pretrained, tokenizers
from harness.models.families import shape
from harness.testing import tiny_model
from tests.support.hub_server import serve
from tests.support.patience import PATIENCE, SLEEP_METER, seconds_slept

TASK = Task("t", "classification", load=lambda source: None, metrics=(), score="", labels=("no", "yes"))

LOCATE = """
import json, sys
from harness.api.errors import UserError
from harness.models import pretrained as checkpoints
try:
    config = checkpoints.read_config("someone/tiny", online=False)
    path = checkpoints.locate("someone/tiny")
    print(json.dumps([config and config.model_type, str(path), sorted(file.name for file in path.iterdir())]))
except UserError as error:
    print(json.dumps(str(error)))
"""


def in_a_process(hub_environment):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | hub_environment
    command = [sys.executable, "-c", SLEEP_METER + LOCATE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert seconds_slept(done.stderr) < 1, "retries"
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "tiny"
    tiny_model("bert").save_pretrained(path)
    (path / "vocab.txt").write_text("[PAD]\n[CLS]\n")
    return path


def test_a_local_folder_is_used_directly(folder):
    assert pretrained.locate(str(folder)) == folder
    assert pretrained.read_config(str(folder), online=False).hidden_size == 32


@pytest.mark.parametrize("model", ["./no/such", "/no/such", "a/b/c", "~/no-such"])
def test_a_missing_folder_raises(model):
    with pytest.raises(UserError, match="no folder") as caught:
        pretrained.locate(model)
    assert model in str(caught.value)
    assert "local folder" in str(caught.value)


def test_a_folder_without_a_model_raises(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.json"):
        pretrained.read_config(str(tmp_path), online=False)
    (tmp_path / "config.json").write_text('{"model_type": "nonesuch"}')
    with pytest.raises(UserError, match="nonesuch"):
        pretrained.read_config(str(tmp_path), online=False)


@pytest.mark.parametrize("content", ["", "[]", "{broken", '{"hidden_size": 32}'])
def test_an_unreadable_config_raises(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="cannot be read") as caught:
        pretrained.config_in(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("config.json", {"AutoModel": "own.Model", "AutoConfig": "other/code--own.Config"}),
        ("tokenizer_config.json", {"AutoTokenizer": [None, "other/code--own.Tokenizer"]}),
        ("tokenizer_config.json", ["other/code--own.Tokenizer", None]),
    ],
)
def test_code_of_another_repository_is_refused(folder, name, classes):
    def stated(auto_map):
        content = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
        (folder / name).write_text(json.dumps({**content, "auto_map": auto_map}))

    stated(classes)
    for load in (pretrained.config_in, tokenizers.load):
        with pytest.raises(UserError, match=rf"{name} takes its code from 'other/code'.*delete `other/code--` from"):
            load(folder, trust_remote_code=True)
    assert pretrained.config_in(folder).hidden_size == 32, "the code is not run"
    stated({"AutoModel": "own.Model"})
    assert pretrained.config_in(folder, trust_remote_code=True).hidden_size == 32


def test_a_bert_config_without_model_type(folder):
    plain = heads.load(folder, TASK, seed=1)
    fields = json.loads((folder / "config.json").read_text())
    del fields["model_type"], fields["architectures"]
    (folder / "config.json").write_text(json.dumps(fields))
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in [*tokenizers.SPECIAL, "a", "film"]))
    model = heads.load(folder, TASK, seed=1)
    assert model.config.model_type == "bert"
    assert torch.equal(model.classifier.weight, plain.classifier.weight)
    assert tokenizers.load(folder)("a film")["input_ids"] == [2, 5, 6, 3]


def test_a_hub_id_is_downloaded_once(folder, tmp_path):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_text("large")
    (folder / "README.md").write_text("words")
    with serve({("model", "someone/tiny"): folder}) as hub:
        environment = hub.environment(tmp_path / "home")
        config, path, files = in_a_process(environment)
    assert config is None
    assert files == ["config.json", "model.safetensors", "vocab.txt"]
    assert in_a_process(environment) == ["bert", path, files]


def test_an_unreachable_hub_raises_without_retries(tmp_path):
    message = in_a_process({"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)})
    for word in ("someone/tiny", "http://127.0.0.1:9", "local folder"):
        assert word in message


def test_an_unknown_hub_id_raises(tmp_path):
    with serve({}) as hub:
        message = in_a_process(hub.environment(tmp_path))
    assert "someone/tiny" in message
    assert "no model of this id" in message


def test_a_repository_without_weights_raises(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    with serve({("model", "someone/tiny"): folder}) as hub:
        assert "model.safetensors" in in_a_process(hub.environment(tmp_path))


def test_fingerprint_depends_on_contents_only(folder, tmp_path):
    first = pretrained.fingerprint(folder)
    assert len(first) == 16
    assert int(first, 16) >= 0
    (folder / "README.md").write_text("words")
    torch.save({}, folder / "pytorch_model.bin")  # safetensors win, so this counts for nothing
    assert pretrained.fingerprint(folder) == first
    assert pretrained.fingerprint(shutil.copytree(folder, tmp_path / "copy")) == first


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt", "modeling_own.py"])
def test_every_checkpoint_file_changes_the_fingerprint(folder, name):
    first = pretrained.fingerprint(folder)
    with (folder / name).open("ab") as stream:
        stream.write(b" ")
    assert pretrained.fingerprint(folder) != first


def test_fingerprint_is_cached(folder, monkeypatch):
    first = pretrained.fingerprint(folder)
    monkeypatch.setattr(pretrained.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert pretrained.fingerprint(folder) == first


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2"])
def test_the_shape_of_every_family(family):
    actual = shape(tiny_model(family, layers=3, hidden=24, heads=2, ffn=40).config, "mine")
    assert str(actual) == "mine (3 layers, hidden 24, 2 heads, FFN 40)"
    assert actual.model_type == family


def test_shape_of_an_unsupported_model_raises():
    with pytest.raises(UserError, match="intermediate_size"):
        shape(AutoConfig.for_model("gpt2"), "mine")
