"""Models that a method runs again: patched states, replaced layers, other parameters, second derivatives."""

import pytest
import torch

from harness.api.batch import Batch
from harness.api.errors import UserError
from harness.models.capture import Capture
from harness.models.live_model import AverageModel, StudentModel, TeacherModel
from harness.testing import tiny_batch, tiny_model
from tests.support.encoder_families import SETTINGS, tiny_encoder

FAMILIES = [family for family in SETTINGS if family != "Funnel"]
"""Funnel is not a sequence of layers."""


def live(model, kind="classification", *, twice=True):
    batch = Batch.from_mapping(tiny_batch(kind, token_type_ids=False))
    return StudentModel(Capture(model), batch, live=twice), batch


def encoder(family, layers=3):
    return live(tiny_encoder(family, layers=layers).eval())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_patch_takes_the_place_of_an_output(family):
    model, batch = encoder(family)
    mask = batch.mask.unsqueeze(-1)
    plain = model.run(["logits", "embeddings", "hidden[1]", "hidden[3]"])
    same = model.run(
        ["logits"], patches={"embeddings": torch.clone, "hidden[2]": torch.clone, "hidden[3]": torch.clone}
    )
    torch.testing.assert_close(same.logits, plain.logits)
    # From hidden[1] on, the rest of the network does not depend on what was before it.
    moved = {"embeddings": torch.zeros_like, "hidden[1]": lambda states: plain.hidden[1]}
    patched = model.run(["logits", "embeddings", "hidden[1]", "hidden[3]"], patches=moved)
    assert not patched.embeddings.any()
    assert patched.hidden[1] is plain.hidden[1]
    torch.testing.assert_close(patched.hidden[3] * mask, plain.hidden[3] * mask, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(patched.logits, plain.logits, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model.run(["logits"], patches={"hidden[3]": torch.zeros_like}).logits, plain.logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_embeddings_can_be_differentiated_again(family):
    model, _ = encoder(family)
    outputs = model.run(["logits", "embeddings"])
    (gradient,) = torch.autograd.grad(outputs.logits[:, 0].sum(), outputs.embeddings, create_graph=True)
    assert gradient.shape == outputs.embeddings.shape
    assert gradient.any()
    gradient.pow(2).sum().backward()
    gradients = [p.grad for p in model.parameters.values() if p.grad is not None]
    assert any(g.any() for g in gradients)
    assert all(g.isfinite().all() for g in gradients)


def test_the_second_derivative_is_that_of_finite_differences():
    model, _ = live(tiny_model("bert", layers=2).double().eval())
    states = model.run(["embeddings"]).embeddings.detach()

    def gradient(embeddings):
        embeddings = embeddings.clone().requires_grad_()
        logits = model.run(["logits"], patches={"embeddings": lambda _: embeddings}).logits
        return torch.autograd.grad(logits[:, 0].sum(), embeddings, create_graph=True)[0], embeddings

    direction = torch.randn(states.shape, generator=torch.Generator().manual_seed(0)).double()
    first, embeddings = gradient(states)
    (product,) = torch.autograd.grad(first, embeddings, direction)
    numeric = (gradient(states + 1e-5 * direction)[0] - gradient(states - 1e-5 * direction)[0]).detach() / 2e-5
    torch.testing.assert_close(product, numeric, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_are_functions_that_can_take_the_place_of_layers(family):
    model, batch = encoder(family)
    mask = batch.mask.unsqueeze(-1)
    plain = model.run(["logits", "embeddings", "hidden[1]", "hidden[2]"])
    layers = model.layers
    assert sorted(layers) == [1, 2, 3]
    torch.testing.assert_close(layers[2](plain.hidden[1]) * mask, plain.hidden[2] * mask, atol=1e-5, rtol=1e-4)
    seen = []

    def third(states):
        seen.append(states)
        return layers[3](states)

    mixed = model.run(["logits", "hidden[2]"], layers={1: layers[1], 3: third})
    torch.testing.assert_close(mixed.logits, plain.logits, atol=1e-5, rtol=1e-4)
    assert torch.equal(seen[0], mixed.hidden[2])
    inner = [module for module in model._capture.model.modules() if "forward" in module.__dict__]
    assert not inner, "the layers have their own functions again"


def test_a_layer_of_another_model_joins_the_network():
    student, batch = live(tiny_model("bert", layers=1).eval())
    teacher = TeacherModel(Capture(tiny_model("bert", layers=4, seed=7).eval().requires_grad_(False)), batch, live=True)
    above = [teacher.layers[i] for i in (1, 2, 3, 4)]

    def block(states):
        for layer in above:
            states = layer(states)
        return states

    states = student.run(["embeddings"]).embeddings
    mixed = student.run(["logits", "embeddings", "hidden[1]"], layers={1: block})
    torch.testing.assert_close(mixed.hidden[1], block(states))
    mixed.logits.sum().backward()
    gradients = {name for name, p in student.parameters.items() if p.grad is not None and p.grad.any()}
    assert "bert.embeddings.word_embeddings.weight" in gradients, "gradients flow through the frozen teacher"
    assert not any("encoder.layer" in name for name in gradients), "the replaced layer was not computed"


def test_other_parameters_are_used_for_one_pass():
    model, _ = live(tiny_model("bert").eval())
    before = model.run(["logits"]).logits
    other = {name: tensor.detach() * 2 for name, tensor in model.parameters.items() if "classifier" in name}
    torch.testing.assert_close(model.run(["logits"], parameters=other).logits, before * 2)
    torch.testing.assert_close(model.run(["logits"]).logits, before)
    with pytest.raises(UserError, match=r"no parameter 'classifier\.weights'.*classifier\.weight"):
        model.run(["logits"], parameters={"classifier.weights": before})


def test_an_average_runs_in_eval_mode_without_gradients():
    network = tiny_model("bert", settings={"hidden_dropout_prob": 0.5}).train()
    weights = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    weights["classifier.bias"] += 3
    average = AverageModel(Capture(network), Batch.from_mapping(tiny_batch("classification")), weights)
    logits = average.run(["logits"]).logits
    assert (logits == 3).all()
    assert not logits.requires_grad
    assert average.parameters is weights
    assert all(module.training for module in network.modules())


def test_a_teacher_gives_copies_of_its_weights():
    model = tiny_model("bert")
    teacher = TeacherModel(Capture(model), Batch.from_mapping(tiny_batch("classification")), live=True)
    teacher.parameters["classifier.bias"].fill_(9)
    assert not (model.classifier.bias == 9).any()


def test_the_pass_of_a_stage_that_is_not_live_is_the_plain_one():
    network = tiny_model("bert").eval()
    model, batch = live(network, twice=False)
    outputs = model.run(["logits", "hidden[1]"])
    assert torch.equal(outputs.logits, Capture(network).run(batch.inputs, ["logits"]).logits)


def test_another_batch():
    model, batch = live(tiny_model("bert").eval())
    torch.testing.assert_close(model.run(["logits"], batch.part(slice(1, 2))).logits, model.run(["logits"]).logits[1:2])


def test_mistakes_have_clear_messages():
    model, _ = live(tiny_model("bert", layers=2))
    with pytest.raises(UserError, match=r"hidden\[3\] is requested, but the model has 2 layers"):
        model.run(["logits"], patches={"hidden[3]": torch.clone})
    with pytest.raises(UserError, match=r"hidden\[0\] is requested"):
        model.run(["logits"], layers={0: torch.clone})
    with pytest.raises(UserError, match=r"queries\[1\] cannot be patched"):
        model.run(["logits"], patches={"queries[1]": torch.clone})
    with pytest.raises(ValueError, match=r"the patch of hidden\[1\] returned shape \(4, 32\); expected \(4, 12, 32\)"):
        model.run(["logits"], patches={"hidden[1]": lambda states: states[:, 0]})
    with pytest.raises(ValueError, match=r"in place of layer 2 returned shape"):
        model.run(["logits"], layers={2: lambda states: states[:, 0]})
    funnel, _ = live(tiny_encoder("Funnel"))
    with pytest.raises(UserError, match="cannot be captured"):
        funnel.layers  # noqa: B018
