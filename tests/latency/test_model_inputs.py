import pytest
import torch

from harness.api.errors import UserError
from harness.latency import model_inputs


def test_a_batch_has_its_shape_and_no_padding(make):
    batch = model_inputs.batch([make("bert"), make("roberta"), make("distilbert")], 4, 9)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (4, 9)
    assert batch["input_ids"].dtype == batch["attention_mask"].dtype == torch.int64
    assert batch["attention_mask"].all()
    assert not torch.isin(batch["input_ids"], torch.tensor([0, 1])).any(), "padding tokens of the models"
    assert batch["input_ids"].max() < 50, "the smallest vocabulary"
    assert batch["input_ids"].unique().numel() > 10


def test_batches_are_the_same_each_time(make):
    assert torch.equal(*(model_inputs.batch([make()], 3, 8)["input_ids"] for _ in range(2)))


def test_padding_grows_row_by_row(make):
    mask = model_inputs.batch([make()], 4, 8, padded=True)["attention_mask"]
    assert mask.sum(1).tolist() == [8, 6, 4, 2]
    assert torch.equal(mask, mask.sort(dim=1, descending=True).values), "padding is at the end"
    assert model_inputs.batch([make()], 5, 1, padded=True)["attention_mask"].sum(1).tolist() == [1] * 5


@pytest.mark.parametrize(("family", "limit"), [("bert", 64), ("roberta", 64), ("distilbert", 32)])
def test_lengths_are_limited_by_the_positions_of_the_model(make, family, limit):
    model = make(family)
    model_inputs.check_lengths(["m"], [model.config], [limit])
    with pytest.raises(UserError, match=f"m supports at most {limit} tokens, found {limit + 1}"):
        model_inputs.check_lengths(["m"], [model.config], [limit + 1])
    with torch.no_grad():
        model(**model_inputs.batch([model], 1, limit))
        with pytest.raises((IndexError, RuntimeError)):
            model(**model_inputs.batch([model], 1, limit + 1))


def test_the_model_with_too_few_positions_is_named(make):
    model_inputs.check_lengths(["a"], [make().config], [8, 64])
    with pytest.raises(UserError, match="b supports at most 32 tokens, found 64"):
        model_inputs.check_lengths(["a", "b"], [make().config, make("distilbert").config], [8, 64])
