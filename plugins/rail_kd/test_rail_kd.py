"""Terms of rail_kd against loops over the formulas, and its draws."""

import math

import pytest

from harness.api.errors import UserError
from harness.api.method import Needs, Stage, Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import reading
from tests.reference.formulas import dot, kl, label_loss, mean, softmax, unit

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
METHOD = Host.create().methods["rail_kd"]


def models(kind, **student):
    sizes = ({"layers": 3, "hidden": 16, "seed": 1, **student}, {"layers": 6, "hidden": 32, "seed": 2})
    return [tiny_model(kind=kind, **each).double() for each in sizes]


def bound(seed=1, student=4, teacher=12, **config):
    shapes = [ModelShape(name, count, 64, 4, 128) for name, count in (("small", student), ("base", teacher))]
    return METHOD(
        METHOD.Config(**config), task=TaskInfo("t", "qa", 2), student=shapes[0], teachers=shapes[1:], seed=seed
    )


def at(index, epoch):
    return Step(Stage("distill", Needs()), index, 100, epoch, 10.0, None, None)


def average(tokens):
    return [mean(column) for column in zip(*tokens, strict=True)]


@pytest.mark.parametrize("mode", ["layerwise", "concat"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_the_formulas(kind, mode):
    (student, teacher), batch, seen = models(kind), tiny_batch(kind), {}

    class Watched(METHOD):
        def losses(self, step, *given):
            seen["maps"] = {name: module.weight.tolist() for name, module in step.modules.items()}
            seen["drawn"] = self.drawn(step)
            return super().losses(step, *given)

    config = {"mode": mode, "width": 5}
    terms = loss_terms(Watched, student=student, teachers=[teacher], batch=batch, config=config, index=3, steps=4)
    own, theirs = reading.read(student, batch), reading.read(teacher, batch)

    def vectors(s, t):
        pairs = [
            (average(s.hidden[m]), average(t.hidden[g]), f"_{m}") for m, g in zip((1, 2), seen["drawn"], strict=True)
        ]
        if mode == "layerwise":
            return pairs
        return [([x for a, _, _ in pairs for x in a], [x for _, b, _ in pairs for x in b], "")]

    def rail(s, t):
        total = 0.0
        for a, b, suffix in vectors(s, t):
            projected = [
                unit([dot(v, row) for row in seen["maps"][side + suffix]])
                for side, v in (("student", a), ("teacher", b))
            ]
            total += math.fsum((x - y) ** 2 for x, y in zip(*projected, strict=True))
        return total

    def soft(a, b):
        return (a[0] - b[0]) ** 2 if kind == "regression" else 100 * kl(softmax(b, 10.0), softmax(a, 10.0))

    pairs = list(zip(own, theirs, strict=True))
    expected = {
        "rail": mean(rail(s, t) for s, t in pairs),
        "kd": mean(mean(soft(a, b) for a, b in zip(s.logits, t.logits, strict=True)) for s, t in pairs),
        "task": mean(
            mean(label_loss(kind, z, y) for z, y in zip(s.logits, labels, strict=True))
            for s, labels in zip(own, reading.labels(batch, kind), strict=True)
        ),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)


def test_the_draw_changes_with_the_epoch_and_depends_on_the_seed():
    draws = [tuple(bound().drawn(at(0, epoch))) for epoch in range(40)]
    assert len(set(draws)) > 10
    assert {layer for draw in draws for layer in draw} == set(range(1, 12))
    assert all(list(draw) == sorted(set(draw)) and len(draw) == 3 for draw in draws)
    assert bound().drawn(at(5, 3.2)) == bound().drawn(at(7, 3.9)) == list(draws[3])
    assert draws != [tuple(bound(seed=2).drawn(at(0, epoch))) for epoch in range(40)]


def test_the_draw_can_change_within_an_epoch_and_include_the_last_layer():
    draws = [tuple(bound(draw_every=2).drawn(at(index, 0.0))) for index in range(60)]
    assert all(draws[index] == draws[index + 1] for index in range(0, 60, 2))
    assert len(set(draws)) > 10
    assert any(12 in bound(include_last=True).drawn(at(0, epoch)) for epoch in range(20))


def test_a_step_reads_the_drawn_layers_only():
    method = bound()
    (stage,) = method.stages()
    step = Step(stage, 0, 10, 4.0, 10.0, None, None)
    (names,) = method.needs(step).teachers
    assert names == {"logits", *(f"hidden[{layer}]" for layer in method.drawn(step))}
    assert names < stage.needs.teachers[0]
    assert stage.needs.teachers[0] == {"logits", *(f"hidden[{layer}]" for layer in range(1, 12))}


def test_equal_models_are_at_distance_zero():
    model, batch = tiny_model(layers=3).double(), tiny_batch("classification")
    assert loss_terms(METHOD, student=model, teachers=[model], batch=batch)["rail"].item() < 1e-20


@pytest.mark.parametrize(
    ("sizes", "config", "words"),
    [
        ({"layers": 1}, {}, "two or more: student has 1 layer, teacher 1 has 6"),
        ({"layers": 7}, {}, "student has 7 layers, teacher 1 has 6"),
    ],
)
def test_depths_that_do_not_fit_are_errors(sizes, config, words):
    student, teacher = models("classification", **sizes)
    with pytest.raises(UserError, match=words):
        loss_terms(METHOD, student=student, teachers=[teacher], batch=tiny_batch("classification"), config=config)


def test_weights_sum_to_one():
    assert bound(kd_weight=0.5, rail_weight=0.2).weights(at(0, 0)) == pytest.approx(
        {"task": 0.3, "kd": 0.5, "rail": 0.2}
    )
    with pytest.raises(ValueError, match=r"kd_weight is 0\.8 and rail_weight 0\.3; their sum"):
        METHOD.Config(kd_weight=0.8, rail_weight=0.3)
