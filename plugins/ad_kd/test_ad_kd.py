"""Terms of ad_kd against loops in float64 over examples, classes, tokens and features."""

import math

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.support.manual_forward import ManualBert

CLASSES = {"classification": 3, "regression": 1, "multilabel": 3}


def models(kind):
    sizes = {"kind": kind, "num_labels": CLASSES[kind]}
    student = tiny_model(layers=2, hidden=16, seed=1, **sizes).double()
    return student, tiny_model(layers=3, seed=2, **sizes).double()


def terms(kind, **config):
    student, teacher = models(kind)
    batch = tiny_batch(kind, num_labels=CLASSES[kind], seed=4)
    return loss_terms("ad_kd", student=student, teachers=[teacher], batch=batch, config=config), batch


def negative_log_probability(kind, logits, c):
    if kind == "regression":
        return logits[c]
    if kind == "multilabel":
        return torch.log(1 + torch.exp(-logits[c]))
    return -torch.log(torch.exp(logits[c]) / sum(torch.exp(z) for z in logits))


def values(model, kind, batch, i, c, *, top_k=None, steps=1, norm=2):
    """The values of the tokens of example i for class c."""
    embeddings = model.embeddings(batch, i).detach()
    gradient = torch.zeros_like(embeddings)
    for k in range(1, steps + 1):
        point = (embeddings * k / steps).requires_grad_()
        gradient += torch.autograd.grad(negative_log_probability(kind, model.logits_of(point), c), point)[0] / steps
    tokens = []
    for row in (gradient * embeddings)[0].tolist():
        largest = sorted((abs(value) for value in row), reverse=True)[:top_k]
        tokens.append(math.sqrt(sum(value**2 for value in largest)))
    length = sum(value**norm for value in tokens) ** (1 / norm)
    return [value / length for value in tokens]


def attribution(kind, batch, classes, *, distance=lambda a, b: (a - b) ** 2, top_k=None, **options):
    student, teacher = map(ManualBert, models(kind))
    total = 0.0
    for i in range(len(batch["input_ids"])):
        for c in classes(teacher, i):
            own = values(student, kind, batch, i, c, **options)
            theirs = values(teacher, kind, batch, i, c, top_k=top_k, **options)
            total += sum(map(distance, own, theirs)) / len(own)
    return total / len(batch["input_ids"])


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("kind", ["classification", "regression", "multilabel"])
def test_attribution_of_every_class(kind, steps):
    got, batch = terms(kind, top_k=20, steps=steps)
    expected = attribution(kind, batch, lambda teacher, i: range(CLASSES[kind]), top_k=20, steps=steps)
    assert got["attribution"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ({"steps": 3}, {"steps": 3}),
        ({"norm": "sum"}, {"norm": 1}),
        ({"distance": "l1"}, {"distance": lambda a, b: abs(a - b)}),
        ({"distance": "smooth_l1"}, {"distance": lambda a, b: (a - b) ** 2 / 2}),
    ],
)
def test_options_of_the_attribution(config, options):
    got, batch = terms("classification", **config)
    expected = attribution("classification", batch, lambda teacher, i: range(3), **options)
    assert got["attribution"].item() == pytest.approx(expected, rel=1e-9)


def test_one_view_is_the_class_that_the_teacher_finds_most_likely():
    got, batch = terms("classification", views="one")

    def likeliest(teacher, i):
        return [int(teacher.logits_of(teacher.embeddings(batch, i)).argmax())]

    assert got["attribution"].item() == pytest.approx(attribution("classification", batch, likeliest), rel=1e-9)


def test_both_of_two_classes_have_the_same_values_at_one_step():
    model, batch = ManualBert(tiny_model(seed=3)), tiny_batch("classification")
    first, second = (values(model, "classification", batch, 1, c) for c in (0, 1))
    assert first == pytest.approx(second, rel=1e-9)


@pytest.mark.parametrize("steps", [1, 3])
def test_attribution_of_two_classes(steps, monkeypatch):
    monkeypatch.setitem(CLASSES, "classification", 2)
    got, batch = terms("classification", steps=steps)
    classes = range(1 if steps == 1 else 2)
    expected = attribution("classification", batch, lambda teacher, i: classes, steps=steps)
    assert got["attribution"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_sure_model_has_attributions_in_half_precision(steps):
    """The bias of a classifier changes how sure a model of two classes is, and no gradient of a margin."""
    student, teacher = (tiny_model(layers=2, hidden=16, seed=seed) for seed in (1, 2))
    batch = tiny_batch("classification", seed=4)

    def value(bias):
        for model in (student, teacher):
            model.zero_grad()
            torch.nn.init.constant_(model.classifier.bias[:1], bias)
        got = loss_terms("ad_kd", student=student, teachers=[teacher], batch=batch, config={"steps": steps})
        (2**16 * got["attribution"]).backward()  # the scale of torch.amp.GradScaler
        return got["attribution"].item(), student.bert.encoder.layer[0].attention.self.value.weight.grad

    unsure, gradient = value(0.0)
    with torch.autocast("cpu", torch.float16):
        sure, in_half = value(30.0)
    assert sure == pytest.approx(unsure, rel=0.03)
    assert torch.cosine_similarity(gradient.flatten(), in_half.flatten(), dim=0) > 0.99


def test_kd_is_a_cross_entropy_without_the_square_of_the_temperature():
    got, batch = terms("classification", temperature=3.0)
    student, teacher = map(ManualBert, models("classification"))
    total = 0.0
    for i in range(4):
        own, theirs = (model.logits_of(model.embeddings(batch, i)).tolist() for model in (student, teacher))
        p = [math.exp(z / 3) / sum(math.exp(x / 3) for x in theirs) for z in theirs]
        q = [math.exp(z / 3) / sum(math.exp(x / 3) for x in own) for z in own]
        total -= sum(a * math.log(b) for a, b in zip(p, q, strict=True)) / 4
    assert got["kd"].item() == pytest.approx(total, rel=1e-9)


def test_kd_of_a_regression_divides_by_the_temperature():
    once, _ = terms("regression", temperature=1.0)
    twice, _ = terms("regression", temperature=2.0)
    assert twice["kd"].item() == pytest.approx(once["kd"].item() / 4)


def test_the_attribution_trains_the_student_by_second_derivatives():
    student, teacher = models("classification")
    batch = tiny_batch("classification", num_labels=3, seed=4)

    def value():
        return loss_terms("ad_kd", student=student, teachers=[teacher], batch=batch)["attribution"]

    value().backward()
    weight = student.bert.encoder.layer[0].attention.self.query.weight
    gradient, before = weight.grad[2, 3].item(), weight[2, 3].item()
    ends = []
    for change in (1e-5, -1e-5):
        with torch.no_grad():
            weight[2, 3] = before + change
        ends.append(value().item())
    assert gradient == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def bound(kind="classification", **config):
    cls = Host.create().methods["ad_kd"]
    student, teacher = (ModelShape(name, 2, 16, 2, 32) for name in ("small", "base"))
    return cls(cls.Config(**config), task=TaskInfo("sst2", kind, 2), student=student, teachers=[teacher], seed=1)


def test_the_temperature_falls_by_epoch_to_one():
    step = type("Step", (), {"epochs": 3.0})()
    method = bound(temperature=4.0, temperature_schedule="linear")
    seen = []
    for step.epoch in (0.0, 0.9, 1.0, 2.0, 2.9):
        seen.append(method.temperature(step))
    assert seen == pytest.approx([4, 4, 2.5, 1, 1])
    assert bound(temperature=4.0).temperature(step) == 4


def test_weights_and_notes():
    assert bound(alpha=0.8, beta=5).weights(None) == pytest.approx({"task": 0.2, "kd": 0.8, "attribution": 5})
    assert "both have the same attributions" in bound().notes()["views"]
    assert not bound(steps=2).notes()


@pytest.mark.parametrize("kind", ["qa", "token_classification"])
def test_tasks_with_logits_of_tokens_are_refused(kind):
    model = tiny_model(kind=kind)
    with pytest.raises(UserError, match=f"tiny is a {kind} task"):
        loss_terms("ad_kd", student=model, teachers=[model], batch=tiny_batch(kind))
