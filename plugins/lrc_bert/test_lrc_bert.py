"""Terms of lrc_bert against loops in float64, with and without perturbed embeddings."""

import math

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.support.manual_forward import ManualBert

PLAIN = {"perturbation": False}


def models(kind="classification"):
    sizes = {"kind": kind, "num_labels": 3}
    return tiny_model(layers=2, seed=1, **sizes).double(), tiny_model(layers=4, seed=2, **sizes).double()


def terms(kind="classification", stage="all", **config):
    student, teacher = models(kind)
    batch = tiny_batch(kind, num_labels=3, seed=4)
    return loss_terms("lrc_bert", student=student, teachers=[teacher], batch=batch, stage=stage, config=config), batch


def vector(states, pool):
    """The vector of one example's states [1, N, H], a list of scalar tensors."""
    tokens = [list(row) for row in states[0]]
    return tokens[0] if pool == "cls" else [sum(column) / len(tokens) for column in zip(*tokens, strict=True)]


def distance(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return 1 - dot / torch.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def expected_terms(student, teacher, embeddings, batch, *, pool="cls", temperature=1.1):
    """The terms of the stage `all` from the student's embeddings; W is the identity, as the widths are equal."""
    count, cos_nce, kd, task = len(embeddings), 0.0, 0.0, 0.0
    own = [student.states(e) for e in embeddings]
    theirs = [teacher.states(teacher.embeddings(batch, i).detach()) for i in range(count)]
    for m, g in ((1, 2), (2, 4)):
        s, t = ([vector(states[layer], pool) for states in every] for every, layer in ((own, m), (theirs, g)))
        for i in range(count):
            near = distance(t[i], s[i])
            margins = sum(distance(t[k], s[i]) - near for k in range(count) if k != i)
            cos_nce = cos_nce + (near + 1 - margins / (2 * (count - 1))) / count
    for i in range(count):
        z, y = student.logits(own[i][-1]), teacher.logits(theirs[i][-1])
        log_q, log_p = (torch.log(torch.exp(x / temperature) / torch.exp(x / temperature).sum()) for x in (z, y))
        kd = (
            kd
            + temperature**2 * sum(p * (lp - lq) for p, lp, lq in zip(log_p.exp(), log_p, log_q, strict=True)) / count
        )
        task = task - torch.log(torch.exp(z[batch["labels"][i]]) / torch.exp(z).sum()) / count
    return {"cos_nce": cos_nce, "kd": kd, "task": task}


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_terms_without_perturbation(pool):
    got, batch = terms(pool=pool, **PLAIN)
    student, teacher = map(ManualBert, models())
    expected = expected_terms(student, teacher, [student.embeddings(batch, i) for i in range(4)], batch, pool=pool)
    assert {name: term.item() for name, term in got.items()} == pytest.approx(
        {name: term.item() for name, term in expected.items()}, rel=1e-9
    )


@pytest.mark.parametrize(("stage", "weights"), [("all", (1, 1, 3)), ("contrast", (1, 0, 0))])
def test_perturbed_embeddings_are_moved_along_the_unit_gradient_of_the_total(stage, weights):
    got, batch = terms(stage=stage)
    student, teacher = map(ManualBert, models())
    embeddings = [student.embeddings(batch, i).detach().requires_grad_() for i in range(4)]
    first = expected_terms(student, teacher, embeddings, batch)
    total = sum(weight * term for weight, term in zip(weights, first.values(), strict=True))
    moved = []
    for e, gradient in zip(embeddings, torch.autograd.grad(total, embeddings), strict=True):
        rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in gradient[0].tolist()]
        moved.append(e.detach() + torch.tensor([rows], dtype=torch.float64))
    expected = expected_terms(student, teacher, moved, batch)
    for name, term in got.items():
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-8)
        assert term.item() != pytest.approx(first[name].item(), rel=1e-5)
    assert set(got) == ({"cos_nce"} if stage == "contrast" else {"cos_nce", "kd", "task"})


def test_the_gradient_of_the_first_pass_does_not_train():
    """The direction is a constant: the term has the gradient of the second pass alone."""
    student, teacher = models()
    batch = tiny_batch("classification", num_labels=3, seed=4)
    loss_terms("lrc_bert", student=student, teachers=[teacher], batch=batch, stage="all")["task"].backward()
    got = student.classifier.weight.grad.clone()
    manual, frozen = ManualBert(student), ManualBert(teacher)
    embeddings = [manual.embeddings(batch, i).detach().requires_grad_() for i in range(4)]
    first = expected_terms(manual, frozen, embeddings, batch)
    gradients = torch.autograd.grad(first["cos_nce"] + first["kd"] + 3 * first["task"], embeddings)
    moved = [e.detach() + g / g.norm(dim=-1, keepdim=True) for e, g in zip(embeddings, gradients, strict=True)]
    manual.model.zero_grad()
    expected_terms(manual, frozen, moved, batch)["task"].backward()
    torch.testing.assert_close(got, manual.model.classifier.weight.grad)


def test_mean_squared_error_in_place_of_the_contrast():
    got, batch = terms(contrast="mse", **PLAIN)
    student, teacher = map(ManualBert, models())
    total = 0.0
    for i in range(4):
        own, theirs = (model.states(model.embeddings(batch, i)) for model in (student, teacher))
        for m, g in ((1, 2), (2, 4)):
            pairs = list(zip(own[m][0][0].tolist(), theirs[g][0][0].tolist(), strict=True))
            total += sum((a - b) ** 2 for a, b in pairs) / len(pairs) / 4
    assert got["mse"].item() == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("kind", ["regression", "qa", "token_classification", "multilabel"])
def test_every_kind_of_task(kind):
    sizes = {"kind": kind, "num_labels": 1 if kind == "regression" else 3}
    student, teacher = tiny_model(layers=2, hidden=16, seed=1, **sizes), tiny_model(layers=4, seed=2, **sizes)
    batch = tiny_batch(kind, num_labels=3)
    got = loss_terms("lrc_bert", student=student, teachers=[teacher], batch=batch, stage="all")
    assert all(term.isfinite() for term in got.values())


def test_an_example_alone_has_no_negatives():
    student, teacher = models()
    batch = {name: tensor[:1] for name, tensor in tiny_batch("classification", num_labels=3).items()}
    got = loss_terms("lrc_bert", student=student, teachers=[teacher], batch=batch, stage="all", config=PLAIN)
    manual, other = ManualBert(student), ManualBert(teacher)
    own, theirs = (model.states(model.embeddings(batch, 0)) for model in (manual, other))
    near = [distance(own[m][0][0], theirs[g][0][0]).item() for m, g in ((1, 2), (2, 4))]
    assert got["cos_nce"].item() == pytest.approx(sum(near) + 2, rel=1e-9)


def bound(**config):
    cls = Host.create().methods["lrc_bert"]
    student, teacher = (ModelShape(name, layers, 16, 2, 32) for name, layers in (("small", 2), ("base", 4)))
    task = TaskInfo("sst2", "classification", 2)
    return cls(cls.Config(**config), task=task, student=student, teachers=[teacher], seed=1)


def test_stages_and_their_coupled_terms():
    contrast, both = bound().stages()
    assert (contrast.name, both.name, contrast.share, both.share) == ("contrast", "all", 1, 1)
    assert both.batch_dependent == {"cos_nce", "kd", "task"}, "the direction depends on the whole batch"
    assert bound(**PLAIN).stages()[1].batch_dependent == {"cos_nce"}
    assert not bound(contrast="mse").stages()[1].batch_dependent
    assert [stage.name for stage in bound(contrast_stage=False).stages()] == ["all"]
    assert list(bound(projections="shared").modules(bound().student, bound().teachers)) == ["shared"]


def test_a_depth_that_does_not_divide_is_refused():
    student, teacher = tiny_model(layers=3), tiny_model(layers=4)
    with pytest.raises(UserError, match="the student has 3 layers, the teacher 4"):
        loss_terms("lrc_bert", student=student, teachers=[teacher], batch=tiny_batch("classification"))
