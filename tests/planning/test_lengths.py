"""Errors, before any training, for a `max_length` that exceeds a model's maximum sequence length."""

import re

import pytest
import torch
import yaml
from transformers import BertConfig, BertForMaskedLM

from harness.api.errors import UserError
from harness.models import tokenizers


@pytest.fixture
def short(small):
    """Return the small suite with a teacher whose maximum sequence length is 24."""
    folder = small.folder / "short"
    tokenizer = tokenizers.whole_word(["sun lamp fire night cave coal tree road hand song"])
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    torch.manual_seed(0)
    BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    content = yaml.safe_load(small.path.read_text(encoding="utf-8"))
    content["teachers"] = {"base": {"model": "./short", "epochs": 1, "lr": 1e-3}}
    small.path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return small


def test_the_maximum_length_of_the_model_is_valid(short):
    assert len(short.plan("training.max_length=24").runs) == 6


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.max_length=25"], "training.max_length: it is 25, but base reads at most 24 tokens; lower it"),
        (["teachers.base.max_length=40"], "teachers.base.max_length: it is 40, but base reads at most 24 tokens"),
        (["training.max_length=25", "teachers.base.max_length=24"], "training.max_length: it is 25, but base reads"),
        (
            [
                "training.max_length=25",
                "teachers.base={architecture: {layers: 2, hidden: 32, heads: 2, ffn: 64}}",
                "students={own: {layers: 2, init: ./short}}",
                "methods=[finetune]",
            ],
            "training.max_length: it is 25, but own reads at most 24 tokens",
        ),
    ],
)
def test_a_longer_max_length_raises_an_error(short, overrides, message):
    with pytest.raises(UserError, match=re.escape(message)):
        short.plan(*overrides)


def test_a_teacher_from_scratch_has_positions_for_its_max_length(small):
    assert small.plan("training.max_length=600").runs
    with pytest.raises(UserError, match=r"training\.max_length: it is 600, but base reads at most 512 tokens"):
        small.plan("training.max_length=600", "teachers.base.max_length=16")
