"""The terms of alp_kd equal formulas as plain loops in every mode; buckets, weights and errors."""

import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference.comparison import assert_terms_equal
from tests.reference.formulas import Case, dot, logit_kd, mean, project, softmax
from tests.reference.odd_batches import one_example, one_token
from tests.reference.reading import Example, Vector
from tests.reference.settings import Setting

KINDS = ["multilabel", "regression", "token_classification", "qa"]
WIDER = ({"hidden": 24, "layers": 6},)
SETTINGS = [
    Setting("alp_kd"),
    Setting("alp_kd", student={"layers": 5, "heads": 2}, teachers=WIDER),
    Setting("alp_kd", config={"scale": True, "temperature": 2.0}),
    Setting("alp_kd", config={"scale": True, "detach_attention": True}, teachers=WIDER),
    *(
        Setting("alp_kd", config={"mode": mode, "scale": True}, student=student, teachers=teachers)
        for mode in ("no", "po", "concat")
        for student, teachers in [({}, ({},)), ({"layers": 3}, WIDER)]
    ),
    Setting("alp_kd", config={"mode": "concat"}, student={"layers": 4, "heads": 2}),
]


def buckets(mode: str, own: int, theirs: int) -> list[list[int]]:
    """The teacher layers of each student layer."""
    if mode == "alp":
        return [list(range(1, theirs + 1)) for _ in range(own)]
    size = theirs // own
    begins = [m * size + 1 for m in range(own)]
    return [[*([first - 1] if mode == "po" and first > 1 else []), *range(first, first + size)] for first in begins]


def oracle(case: Case) -> dict[str, float]:
    mode = case.options["mode"]

    def target(own: Vector, layer: int, bucket: list[Vector]) -> Vector:
        if mode == "concat":
            return project([[x for vector in bucket for x in vector]], case.maps[f"concat_{layer}"])[0]
        if "projection" in case.maps:
            bucket = project(bucket, case.maps["projection"])
        scale = len(own) ** -0.5 if case.options["scale"] else 1
        attention = softmax([dot(own, vector) * scale for vector in bucket])
        return [sum(a * x for a, x in zip(attention, column, strict=True)) for column in zip(*bucket, strict=True)]

    def alp(s: Example, t: Example, y: list[float]) -> float:
        total = 0.0
        for m, bucket in enumerate(buckets(mode, s.layers, t.layers), start=1):
            own = s.hidden[m][0]
            mixed = target(own, m, [t.hidden[k][0] for k in bucket])
            total += mean((a - b) ** 2 for a, b in zip(own, mixed, strict=True))
        return total

    return {**logit_kd(case), "alp": case.over_examples(alp)}


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_terms_are_the_formulas(setting):
    terms = assert_terms_equal(setting, "classification", oracle)
    assert all(term > 1e-6 for term in terms.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_terms_are_the_formulas_on_every_kind(kind):
    assert_terms_equal(Setting("alp_kd", config={"temperature": 3.0}), kind, oracle)


@pytest.mark.parametrize("odd", [one_example, one_token])
def test_odd_batches(odd):
    assert_terms_equal(Setting("alp_kd"), "classification", oracle, batch=odd("classification"))


def gradient(**config: bool) -> torch.Tensor:
    student, teacher = tiny_model(seed=1).double(), tiny_model(layers=4, seed=2).double()
    terms = loss_terms("alp_kd", student=student, teachers=[teacher], batch=tiny_batch("classification"), config=config)
    terms["alp"].backward()
    return student.bert.encoder.layer[0].output.dense.weight.grad


def test_detach_attention_changes_the_gradient_only():
    assert not torch.allclose(gradient(), gradient(detach_attention=True))


def bound(student_layers=4, hidden=768, **config):
    cls = Host.create().methods["alp_kd"]
    student, teacher = ModelShape("small", student_layers, hidden, 12, 3072), ModelShape("base", 12, 768, 12, 3072)
    task = TaskInfo("some", "classification", 2)
    return cls(cls.Config(**config), task=task, student=student, teachers=[teacher], seed=1)


def test_buckets():
    assert bound().notes()["buckets"] == [list(range(1, 13))] * 4
    assert bound(mode="no").notes()["buckets"] == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]
    assert bound(mode="concat").notes()["buckets"] == bound(mode="no").notes()["buckets"]
    assert bound(mode="po").notes()["buckets"] == [[1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [9, 10, 11, 12]]


def test_modules():
    def sizes(method):
        modules = method.modules(method.student, method.teachers)
        return {name: tuple(module.weight.shape) for name, module in modules.items()}

    assert sizes(bound()) == {}
    assert sizes(bound(hidden=312)) == {"projection": (312, 768)}
    assert sizes(bound(hidden=312, mode="concat")) == {f"concat_{m}": (312, 3 * 768) for m in range(1, 5)}


def test_the_weight_of_alp_is_applied():
    """GLMKD documents a weight of its layer loss that its code never uses."""
    assert bound().weights(None) == {"task": 0.1, "kd": 0.7, "alp": 0.2}
    assert bound(alp_weight=5.0).weights(None)["alp"] == 5


def test_errors_name_both_depths():
    batch = tiny_batch("classification")
    models = {"student": tiny_model(layers=3), "teachers": [tiny_model(layers=4)]}
    with pytest.raises(UserError, match="student has 3 layers, teacher 1 has 4; or use mode 'alp'"):
        loss_terms("alp_kd", **models, batch=batch, config={"mode": "po"})
    assert loss_terms("alp_kd", **models, batch=batch)["alp"] > 0
