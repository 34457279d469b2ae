"""Checkpoints whose weights, config and tokenizer do not fit together are recognized without loading weights."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertForMaskedLM, BertModel

from harness.api.errors import UserError
from harness.api.task import Task
from harness.models import checkpoint_inspection, heads, masked_lm, tokenizers
from harness.testing import tiny_model

TASK = Task("t", "classification", load=lambda source: None, metrics=(), score="", labels=("no", "yes"))
FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "xlm-roberta", "convbert"]


@pytest.fixture
def folder(tmp_path):
    """A masked language model of three layers, with its tokenizer."""
    path = tmp_path / "model"
    save(path)
    return path


def save(path, cls=BertForMaskedLM):
    tokenizer = tokenizers.whole_word(["sun lamp fire"])
    sizes = {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    cls(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **sizes)).save_pretrained(path)
    tokenizer.save_pretrained(path)


def configure(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def change_weights(folder, change):
    path = folder / "model.safetensors"
    weights = load_file(path)
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


def problems(folder):
    return "\n".join(checkpoint_inspection.inspect(folder).problems)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("bare", [False, True])
def test_models_saved_by_transformers_have_no_problems(tmp_path, family, bare):
    tokenizer = tokenizers.whole_word(["sun lamp fire"])
    tokenizer.save_pretrained(tmp_path)
    model = tiny_model(family)
    (model.base_model if bare else model).save_pretrained(tmp_path)
    assert problems(tmp_path) == ""
    heads.load(tmp_path, TASK, seed=0)


def test_weights_in_shards_and_in_pytorch_files_are_read(folder, tmp_path):
    model = AutoModel.from_pretrained(folder)
    model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert problems(folder) == ""
    shards[1].unlink()
    assert f"lists {shards[1].name}, which is missing from the folder" in problems(folder)
    for file in folder.glob("model*"):
        file.unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert problems(folder) == ""


@pytest.mark.parametrize("cls", [BertForMaskedLM, BertModel])
def test_more_layers_in_the_weights_than_in_the_config(tmp_path, cls):
    save(tmp_path, cls)
    configure(tmp_path, num_hidden_layers=1)
    message = problems(tmp_path)
    for word in (str(tmp_path), "encoder.layer.1.", "num_hidden_layers is 1, and the weights have 3 layers"):
        assert word in message
    with pytest.raises(UserError, match="num_hidden_layers is 1, and the weights have 3 layers"):
        heads.load(tmp_path, TASK, seed=0)


def test_a_masked_language_model_with_more_layers_than_its_config(folder):
    configure(folder, num_hidden_layers=1)
    with pytest.raises(UserError, match="num_hidden_layers is 1, and the weights have 3 layers"):
        masked_lm.load(folder, torch.device("cpu"), remedy="")


def test_fewer_layers_in_the_weights_than_in_the_config(folder):
    configure(folder, num_hidden_layers=4)
    assert re.search(r"16 tensors of the encoder are missing, encoder\.layer\.3\..* and 13 more", problems(folder))
    with pytest.raises(UserError, match=r"missing.*encoder\.layer\.3\."):
        heads.load(folder, TASK, seed=0)


def test_an_unexpected_tensor_of_the_encoder(folder):
    change_weights(folder, lambda w: w.update({"bert.encoder.layer.0.adapter.weight": torch.zeros(2)}))
    assert "its model does not have 1 tensor of the encoder" in problems(folder)
    assert "bert.encoder.layer.0.adapter.weight" in problems(folder)
    with pytest.raises(UserError, match=r"layer\.0\.adapter\.weight"):
        heads.load(folder, TASK, seed=0)


def test_ignored_tensors_are_not_reported(folder):
    more = {
        "bert.embeddings.position_ids": torch.zeros(1, 24),
        "bert.pooler.dense.weight": torch.zeros(32, 32),
        "cls.seq_relationship.weight": torch.zeros(2, 32),
        "fit_denses.0.weight": torch.zeros(32, 32),
    }
    change_weights(folder, lambda w: w.update(more))
    assert problems(folder) == ""
    heads.load(folder, TASK, seed=0)


def test_names_from_tensorflow_are_renamed(folder):
    def rename(weights):
        for name in [name for name in weights if "LayerNorm" in name]:
            new = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            weights[new] = weights.pop(name)

    change_weights(folder, rename)
    assert problems(folder) == ""
    heads.load(folder, TASK, seed=0)


def test_another_size(folder):
    configure(folder, intermediate_size=96)
    assert "[64] in the file, [96] by config.json" in problems(folder)


def test_added_tokens_without_resized_embeddings(folder):
    tokenizer = tokenizers.load(folder)
    rows = len(tokenizer)
    tokenizer.add_tokens(["newword", "otherword", "thirdword"])
    tokenizer.save_pretrained(folder)
    message = problems(folder)
    assert f"the tokenizer has {rows + 3} tokens, and the embedding has {rows} rows" in message
    assert f"resize_token_embeddings({rows + 3})" in message


@pytest.mark.parametrize(
    ("missing", "message"),
    [("model.safetensors", "holds no weights"), ("tokenizer.json", "holds no tokenizer"), ("config.json", "config")],
)
def test_a_missing_file(folder, missing, message):
    (folder / missing).unlink()
    assert message in problems(folder)


@pytest.mark.parametrize("size", [0, 5, 100, -10])
def test_truncated_weights(folder, size):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:size])
    assert "model.safetensors cannot be read" in problems(folder)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads in config.json is 0"),
        ({"num_attention_heads": 5}, "cannot be split among 5 attention heads"),
        ({"num_hidden_layers": 0}, "num_hidden_layers in config.json is 0"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers in config.json is 1000000000"),
        ({"hidden_size": -32}, "hidden_size in config.json is -32"),
        ({"hidden_size": 10**12, "intermediate_size": 10**12}, "hidden_size in config.json is 1000000000000"),
        ({"vocab_size": 0}, "vocab_size in config.json is 0"),
        ({"intermediate_size": 10**30}, "intermediate_size in config.json is"),
        ({"hidden_act": "nonesuch"}, "nonesuch"),
        ({"max_position_embeddings": -3}, "config.json"),
        ({"type_vocab_size": -1}, "config.json"),
    ],
)
def test_degenerate_configs(folder, fields, message):
    configure(folder, **fields)
    assert message in problems(folder)


def test_inspection_is_cached_until_a_file_changes(folder, monkeypatch):
    first = checkpoint_inspection.inspect(folder)
    assert checkpoint_inspection.inspect(folder) is first
    configure(folder, num_hidden_layers=1)
    assert checkpoint_inspection.inspect(folder) != first
