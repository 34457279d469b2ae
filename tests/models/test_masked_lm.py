"""Masked language models: logits at one position of each sequence, and folders without such a model."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification

from harness.api.errors import UserError
from harness.models import masked_lm, tokenizers
from harness.models.initialization import seeded

CPU = torch.device("cpu")
TEXTS = ["red green blue cat", "a dog", "tree house runs sleeps falls sings new old"]
NUMBERS = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


def saved(folder, model_type="bert", auto=AutoModelForMaskedLM):
    tokenizer = tokenizers.whole_word(TEXTS)
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), max_position_embeddings=40, pad_token_id=0)
    for name, number in NUMBERS.items():
        setattr(config, name, number)
    config.embedding_size = 16
    with seeded(1):
        auto.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert", "electra", "albert"])
def test_logits_at_a_position_equal_those_of_the_full_model(tmp_path, model_type):
    model = masked_lm.load(saved(tmp_path, model_type), CPU, remedy="")
    model.batch_size = 2
    sequences = [ids for text in TEXTS for ids in model.tokenizer([text])["input_ids"]]
    places, seen = [2, 1, 5], []
    for numbers, logits in model.predict(sequences, places):
        assert logits.shape == (len(numbers), len(model.tokenizer))
        for number, row in zip(numbers, logits, strict=True):
            whole = model.model(torch.tensor([sequences[number]])).logits[0, places[number]]
            torch.testing.assert_close(row, whole, rtol=1e-4, atol=1e-5)
        seen += numbers
    assert sorted(seen) == [0, 1, 2]
    assert not model.model.training
    assert not model.model.get_output_embeddings()._forward_pre_hooks


def test_an_untrained_output_layer_raises_with_the_remedy(tmp_path):
    folder = saved(tmp_path, auto=AutoModelForSequenceClassification)
    with pytest.raises(
        UserError, match=r"no trained masked language model: .* 'cls\.predictions.*; take another"
    ) as caught:
        masked_lm.load(folder, CPU, remedy="take another")
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_weights_raises(tmp_path):
    (saved(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot load a masked language model"):
        masked_lm.load(tmp_path, CPU, remedy="")


def test_a_tokenizer_without_a_mask_token_raises(tmp_path):
    saved(tmp_path)
    tokenizer = tokenizers.whole_word(TEXTS)
    tokenizer.mask_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no mask token"):
        masked_lm.load(tmp_path, CPU, remedy="")
