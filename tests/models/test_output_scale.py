"""Models of tasks with standardized labels: standard deviations in memory, the unit of the labels on disk."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from harness.api.errors import UserError
from harness.api.task import LabelScale, Task
from harness.models import heads
from harness.models.output_scale import in_label_unit, logits_of_a_few_tokens, output_layer
from harness.testing import tiny_model

FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert", "funnel"]
SCALE = LabelScale(mean=1150.0, deviation=720.0)
PLAIN = Task("price", "regression", lambda source: None, metrics=(), score="")
PRICE = replace(PLAIN, standardize=True, label_scale=SCALE)


def saved(folder, family="bert"):
    """A checkpoint whose head has a bias, with the outputs of plain transformers."""
    model = tiny_model(family, kind="regression", seed=5).eval()
    torch.nn.init.constant_(output_layer(model, "price").bias, 0.25)
    model.save_pretrained(folder)
    return logits_of_a_few_tokens(AutoModelForSequenceClassification.from_pretrained(folder).eval())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_on_disk_is_in_the_unit_of_the_labels_and_standardized_in_memory(tmp_path, family):
    plain = saved(tmp_path / "before", family)
    assert torch.equal(logits_of_a_few_tokens(heads.load(tmp_path / "before", PLAIN, seed=0)), plain)
    model = heads.load(tmp_path / "before", PRICE, seed=0)
    standardized = logits_of_a_few_tokens(model)
    torch.testing.assert_close(standardized, (plain - 1150) / 720)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with in_label_unit(model, SCALE):
        model.save_pretrained(tmp_path / "after")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    after = AutoModelForSequenceClassification.from_pretrained(tmp_path / "after").eval()
    torch.testing.assert_close(logits_of_a_few_tokens(after), plain, rtol=1e-3, atol=1e-3)


def test_a_new_head_is_standardized_from_the_start(tmp_path):
    saved(tmp_path)
    classifier = tiny_model(kind="classification", num_labels=3)
    classifier.save_pretrained(tmp_path)
    new = [logits_of_a_few_tokens(heads.load(tmp_path, task, seed=0)) for task in (PLAIN, PRICE)]
    assert torch.equal(*new)


def test_equal_labels_are_shifted_only():
    model = tiny_model(kind="regression").eval()
    before = logits_of_a_few_tokens(model)
    with in_label_unit(model, LabelScale(7.0, 0.0)):
        torch.testing.assert_close(logits_of_a_few_tokens(model), before + 7)


@pytest.mark.parametrize("change", ["no bias", "not linear"])
def test_a_head_that_cannot_be_rescaled_is_an_error(change):
    class Squared(torch.nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) ** 2

    model = tiny_model(kind="regression").eval()
    if change == "no bias":
        model.classifier.bias = None
    else:
        model.classifier.__class__ = Squared
    with pytest.raises(UserError, match=r"task 'price' has standardized labels, and the head of BertFor.*; remove"):
        output_layer(model, "price")
