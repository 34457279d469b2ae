"""Groups of parameters: each parameter is in one group, and layers are those of the encoder."""

import pytest
import torch

from harness.models.capture import Capture
from harness.models.parameter_groups import ParameterGroups, missing_layers
from harness.testing import tiny_model

FAMILIES = ["bert", "distilbert", "deberta-v2", "modernbert", "electra", "roberta"]


def groups_of(model, modules=None):
    return ParameterGroups(model, Capture(model).parts, modules or torch.nn.ModuleDict())


def group_of(model, groups):
    """The group of each parameter, by name: those whose factor is not 1 if only this group has one."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in ("embeddings", "layer[1]", "layer[2]", "head"):
        for parameter in groups.factors({group: 0.5}):
            assert names[parameter] not in found, f"{names[parameter]} is in two groups"
            found[names[parameter]] = group
    return found


@pytest.mark.parametrize("kind", ["classification", "qa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_is_in_one_group(family, kind):
    model = tiny_model(family, kind=kind, layers=2)
    found = group_of(model, groups_of(model))
    assert found.keys() == {name for name, _ in model.named_parameters()}
    encoder = model.base_model_prefix
    for name, group in found.items():
        if not name.startswith(encoder) or "pooler" in name or "final_norm" in name:
            assert group == "head", name
        elif "word_embeddings" in name or "tok_embeddings" in name:
            assert group == "embeddings", name
        elif any(f".{part}.0." in name for part in ("layer", "layers")):
            assert group == "layer[1]", name
        elif any(f".{part}.1." in name for part in ("layer", "layers")):
            assert group == "layer[2]", name


def test_a_shared_layer_has_the_largest_factor_of_its_groups():
    model = tiny_model("albert", layers=2)
    groups = groups_of(model)
    (layer,) = {id(module): module for module in Capture(model).parts.layers}.values()
    weight = next(layer.parameters())
    assert groups.factors({"layer[1]": 0.0, "layer[2]": 0.5})[weight] == 0.5
    assert weight not in groups.factors({"layer[1]": 0.0})
    assert id(weight) in map(id, groups.frozen({"layer[1]", "layer[2]"}))
    assert groups.frozen({"layer[1]"}) == []


def test_tied_word_embeddings_are_in_the_head_too():
    model = tiny_model(kind="text")
    groups, words = groups_of(model), model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is words
    assert id(words) not in map(id, groups.frozen({"embeddings"}))
    assert id(words) in map(id, groups.frozen({"embeddings", "head"}))


def test_one_module_has_its_own_factor():
    modules = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    factors = groups_of(tiny_model(), modules).factors({"modules": 0.5, "modules.b": 1.0})
    assert set(factors) == set(modules["a"].parameters())
    assert set(factors.values()) == {0.5}


def test_layers_that_do_not_exist():
    assert missing_layers({"layer[0]", "layer[2]", "layer[3]", "layer[x]", "head", "player[9]"}, 2) == [
        "layer[0]",
        "layer[3]",
        "layer[x]",
    ]
