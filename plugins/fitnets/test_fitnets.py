"""Terms of fitnets against loops over the formulas; what it freezes, and its moving weight."""

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import Needs, Stage, Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import reading
from tests.reference.formulas import cross_entropy, label_loss, mean, mse, project, softmax

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
METHOD = Host.create().methods["fitnets"]


def models(kind, **student):
    sizes = ({"layers": 3, "hidden": 16, "seed": 1, **student}, {"layers": 4, "hidden": 32, "seed": 2})
    return [tiny_model(kind=kind, **each).double() for each in sizes]


@pytest.mark.parametrize(("layers", "s", "t"), [({}, 2, 2), ({"guided_layer": 1, "hint_layer": 4}, 1, 4)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_hint_is_a_squared_error_over_real_tokens(kind, layers, s, t):
    (student, teacher), batch = models(kind), tiny_batch(kind)
    regressor = []

    class Watched(METHOD):
        def losses(self, step, *given):
            regressor[:] = step.modules["regressor"].weight.tolist()
            return super().losses(step, *given)

    (hint,) = loss_terms(Watched, student=student, teachers=[teacher], batch=batch, config=layers).values()
    pairs = zip(reading.read(student, batch), reading.read(teacher, batch), strict=True)
    expected = mean(mse(project(own.hidden[s], regressor), theirs.hidden[t]) for own, theirs in pairs)
    assert hint.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_stage_has_labels_and_soft_targets_without_a_factor(kind):
    (student, teacher), batch = models(kind), tiny_batch(kind)
    terms = loss_terms(METHOD, student=student, teachers=[teacher], batch=batch, stage="kd")
    own, theirs = reading.read(student, batch), reading.read(teacher, batch)

    def soft(a, b):
        return (a[0] - b[0]) ** 2 if kind == "regression" else cross_entropy(softmax(b, 3.0), softmax(a, 3.0))

    kd = mean(
        mean(soft(a, b) for a, b in zip(s.logits, t.logits, strict=True)) for s, t in zip(own, theirs, strict=True)
    )
    task = mean(
        mean(label_loss(kind, z, y) for z, y in zip(s.logits, labels, strict=True))
        for s, labels in zip(own, reading.labels(batch, kind), strict=True)
    )
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"kd": kd, "task": task}, rel=1e-9)


def bound(layers=6, **config):
    shapes = [ModelShape(name, count, 64, 4, 128) for name, count in (("small", layers), ("base", 12))]
    return METHOD(METHOD.Config(**config), task=TaskInfo("t", "qa", 2), student=shapes[0], teachers=shapes[1:], seed=1)


def test_the_weight_falls_linearly_over_the_stage():
    weights = [bound().weights(Step(Stage("kd", Needs()), index, 4, 0.0, 1.0, None, None))["kd"] for index in range(4)]
    assert weights == [4.0, 3.25, 2.5, 1.75]


def test_all_above_the_guided_layer_is_frozen_in_the_hint_stage():
    hint, kd = bound().stages()
    assert hint.frozen == {"layer[4]", "layer[5]", "layer[6]", "head"}
    assert kd.frozen == frozenset()
    assert bound(guided_layer=6).stages()[0].frozen == {"head"}


def test_only_the_lower_part_and_the_regressor_change_in_the_hint_stage(world):
    here = world(weight_decay=0.5)
    run = here.run("fitnets")
    before = {name: p.detach().clone() for name, p in run.student.named_parameters()}
    regressor = run.modules["regressor"].weight.detach().clone()
    list(here.cohort(run).train(stop=lambda: run.position == run.progress.lengths[0] - 1, checkpoint=lambda run: None))
    assert run.error is None
    changed = {name for name, p in run.student.named_parameters() if not torch.equal(p, before[name])}
    assert not torch.equal(run.modules["regressor"].weight, regressor)
    assert {name for name in changed if "layer.1." in name or "pooler" in name or "classifier" in name} == set()
    assert {name for name in changed if "layer.0." in name}
    assert {name for name in changed if "embeddings" in name}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"guided_layer": 4}, "guided_layer is 4, but student has 3 layers"),
        ({"hint_layer": 5}, "hint_layer is 5, but teacher 1 has 4 layers"),
    ],
)
def test_a_layer_that_a_model_does_not_have_is_an_error(config, words):
    student, teacher = models("classification")
    with pytest.raises(UserError, match=words):
        loss_terms(METHOD, student=student, teachers=[teacher], batch=tiny_batch("classification"), config=config)
