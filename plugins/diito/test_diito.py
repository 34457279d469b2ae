"""Terms of diito against a forward pass by hand, in float64, with the draws that the method made."""

import math

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.support.manual_forward import ManualBert

DIITO = Host.create().methods["diito"]


class Recording(DIITO):
    """Remembers its draws."""

    def _draw_swap(self, batch, generator):
        Recording.swap = super()._draw_swap(batch, generator)
        return Recording.swap

    def _patched_teacher(self, step, layer, swap):
        Recording.layer = layer
        return super()._patched_teacher(step, layer, swap)


def models(kind="classification"):
    sizes = {"kind": kind, "num_labels": 1 if kind == "regression" else 3}
    return tiny_model(layers=2, seed=1, **sizes).double(), tiny_model(layers=4, seed=2, **sizes).double()


def terms(kind="classification", seed=0, **config):
    student, teacher = models(kind)
    batch = tiny_batch(kind, num_labels=3, seed=4)
    got = loss_terms(Recording, student=student, teachers=[teacher], batch=batch, config=config, seed=seed)
    return got, batch


def swapped(model, batch, i, layers):
    """The last states of example i, with the source's states put in after each of `layers`."""
    swap = Recording.swap
    source = model.states(model.embeddings(batch, int(swap.sources[i])))
    states = model.embeddings(batch, i)
    for number, layer in enumerate(model.layers, start=1):
        states = layer(states)
        if number in layers:
            tokens = list(states[0])
            for position, chosen in enumerate(swap.chosen[i].tolist()):
                if chosen:
                    tokens[position] = source[number][0][int(swap.origin[i][position])]
            states = torch.stack(tokens).unsqueeze(0)
    return states


def soft_target(own, theirs, temperature):
    p, q = ([math.exp(z / temperature) for z in logits] for logits in (theirs, own))
    p, q = ([x / sum(values) for x in values] for values in (p, q))
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize(
    "config", [{}, {"positions": "span"}, {"pairing": "roll"}, {"alignment": "middle", "share": 0.6}]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_terms_with_swapped_states(config, seed):
    got, batch = terms(seed=seed, temperature=3.0, **config)
    student, teacher = map(ManualBert, models())
    layer = Recording.layer
    causal = plain = 0.0
    for i in range(4):
        block = [2 * layer - 1, 2 * layer]
        own, theirs = (
            model.logits(swapped(model, batch, i, layers)).tolist()
            for model, layers in ((student, [layer]), (teacher, block))
        )
        causal += soft_target(own, theirs, 3.0) / 4
        own, theirs = (model.logits_of(model.embeddings(batch, i)).tolist() for model in (student, teacher))
        plain += soft_target(own, theirs, 3.0) / 4
    assert set(got) == {"task", "kd", "causal_kd"}
    assert got["causal_kd"].item() == pytest.approx(causal, rel=1e-9)
    assert got["kd"].item() == pytest.approx(plain, rel=1e-9)


def test_swapped_states_change_the_outputs():
    changed = 0
    for seed in range(5):
        got, _ = terms(seed=seed, share=0.5)
        changed += got["causal_kd"].item() != pytest.approx(got["kd"].item(), rel=1e-6)
    assert changed >= 3


def test_cosines_of_the_last_states_with_and_without_swaps():
    got, batch = terms(cos_weight=1, causal_cos_weight=1)
    student, teacher = map(ManualBert, models())
    cos = causal = 0.0
    for i in range(4):
        own, theirs = (model.states(model.embeddings(batch, i))[-1][0] for model in (student, teacher))
        cos += mean_distance(own, theirs) / 4
        layer = Recording.layer
        own, theirs = swapped(student, batch, i, [layer])[0], swapped(teacher, batch, i, [2 * layer - 1, 2 * layer])[0]
        causal += mean_distance(own, theirs) / 4
    assert got["cos"].item() == pytest.approx(cos, rel=1e-9)
    assert got["causal_cos"].item() == pytest.approx(causal, rel=1e-9)


def mean_distance(own, theirs):
    distances = []
    for a, b in zip(own.tolist(), theirs.tolist(), strict=True):
        lengths = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
        distances.append(1 - sum(x * y for x, y in zip(a, b, strict=True)) / lengths)
    return sum(distances) / len(distances)


@pytest.mark.parametrize("positions", ["scattered", "span"])
def test_draws_are_real_tokens_of_both_examples(positions):
    seen = set()
    for seed in range(20):
        _, batch = terms(seed=seed, positions=positions)
        swap, lengths = Recording.swap, batch["attention_mask"].sum(-1).tolist()
        seen.add(tuple(swap.sources.tolist()))
        assert sorted(swap.sources.tolist()) == [0, 1, 2, 3]
        for i, source in enumerate(swap.sources.tolist()):
            places = swap.chosen[i].nonzero().flatten().tolist()
            origins = swap.origin[i][swap.chosen[i]].tolist()
            assert len(places) == math.floor(0.3 * min(lengths[i], lengths[source]))
            assert len(set(origins)) == len(places)
            assert max(places) < lengths[i]
            assert max(origins) < lengths[source]
            if positions == "span":
                assert places == list(range(places[0], places[0] + len(places)))
                assert origins == list(range(origins[0], origins[0] + len(origins)))
    assert len(seen) > 5


def test_gradients_run_through_the_source_unless_it_is_detached():
    """With all tokens swapped after the last layer, a detached source leaves no gradient for the layers."""
    gradients = {}
    for detach in (False, True):
        student, teacher = models()
        config = {"share": 1.0, "alignment": "late", "detach_source": detach, "pairing": "roll"}
        batch = {name: tensor[:1] for name, tensor in tiny_batch("classification", num_labels=3).items()}
        got = loss_terms("diito", student=student, teachers=[teacher], batch=batch, config=config)
        got["causal_kd"].backward()
        weight = student.bert.encoder.layer[0].output.dense.weight
        gradients[detach] = bool(weight.grad is not None and weight.grad.any())
    assert gradients == {False: True, True: False}


@pytest.mark.parametrize("kind", ["regression", "multilabel", "token_classification"])
def test_every_kind_of_task_has_swaps(kind):
    got, _ = terms(kind)
    assert set(got) == {"task", "kd", "causal_kd"}
    assert all(term.isfinite() for term in got.values())


def bound(kind="classification", **config):
    student, teacher = (ModelShape(name, layers, 16, 2, 32) for name, layers in (("small", 3), ("base", 12)))
    return DIITO(DIITO.Config(**config), task=TaskInfo("t", kind, 2), student=student, teachers=[teacher], seed=1)


def test_questions_have_no_swaps():
    got, _ = terms("qa")
    assert set(got) == {"task", "kd"}
    (stage,) = bound("qa").stages()
    assert not stage.live
    assert not stage.batch_dependent
    assert bound("qa").notes() == {"causal_kd": "off for QA"}
    assert "causal_kd" not in bound("qa").weights(None)


def test_alignments_and_weights():
    aligned = {name: bound(alignment=name).notes()["blocks"] for name in ("full", "middle", "late")}
    assert aligned["full"] == {"1": [1, 2, 3, 4], "2": [5, 6, 7, 8], "3": [9, 10, 11, 12]}
    assert aligned["middle"] == {"2": [5, 6, 7, 8]}
    assert aligned["late"] == {"3": [9, 10, 11, 12]}
    weights = {name: weight for name, weight in bound().weights(None).items() if weight}
    assert weights == pytest.approx({"task": 0.3, "kd": 0.7, "causal_kd": 1})


def test_errors_for_models_name_both_numbers():
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match="divide the teacher's: student has 3 layers, teacher 1 has 4"):
        loss_terms("diito", student=tiny_model(layers=3), teachers=[tiny_model(layers=4)], batch=batch)
    with pytest.raises(UserError, match="equal widths: student has 16, teacher 1 has 32"):
        loss_terms(
            "diito", student=tiny_model(hidden=16), teachers=[tiny_model()], batch=batch, config={"cos_weight": 1}
        )
