"""The terms of dynamic_kd equal formulas as plain loops: three parts, every strategy and kind of task."""

import math
from itertools import starmap

import pytest
import torch

from harness.api.batch import Batch
from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from plugins.dynamic_kd import uncertainty
from tests.reference.comparison import assert_terms_equal
from tests.reference.formulas import Case, kl, mean, project, softmax, task, unit
from tests.reference.odd_batches import one_example, one_token
from tests.reference.reading import Example, Vector
from tests.reference.settings import CLASSES, Setting, batch_of

KINDS = ["classification", "multilabel", "regression", "token_classification", "qa"]
TWO = ({"heads": 2}, {"hidden": 24, "layers": 6})
THREE = (*TWO, {"layers": 2, "heads": 2})


def adopt(teachers=TWO, **config) -> Setting:
    return Setting("dynamic_kd", config=config, teachers=teachers)


def part(name: str, teachers=({},), **config) -> Setting:
    return Setting("dynamic_kd", config={"part": name, **config}, teachers=teachers)


SETTINGS = [
    adopt(),
    adopt(({},)),
    adopt(THREE, form="kl"),
    adopt(strategy="hard"),
    adopt(THREE, strategy="hard"),
    adopt(strategy="none", form="kl", temperature=2.0),
    adopt(THREE, strategy="none"),
    adopt(qa_uncertainty=True, form="kl", temperature=0.5),
    *(part("data", select=select, qa_uncertainty=True) for select in ("margin", "entropy", "confidence")),
    part("data", ratio=0.75, form="kl"),
    part("data", TWO, ratio=0.1),
    part("objective"),
    part("objective", TWO, form="kl"),
    part("objective", strategy="none"),
    part("objective", qa_uncertainty=True),
]


def oracle(case: Case) -> dict[str, float]:
    options, teachers = case.options, len(case.teachers)
    t = options["temperature"]
    measured = case.kind != "regression" and (case.kind != "qa" or options["qa_uncertainty"])

    def kd_of(own: Vector, theirs: Vector) -> float:
        if options["form"] == "kl" and case.kind != "regression":
            return t**2 * kl(softmax(theirs, t), softmax(own, t))
        if case.kind == "multilabel":  # the second number is always 0
            own, theirs = own[:1], theirs[:1]
        return mean((a - b) ** 2 for a, b in zip(own, theirs, strict=True))

    def kd(b: int, k: int) -> float:
        return mean(starmap(kd_of, zip(case.student[b].logits, case.teachers[k][b].logits, strict=True)))

    def entropy(p: Vector) -> float:
        return -math.fsum(x * math.log(x) for x in p if x > 0) / math.log(len(p)) if len(p) > 1 else 0.0

    def margin(p: Vector) -> float:
        first, second, *_ = sorted([*p, 0.0], reverse=True)
        return first - second

    def of_example(measure, example: Example) -> float:
        return mean(measure(softmax(z)) for z in example.logits)

    def rep(b: int, k: int) -> float:
        s, t = case.student[b], case.teachers[k][b]
        total = 0.0
        for m in range(s.layers + 1):
            own, name = s.hidden[m], f"teacher_{k + 1}_layer_{m}"
            if name in case.maps:
                own = project(own, case.maps[name])
            pairs = zip(own, t.hidden[m * t.layers // s.layers], strict=True)
            total += mean((x - y) ** 2 for a, c in pairs for x, y in zip(unit(a), unit(c), strict=True))
        return total

    batch = range(len(case.student))
    terms = {"task": task(case)}
    strategy = options["strategy"] if measured else "none"
    u = [of_example(entropy, each) if strategy == "soft" else 0.5 for each in case.student]
    if options["part"] == "adopt":
        for k in range(teachers):
            if teachers == 1:
                r = [1.0 for _ in batch]
            elif strategy == "hard":
                order = sorted(batch, key=lambda b: -of_example(entropy, case.student[b]))
                group = order[k * len(order) // teachers : (k + 1) * len(order) // teachers]
                r = [1.0 if b in group else 0.0 for b in batch]
            elif teachers == 2:
                r = [u[b] if k == 0 else 1 - u[b] for b in batch]
            else:
                shares = [[u[b] + (1 - 2 * u[b]) * j / (teachers - 1) for j in range(teachers)] for b in batch]
                r = [teachers * each[k] / math.fsum(each) for each in shares]
            terms[f"kd_{k + 1}"] = mean(r[b] * kd(b, k) for b in batch)
        return terms
    of_teachers = [mean(kd(b, k) for k in range(teachers)) for b in batch]
    if options["part"] == "data":
        select = options["select"]
        measures = {
            "margin": lambda b: of_example(margin, case.student[b]),
            "entropy": lambda b: -of_example(entropy, case.student[b]),
            "confidence": lambda b: of_example(max, case.student[b]),
        }
        kept = sorted(batch, key=measures[select])[: max(1, int(len(batch) * options["ratio"]))] if measured else batch
        return {**terms, "kd": mean(of_teachers[b] for b in kept)}
    reps = [mean(rep(b, k) for k in range(teachers)) for b in batch]
    return {
        **terms,
        "kd": mean((1 - u[b]) * of_teachers[b] for b in batch),
        "rep": mean(u[b] * reps[b] for b in batch),
    }


@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_terms_are_the_formulas(setting, kind):
    terms = assert_terms_equal(setting, kind, oracle)
    names = {"adopt": {f"kd_{k + 1}" for k in range(len(setting.teachers))}, "data": {"kd"}, "objective": {"kd", "rep"}}
    assert terms.keys() == {"task", *names[setting.config.get("part", "adopt")]}


@pytest.mark.parametrize("kind", ["multilabel", "token_classification"])
@pytest.mark.parametrize("setting", [adopt(form="kl"), part("data", select="margin"), part("objective")], ids=str)
def test_the_terms_are_the_formulas_where_an_example_has_several_distributions(setting, kind):
    assert_terms_equal(setting, kind, oracle)


@pytest.mark.parametrize("kind", ["qa", "token_classification"])
@pytest.mark.parametrize("odd", [one_example, one_token])
@pytest.mark.parametrize(
    "setting", [adopt(qa_uncertainty=True), part("data", qa_uncertainty=True), part("objective", qa_uncertainty=True)]
)
def test_odd_batches(setting, odd, kind):
    assert_terms_equal(setting, kind, oracle, batch=odd(kind))


def test_an_uncertain_student_listens_to_the_first_teacher():
    method = bound(teachers=2)
    weights = method._teacher_weights(torch.tensor([0.0, 0.25, 1.0]))
    assert weights.tolist() == [[0, 0.25, 1], [1, 0.75, 0]]
    weights = bound(teachers=3)._teacher_weights(torch.tensor([0.0, 0.5, 1.0]))
    assert weights.T.tolist() == [[0, 1, 2], [1, 1, 1], [2, 1, 0]]
    hard = bound(teachers=2, strategy="hard")._teacher_weights(torch.tensor([0.1, 0.9, 0.5, 0.4, 0.6]))
    assert hard.tolist() == [[0, 1, 0, 0, 1], [1, 0, 1, 1, 0]]


def test_random_examples_are_drawn_anew():
    student, teacher = (tiny_model(kind="regression", seed=seed) for seed in (1, 2))
    given = {"student": student, "teachers": [teacher], "batch": batch_of("regression")}
    config = {"part": "data", "select": "random"}
    drawn = {loss_terms("dynamic_kd", **given, config=config, seed=seed)["kd"].item() for seed in range(9)}
    assert len(drawn) > 2


def test_the_uncertainty_has_no_gradient_unless_it_is_asked_for():
    def gradient(**config):
        student, *teachers = (tiny_model(seed=seed, num_labels=CLASSES).double() for seed in (1, 2, 3))
        batch = batch_of("classification")
        loss_terms("dynamic_kd", student=student, teachers=teachers, batch=batch, config=config)["kd_1"].backward()
        return student.classifier.weight.grad

    assert not torch.allclose(gradient(), gradient(detach_uncertainty=False))


def test_positions_without_a_teacher_token_are_not_compared():
    """Logits of a teacher with another tokenizer have the lowest value there, see `Alignment.answers`."""
    batch = Batch.from_mapping(batch_of("qa"))
    teacher = torch.randn(4, 2, 9).masked_fill(~batch.answer_mask[:, None], torch.finfo(torch.float32).min)
    student = teacher.clone().requires_grad_()
    teacher[:, :, 0] = torch.finfo(torch.float32).min
    loss = uncertainty.mse_by_example(student, teacher, batch)
    assert loss.tolist() == [0] * 4
    loss.sum().backward()
    assert student.grad.isfinite().all()


def bound(teachers=1, kind="classification", **config):
    cls = Host.create().methods["dynamic_kd"]
    student, base = ModelShape("small", 6, 768, 12, 3072), ModelShape("base", 12, 768, 12, 3072)
    large = ModelShape("large", 24, 1024, 16, 4096)
    shapes = [base, large, large][:teachers]
    return cls(cls.Config(**config), task=TaskInfo("some", kind, 2), student=student, teachers=shapes, seed=1)


def test_notes_stages_and_modules():
    assert bound(2).notes() == {"teachers_from_uncertain_to_certain": ["base", "large"]}
    assert "equal weights" in bound(2, kind="regression").notes()["uncertainty"]
    assert "qa_uncertainty" in bound(2, kind="qa").notes()["uncertainty"]
    assert "uncertainty" not in bound(2, kind="qa", qa_uncertainty=True).notes()
    assert "all examples" in bound(kind="regression", part="data").notes()["uncertainty"]
    assert bound(kind="regression", part="data", select="random").notes().keys() == {"queries"}
    assert bound(part="data", ratio=0.25).notes() == {"queries": "0.25 of each batch; the teacher runs on all of it"}
    maps = {"layer_maps": [[0, 2, 4, 6, 8, 10, 12], [0, 4, 8, 12, 16, 20, 24]]}
    assert bound(2, part="objective").notes() == maps
    (stage,) = bound(part="objective").stages()
    assert stage.needs.student == {"logits", "embeddings", *(f"hidden[{i}]" for i in range(1, 7))}
    method = bound(2, part="objective")
    modules = method.modules(method.student, method.teachers)
    assert [*modules] == [f"teacher_2_layer_{m}" for m in range(7)]
    assert not bound(2).modules(method.student, method.teachers)


def test_terms_that_compare_examples_are_declared():
    def declared(**config):
        return bound(**config).stages()[0].batch_dependent

    assert declared(teachers=2) == declared(part="objective") == frozenset()
    assert declared(teachers=2, strategy="hard") == {"kd_1", "kd_2"}
    assert declared(part="data") == {"kd"}
    assert declared(part="data", kind="regression") == declared(teachers=2, strategy="hard", kind="qa") == frozenset()


def test_weights():
    weights = {"task_weight": 2.0, "kd_weight": 3.0, "rep_weight": 4.0}
    assert bound(2, **weights).weights(None) == {"task": 2, "kd_1": 3, "kd_2": 3}
    assert bound(part="data", **weights).weights(None) == {"task": 2, "kd": 3}
    assert bound(part="objective", **weights).weights(None) == {"task": 2, "kd": 3, "rep": 4}


def test_errors():
    batch = tiny_batch("classification")
    models = {"student": tiny_model(layers=3), "teachers": [tiny_model(layers=3), tiny_model(layers=4)]}
    with pytest.raises(UserError, match=r"teacher 2: .*the student has 3 layers, the teacher 4"):
        loss_terms("dynamic_kd", **models, batch=batch, config={"part": "objective"})
    with pytest.raises(UserError, match=r"strategy 'hard' .* needs part 'adopt', not 'data'"):
        loss_terms("dynamic_kd", **models, batch=batch, config={"part": "data", "strategy": "hard"})
