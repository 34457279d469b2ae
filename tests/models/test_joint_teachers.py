"""Jointly trained teachers: encoders of any family, width and depth under one head."""

import copy

import pytest
import torch

from harness.api.method import layers
from harness.api.task import Task
from harness.models import joint_teachers
from harness.models.capture import Capture
from harness.testing import tiny_batch, tiny_model

KINDS = ["classification", "regression", "token_classification", "qa"]
FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert"]


def task(kind):
    labels = ("a", "b", "c") if kind in ("classification", "token_classification") else ()
    return Task("tiny", kind, lambda source: None, metrics=(), score="", labels=labels)


def models(kind, *families):
    """Models of different widths and depths."""
    return [
        tiny_model(family, kind=kind, layers=2 + i, hidden=32 - 16 * (i % 2), seed=i)
        for i, family in enumerate(families)
    ]


def inputs_of(batch):
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}


def tensors(model, batch, needs=("logits",)):
    with torch.no_grad():
        return Capture(model).run(inputs_of(batch), needs, answer_mask=batch.get("answer_mask"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_of_a_member_are_those_of_its_encoder(kind, family):
    members = joint_teachers.build(models(kind, "bert", family), task(kind), seed=3)
    batch = tiny_batch(kind, num_labels=3)
    shapes = {"classification": (4, 3), "regression": (4, 1), "token_classification": (4, 12, 3), "qa": (4, 2, 12)}
    for index, member in enumerate(members):
        plain = models(kind, "bert", family)[index].base_model.eval()
        accepted = {name: value for name, value in inputs_of(batch).items() if name in Capture(member).parts.inputs}
        states = plain(**accepted, output_hidden_states=True).hidden_states
        depth = 2 + index
        seen = tensors(member, batch, ["logits", *layers("hidden", range(1, depth + 1))])
        assert seen.logits.shape == shapes[kind]
        real = batch["attention_mask"].bool()
        for layer in range(1, depth + 1):
            torch.testing.assert_close(seen.hidden[layer][real], states[layer][real], atol=1e-5, rtol=1e-4)
        assert Capture(member).kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_shared_head_gets_gradients_from_all_members(kind):
    first, second = joint_teachers.build(models(kind, "bert", "bert"), task(kind), seed=3)
    assert first.head is second.head
    assert list(first.body.bridge.parameters()) == []
    assert second.body.bridge.weight.shape == (32, 16)
    batch = tiny_batch(kind, num_labels=3)
    gradients = []
    for chosen in ([first], [second], [first, second]):
        first.zero_grad()
        second.zero_grad()
        allowed = batch.get("answer_mask", torch.ones(1, dtype=torch.bool))
        outputs = [Capture(member).run(inputs_of(batch), ["logits"]).logits for member in chosen]
        sum((z.masked_fill(~allowed[:, None], 0) ** 2 if kind == "qa" else z**2).sum() for z in outputs).backward()
        gradients.append(first.head.output.weight.grad.clone())
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2])
    assert gradients[0].abs().sum() > 0
    assert gradients[1].abs().sum() > 0
    assert second.body.bridge.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_members_have_the_same_outputs(tmp_path, kind, family):
    members = joint_teachers.build(models(kind, "bert", family), task(kind), seed=3)
    joint_teachers.save(members, tmp_path)
    batch = tiny_batch(kind, num_labels=3)
    for index, member in enumerate(members):
        again = joint_teachers.load(tmp_path, index, task(kind))
        assert again.head is not member.head
        assert torch.equal(tensors(again, batch).logits, tensors(member, batch).logits)


def test_the_head_has_the_first_encoders_pooler_and_encoders_have_none():
    encoders = models("classification", "bert", "bert")
    pooler = copy.deepcopy(encoders[0].base_model.pooler.dense)
    members = joint_teachers.build(encoders, task("classification"), seed=3)
    assert torch.equal(members[0].head.pooler.weight, pooler.weight)
    assert torch.equal(members[0].head.pooler.bias, pooler.bias)
    assert all(member.base_model.pooler is None for member in members)


def test_new_weights_depend_on_the_seed_only():
    state = torch.get_rng_state()
    one, two, other = (
        joint_teachers.build(models("classification", "bert", "bert"), task("classification"), seed=seed)
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one[1].body.bridge.weight, two[1].body.bridge.weight)
    assert torch.equal(one[0].head.output.weight, two[0].head.output.weight)
    assert not torch.equal(one[0].head.output.weight, other[0].head.output.weight)
