"""Encoders under one head: each is a model like others, whatever its family, width and depth."""

import copy

import pytest
import torch

from harness.api.method import layers
from harness.api.task import Task
from harness.models import joint_teachers
from harness.models.capture import Capture
from harness.testing import tiny_batch, tiny_model

KINDS = ["classification", "regression", "qa"]
FAMILIES = ["bert", "roberta", "distilbert", "electra", "albert"]


def task(kind):
    labels = ("a", "b", "c") if kind == "classification" else ()
    return Task("tiny", kind, lambda source: None, metrics=(), score="", labels=labels)


def models(kind, *families):
    """Of other widths and depths."""
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
def test_a_member_gives_what_its_encoder_gives(kind, family):
    members = joint_teachers.build(models(kind, "bert", family), task(kind), seed=3)
    batch = tiny_batch(kind, num_labels=3)
    shapes = {"classification": (4, 3), "regression": (4, 1), "qa": (4, 2, 12)}
    for index, member in enumerate(members):
        plain = models(kind, "bert", family)[index].base_model.eval()
        accepted = {name: value for name, value in inputs_of(batch).items() if name in Capture(member)._parts.inputs}
        states = plain(**accepted, output_hidden_states=True).hidden_states
        depth = 2 + index
        seen = tensors(member, batch, ["logits", *layers("hidden", range(1, depth + 1))])
        assert seen.logits.shape == shapes[kind]
        real = batch["attention_mask"].bool()
        for layer in range(1, depth + 1):
            torch.testing.assert_close(seen.hidden[layer][real], states[layer][real], atol=1e-5, rtol=1e-4)
        assert Capture(member).kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_shared_and_learns_from_all(kind):
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
def test_kept_and_read_back_each_member_says_the_same(tmp_path, kind, family):
    members = joint_teachers.build(models(kind, "bert", family), task(kind), seed=3)
    joint_teachers.save(members, tmp_path)
    batch = tiny_batch(kind, num_labels=3)
    for index, member in enumerate(members):
        again = joint_teachers.load(tmp_path, index, task(kind))
        assert again.head is not member.head
        assert torch.equal(tensors(again, batch).logits, tensors(member, batch).logits)


def test_the_head_begins_with_the_first_ones_pooler_and_no_encoder_keeps_one():
    given = models("classification", "bert", "bert")
    pooler = copy.deepcopy(given[0].base_model.pooler.dense)
    members = joint_teachers.build(given, task("classification"), seed=3)
    assert torch.equal(members[0].head.pooler.weight, pooler.weight)
    assert torch.equal(members[0].head.pooler.bias, pooler.bias)
    assert all(member.base_model.pooler is None for member in members)


def test_what_is_new_depends_on_the_seed_alone():
    state = torch.get_rng_state()
    one, two, other = (
        joint_teachers.build(models("classification", "bert", "bert"), task("classification"), seed=seed)
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one[1].body.bridge.weight, two[1].body.bridge.weight)
    assert torch.equal(one[0].head.output.weight, two[0].head.output.weight)
    assert not torch.equal(one[0].head.output.weight, other[0].head.output.weight)
