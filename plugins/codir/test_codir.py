"""Terms of codir against loops over the formulas, its negatives and its memory."""

import math

import pytest
import torch

from harness.api.errors import UserError
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import reading
from tests.reference.formulas import dot, kl, label_loss, mean, softmax, unit

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
METHOD = Host.create().methods["codir"]


def models(kind, **student):
    sizes = ({"layers": 2, "hidden": 16, "seed": 1, **student}, {"layers": 4, "hidden": 32, "seed": 2})
    return [tiny_model(kind=kind, **each).double() for each in sizes]


def pooled(example, layers, pool):
    states = [example.hidden[i] for i in layers]
    vectors = [tokens[0] if pool == "cls" else list(map(mean, zip(*tokens, strict=True))) for tokens in states]
    return [x for vector in vectors for x in vector]


@pytest.mark.parametrize(("form", "pool"), [("infonce", "mean"), ("infonce", "cls"), ("nce", "mean")])
@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_the_formulas(kind, form, pool):
    (student, teacher), batch, seen = models(kind), tiny_batch(kind), {}

    class Watched(METHOD):
        def losses(self, step, given, *outputs):
            modules = step.modules
            seen["maps"] = {name: modules[name].weight.tolist() for name in ("student", "teacher")}
            seen["banks"] = {name: getattr(modules["memory"], name).tolist() for name in self.banks}
            drawn, valid = self.negatives(step, given)
            seen["drawn"] = [
                [row for row, ok in zip(*each, strict=True) if ok]
                for each in zip(drawn.tolist(), valid.tolist(), strict=True)
            ]
            return super().losses(step, given, *outputs)

    config = {"form": form, "pool": pool, "negatives": 3, "width": 6, "contrast_temperature": 0.5}
    terms = loss_terms(Watched, student=student, teachers=[teacher], batch=batch, config=config)
    own, theirs = reading.read(student, batch), reading.read(teacher, batch)
    count = len(own)
    assert all(row not in drawn and len(drawn) <= 3 for row, drawn in enumerate(seen["drawn"]))
    assert any(seen["drawn"])

    def projected(side, vector):
        return unit([dot(vector, row) for row in seen["maps"][side]])

    def crd(row):
        s = projected("student", pooled(own[row], (1, 2), pool))
        t = projected("teacher", pooled(theirs[row], (2, 4), pool))
        drawn = seen["drawn"][row]
        if form == "infonce":
            likeness = [dot(s, t) / 0.5, *(dot(s, seen["banks"]["teacher"][k]) / 0.5 for k in drawn)]
            return -math.log(softmax(likeness)[0])
        return mean(direction(*each, row, drawn) for each in ((s, "teacher"), (t, "student")))

    def direction(anchor, bank, row, drawn):
        exps = [math.exp(dot(anchor, seen["banks"][bank][k]) / 0.5) for k in (row, *drawn)]
        scale, c = count * mean(exps), 3 / count  # Z of the first step
        q = [e / scale for e in exps]
        return -math.log(q[0] / (q[0] + c)) - math.fsum(math.log(c / (n + c)) for n in q[1:])

    def soft(a, b):
        return (a[0] - b[0]) ** 2 if kind == "regression" else 16 * kl(softmax(b, 4.0), softmax(a, 4.0))

    expected = {
        "crd": mean(map(crd, range(count))),
        "kd": mean(
            mean(soft(a, b) for a, b in zip(s.logits, t.logits, strict=True)) for s, t in zip(own, theirs, strict=True)
        ),
        "task": mean(
            mean(label_loss(kind, z, y) for z, y in zip(s.logits, labels, strict=True))
            for s, labels in zip(own, reading.labels(batch, kind), strict=True)
        ),
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)


def memory_functions():
    """The module of the method's memory, wherever the plugin was loaded from."""
    from importlib import import_module

    return import_module(f"{METHOD.__module__.rpartition('.')[0]}.negatives")


def test_negatives_are_uniform_among_other_classes():
    memory = memory_functions()
    classes = torch.tensor([0, 1, 0, 2, 1, memory.UNKNOWN, 0, 2])
    rows, labels = torch.tensor([0, 4, 5]), torch.tensor([0, 1, 1])
    numbers = memory.draws(rows.tolist(), 4000, seed=0, step=0)
    drawn, valid = memory.rows_of_other_classes(numbers, rows, labels, classes, 3)
    for i, allowed in enumerate([{1, 3, 4, 5, 7}, {0, 2, 3, 5, 6, 7}, {0, 2, 3, 6, 7}]):
        found = drawn[i][valid[i]].tolist()
        assert set(found) == allowed
        counts = [found.count(row) / len(found) for row in allowed]
        assert max(counts) - min(counts) < 0.05
    assert valid[:2].all()
    assert not valid[2].all(), "row 5 is of an unknown class, and not a negative of itself"


def test_without_another_class_there_is_no_negative():
    memory = memory_functions()
    numbers = memory.draws([0, 2], 5, seed=0, step=0)
    drawn, valid = memory.rows_of_other_classes(
        numbers, torch.tensor([0, 2]), torch.tensor([1, 1]), torch.ones(3).long(), 2
    )
    assert not valid.any()
    assert ((drawn >= 0) & (drawn < 3)).all()
    _, valid = memory.other_rows(numbers[:1], torch.tensor([0]), 1)
    assert not valid.any()


def test_negatives_of_other_tasks_are_all_other_examples():
    memory = memory_functions()
    numbers = memory.draws([0, 3], 2000, seed=0, step=0)
    drawn, valid = memory.other_rows(numbers, torch.tensor([0, 3]), 4)
    assert valid.all()
    assert [set(row.tolist()) for row in drawn] == [{1, 2, 3}, {0, 1, 2}]


def test_draws_depend_on_seed_step_and_row_only():
    draws = memory_functions().draws
    assert torch.equal(draws([4, 7], 5, seed=1, step=2)[1:], draws([7], 5, seed=1, step=2))
    assert not torch.equal(draws([7], 5, seed=1, step=2), draws([7], 5, seed=1, step=3))
    assert not torch.equal(draws([7], 5, seed=1, step=2), draws([7], 5, seed=2, step=2))


@pytest.mark.parametrize("form", ["infonce", "nce"])
def test_the_memory_is_updated_once_for_each_step(world, form):
    here = world(epochs=1)
    config = {"form": form, "negatives": 4, "momentum": 0.25}
    run = here.run("codir", config=config)
    memory = run.modules["memory"]
    before, seen = memory.teacher.clone(), {}
    update = type(memory).update

    def watched(self, name, rows, vectors):
        seen.setdefault(name, []).extend(rows.tolist())
        update(self, name, rows, vectors)
        expected = torch.nn.functional.normalize(0.25 * before[rows] + 0.75 * vectors, dim=-1)
        if name == "teacher":
            torch.testing.assert_close(self.teacher[rows], expected)

    type(memory).update = watched
    try:
        list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    finally:
        type(memory).update = update
    assert run.error is None
    assert sorted(seen["teacher"]) == list(range(44)), "an epoch holds each example once"
    assert set(seen) == set(run.method.banks)
    assert (memory.classes >= 0).all()
    assert memory.classes.tolist() == [int(label) for label in here.data.train.labels]
    assert (memory.teacher_scale > 0) == (form == "nce")


def test_depths_that_do_not_fit_are_errors():
    student, teacher = models("classification", layers=3)
    with pytest.raises(UserError, match="the student has 3 layers, the teacher 4"):
        loss_terms(METHOD, student=student, teachers=[teacher], batch=tiny_batch("classification"))
