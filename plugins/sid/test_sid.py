"""Terms of sid against loops over the formulas, and the layers that are compared at each step."""

import pytest

from harness.api.errors import UserError
from harness.api.method import Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import reading
from tests.reference.formulas import cosine, kl, mean, project, relation_kl, scores, softmax

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
METHOD = Host.create().methods["sid"]


def models(kind, **student):
    sizes = ({"layers": 3, "hidden": 16, "seed": 1, **student}, {"layers": 6, "hidden": 32, "seed": 2})
    return [tiny_model(kind=kind, **each).double() for each in sizes]


@pytest.mark.parametrize("hidden", [16, 32])
@pytest.mark.parametrize(
    ("mode", "index", "active"),
    [
        ("stacked", 0, [1]),
        ("stacked", 4, [1, 2]),
        ("progressive", 4, [2]),
        ("progressive", 8, [3]),
        ("all", 0, [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("kind", ["classification", "qa"])
def test_the_terms_are_the_formulas(kind, mode, index, active, hidden):
    (student, teacher), batch, maps = models(kind, hidden=hidden), tiny_batch(kind), {}

    class Watched(METHOD):
        def losses(self, step, *given):
            maps.update({name: module.weight.tolist() for name, module in step.modules.items()})
            return super().losses(step, *given)

    inputs = {"student": student, "teachers": [teacher], "batch": batch, "config": {"mode": mode}}
    terms = loss_terms(Watched, **inputs, index=index, steps=9)
    assert set(maps) == ({"projection"} if hidden == 16 else set())
    pairs = list(zip(reading.read(student, batch), reading.read(teacher, batch), strict=True))

    def attention(s, t, m):
        own, theirs = (scores(e.queries[i], e.keys[i], e.heads) for e, i in ((s, m), (t, 2 * m)))
        return relation_kl(theirs, own)

    def cls(s, t, m):
        (vector,) = project([s.hidden[m][0]], maps["projection"]) if maps else [s.hidden[m][0]]
        return 1 - cosine(vector, t.hidden[2 * m][0])

    expected = {
        name: mean(sum(of_layer(s, t, m) for m in active) for s, t in pairs)
        for name, of_layer in (("attention", attention), ("cls", cls))
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_stage_has_soft_labels_alone(kind):
    (student, teacher), batch = models(kind), tiny_batch(kind)
    config = {"temperature": 2.0}
    terms = loss_terms(METHOD, student=student, teachers=[teacher], batch=batch, config=config, stage="kd")

    def soft(a, b):
        return (a[0] - b[0]) ** 2 if kind == "regression" else 4 * kl(softmax(b, 2.0), softmax(a, 2.0))

    expected = mean(
        mean(soft(a, b) for a, b in zip(s.logits, t.logits, strict=True))
        for s, t in zip(reading.read(student, batch), reading.read(teacher, batch), strict=True)
    )
    assert {name: term.item() for name, term in terms.items()} == pytest.approx({"kd": expected}, rel=1e-6)


def bound(**config):
    shapes = [ModelShape(name, count, 64, 4, 128) for name, count in (("small", 4), ("base", 12))]
    return METHOD(METHOD.Config(**config), task=TaskInfo("t", "qa", 2), student=shapes[0], teachers=shapes[1:], seed=1)


def test_layers_are_added_after_equal_shares_of_the_steps():
    method = bound()
    internal, last = method.stages()
    assert (internal.share, last.share) == (4, 1)
    steps = [Step(internal, index, 10, 0.0, 1.0, None, None) for index in range(10)]
    assert [len(method.active(step)) for step in steps] == [1, 1, 1, 2, 2, 3, 3, 3, 4, 4]
    for step in steps:
        needs = method.needs(step)
        assert needs.student == {f"{n}[{m}]" for n in ("queries", "keys", "hidden") for m in method.active(step)}
        assert needs.teachers[0] == {
            f"{n}[{3 * m}]" for n in ("queries", "keys", "hidden") for m in method.active(step)
        }
    assert method.needs(steps[-1]) == internal.needs


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"heads": 2}, "equal numbers of heads: student has 2, teacher 1 has 4"),
        ({"layers": 4}, "the student has 4 layers, the teacher 6"),
    ],
)
def test_models_that_do_not_fit_are_errors(sizes, words):
    student, teacher = models("classification", **sizes)
    with pytest.raises(UserError, match=words):
        loss_terms(METHOD, student=student, teachers=[teacher], batch=tiny_batch("classification"))
