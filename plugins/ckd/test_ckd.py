"""The terms of ckd equal formulas as plain loops, whatever the window and the chunks; memory, gradients and errors."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.autograd.graph import saved_tensors_hooks

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from plugins.ckd import relations
from tests.reference.comparison import assert_terms_equal
from tests.reference.formulas import (
    Case,
    cosine,
    cross_entropy,
    dot,
    kl,
    mapped,
    mean,
    middle,
    predictions,
    softmax,
    task,
)
from tests.reference.odd_batches import one_example, one_token
from tests.reference.reading import Example, Matrix, Vector
from tests.reference.settings import Setting

SIX_LAYERS = ({"layers": 6},)
SETTINGS = [
    Setting("ckd"),
    Setting(
        "ckd", config={"window": 3, "temperature": 3.0}, student={"layers": 3, "hidden": 8}, teachers=({"layers": 6},)
    ),
    Setting("ckd", config={"window": 5, "mapping": "last"}, student={"layers": 3}, teachers=({"hidden": 24},)),
    Setting("ckd", config={"window": 7, "mapping": "mean"}, student={"heads": 2}),
    Setting("ckd", student={"layers": 1}),
]


def difference(a: Vector, b: Vector) -> Vector:
    return [x - y for x, y in zip(a, b, strict=True)]


def cos(a: Vector, b: Vector) -> float:
    """The cosine; 0 if one of them has the length 0."""
    return cosine(a, b) if dot(a, a) * dot(b, b) > 0 else 0.0


def pairs(own: Matrix, theirs: Matrix) -> float:
    """For each vector i, KL of the softmax over the others; the mean over i."""

    def of(i: int) -> float:
        others = [j for j in range(len(own)) if j != i]
        p, q = (softmax([cosine(x[i], x[j]) for j in others]) if others else [] for x in (theirs, own))
        return kl(p, q)

    return mean(of(i) for i in range(len(own)))


def angles(own: Matrix, theirs: Matrix, reach: int) -> float:
    """For each vector i, the mean over j and k up to `reach` away from it; the mean over i."""

    def of(i: int) -> float:
        near = range(max(0, i - reach), min(len(own), i + reach + 1))
        cosines = [
            [cos(difference(x[i], x[j]), difference(x[i], x[k])) for j in near for k in near] for x in (own, theirs)
        ]
        return mean((a - b) ** 2 for a, b in zip(*cosines, strict=True))

    return mean(of(i) for i in range(len(own)))


def oracle(case: Case) -> dict[str, float]:
    t, reach = case.options["temperature"], case.options["window"] // 2

    def of_layers(s: Example, t: Example) -> list[tuple[Matrix, Matrix]]:
        sources = mapped(case.options["mapping"], s.layers, t.layers, case.drawn)
        targets = [middle([t.hidden[layer] for layer in layers]) for layers in [[0], *sources]]
        return [*zip(s.hidden, targets, strict=True)]

    def of_words(s: Example, t: Example) -> list[tuple[Matrix, Matrix]]:
        """For each word its vectors in all layers."""
        own, theirs = zip(*of_layers(s, t), strict=True)
        return [([a[i] for a in own], [b[i] for b in theirs]) for i in range(len(own[0]))]

    return {
        "kd": predictions(case, cross_entropy, t) / (t**2 if case.kind == "regression" else 1),
        "task": task(case),
        "wr_pair": case.over_examples(lambda s, t, y: sum(pairs(a, b) for a, b in of_layers(s, t))),
        "wr_angle": case.over_examples(lambda s, t, y: sum(angles(a, b, reach) for a, b in of_layers(s, t))),
        "ltr_pair": case.over_examples(lambda s, t, y: mean(pairs(a, b) for a, b in of_words(s, t))),
        "ltr_angle": case.over_examples(lambda s, t, y: mean(angles(a, b, 99) for a, b in of_words(s, t))),
    }


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_terms_are_the_formulas(setting):
    terms = assert_terms_equal(setting, "classification", oracle)
    one_layer = setting.student.get("layers") == 1
    assert {name for name, term in terms.items() if term < 1e-6} == ({"ltr_pair", "ltr_angle"} if one_layer else set())


@pytest.mark.parametrize("kind", ["multilabel", "regression", "token_classification", "qa"])
def test_the_terms_are_the_formulas_on_every_kind(kind):
    assert_terms_equal(Setting("ckd", config={"window": 5, "temperature": 4.0}), kind, oracle)


@pytest.mark.parametrize("odd", [one_example, one_token])
def test_odd_batches(odd):
    assert_terms_equal(Setting("ckd", config={"window": 5}), "classification", oracle, batch=odd("classification"))


def models() -> dict:
    return {"student": tiny_model(layers=2, seed=1).double(), "teachers": [tiny_model(layers=4, seed=2).double()]}


def terms_and_gradients(config: dict, batch: dict) -> tuple[dict, list]:
    given = models()
    terms = loss_terms("ckd", **given, batch=batch, config=config)
    parameters = [*given["student"].bert.encoder.parameters()]
    total = terms["wr_angle"] + terms["ltr_pair"] + terms["ltr_angle"]
    return {name: term.item() for name, term in terms.items()}, torch.autograd.grad(total, parameters)


@pytest.mark.parametrize("elements", [1, 700])
def test_chunks_change_no_term_and_no_gradient(elements, monkeypatch):
    batch, config = tiny_batch("classification"), {"window": 5}
    expected, gradients = terms_and_gradients(config, batch)
    monkeypatch.setattr(relations, "MAX_ELEMENTS", elements)
    found, in_chunks = terms_and_gradients(config, batch)
    assert found == pytest.approx(expected, rel=1e-12)
    for actual, whole in zip(in_chunks, gradients, strict=True):
        torch.testing.assert_close(actual, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("relation", ["words", "layers"])
def test_only_the_states_are_kept_for_the_backward_pass(relation):
    states = [torch.randn(2, 40, 16) for _ in range(6)]
    states[0].requires_grad_()
    mask = torch.ones(2, 40, dtype=torch.bool)
    sizes: list[int] = []
    with saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor):
        if relation == "words":
            relations.word_relations(states[0], states[1], mask, 21)
        else:
            relations.layer_relations(states[:3], states[3:], mask)
    assert sizes
    assert max(sizes) <= states[0].numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_words_have_no_gradient_that_is_not_finite(dtype):
    """A model with relative positions gives a repeated word the same embedding, so their difference has length 0."""
    repeated = torch.tensor([0, 1, 1, 2, 0, 3])
    student = (100 + torch.randn(2, 6, 64, dtype=dtype)).index_select(1, repeated).requires_grad_()
    teacher, mask = torch.randn(2, 6, 8, dtype=dtype), torch.ones(2, 6, dtype=torch.bool)
    _, words = relations.word_relations(student, teacher, mask, 5)
    _, layers = relations.layer_relations([student, student, student * 2], [teacher, teacher * 2, teacher * 3], mask)
    (words + layers).backward()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 100
    plain = [[angles(s.tolist(), t.tolist(), 2) for s, t in zip(student, teacher, strict=True)]]
    assert words.item() == pytest.approx(mean(plain[0]), rel=1e-3)


def test_float32_is_near_float64_where_all_words_are_alike():
    """The last layers of a fine-tuned model: a large common part, of 50 times the length of the differences."""
    student, teacher = (50 * torch.randn(1, 1, 768) + torch.randn(4, 32, 768) for _ in range(2))
    mask = torch.ones(4, 32, dtype=torch.bool)
    exact = relations.word_relations(student.double(), teacher.double(), mask, 21)[1]
    assert relations.word_relations(student, teacher, mask, 21)[1].item() == pytest.approx(exact.item(), rel=1e-4)


def test_a_word_at_the_edge_counts_once():
    """A window that is clamped at the edge would count the first and the last word many times."""
    states = torch.randn(1, 3, 4, dtype=torch.float64), torch.randn(1, 3, 4, dtype=torch.float64)
    mask = torch.ones(1, 3, dtype=torch.bool)
    windows = [relations.word_relations(*states, mask, window)[1].item() for window in (5, 7, 21)]
    assert windows == pytest.approx([angles(states[0][0].tolist(), states[1][0].tolist(), 2)] * 3)


def bound(student_layers=6, kind="classification", **config):
    cls = Host.create().methods["ckd"]
    student, teacher = (
        ModelShape(name, layers, 768, 12, 3072) for name, layers in (("small", student_layers), ("base", 12))
    )
    return cls(cls.Config(**config), task=TaskInfo("some", kind, 2), student=student, teachers=[teacher], seed=1)


def test_weights_are_those_of_the_options():
    """In the authors' scripts, the weights between layers are written to names that nothing reads."""
    names = ("wr_pair", "wr_angle", "ltr_pair", "ltr_angle")
    for i, name in enumerate(names):
        weights = bound(alpha=0.7, **{f"{name}_weight": 7.0}).weights(None)
        assert weights["kd"] == 0.7
        assert weights["task"] == pytest.approx(0.3)
        assert [weights[other] == 7 for other in names] == [j == i for j in range(4)]


def test_the_record_names_the_layers():
    assert bound().notes() == {"layer_map": [[2], [4], [6], [8], [10], [12]]}
    assert "nothing to compare" in bound(1).notes()["ltr"]
    (stage,) = bound(mapping="last").stages()
    assert stage.needs.teachers == ({"logits", "embeddings", *(f"hidden[{i}]" for i in range(7, 13))},)
    assert not stage.batch_dependent


def test_errors_name_both_numbers():
    batch = tiny_batch("classification")
    with pytest.raises(UserError, match="the student has 3 layers, the teacher 4"):
        loss_terms("ckd", student=tiny_model(layers=3), teachers=[tiny_model(layers=4)], batch=batch)
    with pytest.raises(ValidationError, match="must be odd, not 20"):
        bound(window=20)


def test_half_precision_is_finite():
    given, batch = models(), tiny_batch("classification")
    student, (teacher,) = given["student"].float(), given["teachers"]
    with torch.autocast("cpu", torch.bfloat16):
        terms = loss_terms("ckd", student=student, teachers=[teacher.float()], batch=batch)
    assert all(math.isfinite(term.item()) for term in terms.values())
