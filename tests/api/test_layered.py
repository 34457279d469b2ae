"""The order of a method's outputs."""

import torch

from harness.api.model_outputs import Layered, ModelOutputs


def test_layers_are_in_order_whatever_order_they_were_captured_in():
    outputs = ModelOutputs(hidden=Layered("hidden", {i: torch.zeros(1) for i in (3, 1, 2)}))
    names = {"hidden[3]", "hidden[1]"}
    assert list(outputs.hidden) == [1, 2, 3]
    assert list(outputs.only(names).hidden) == [1, 3]
    assert list(outputs.part(slice(0, 1)).hidden) == [1, 2, 3]
