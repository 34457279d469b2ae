"""The terms of bert_emd and its layer weights against plain loops over float64 numbers, its options and checks."""

import itertools

import numpy as np
import pytest
import torch

from harness.api.errors import UserError
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms
from tests.reference.comparison import evaluate
from tests.reference.formulas import kl, mean, mse, predictions, project, scores, task
from tests.reference.settings import batch_of, copied, model

METHOD = Host.create().methods["bert_emd"]
TOLERANCE = {"rel": 1e-7, "abs": 1e-12}


def amounts(cells, rows, columns):
    """What the cells of a spanning tree transport, or None if they are none."""
    left, open_cells, found = [[*rows], [*columns]], {*cells}, {}
    while open_cells:
        leaf = next(
            (
                (side, cell)
                for side in (0, 1)
                for cell in open_cells
                if sum(other[side] == cell[side] for other in open_cells) == 1
            ),
            None,
        )
        if leaf is None:
            return None  # a cycle
        side, cell = leaf
        found[cell] = left[side][cell[side]]
        for each in (0, 1):
            left[each][cell[each]] -= found[cell]
        open_cells.remove(cell)
    residual = max(map(abs, [*left[0], *left[1]]))
    return found if residual < 1e-12 and min(found.values()) > -1e-12 else None


def transport(distances, rows, columns):
    """The cheapest plan: the best of all vertices of the polytope, which are spanning trees."""
    cells = list(itertools.product(range(len(rows)), range(len(columns))))
    trees = itertools.combinations(cells, len(rows) + len(columns) - 1)
    plans = [found for tree in trees if (found := amounts(tree, rows, columns))]
    return min(plans, key=lambda plan: sum(plan[cell] * distances[cell] for cell in plan))


def distance_table(case, term):
    """d of layers (i, j), counted from 0."""

    def distance(s, t, i, j):
        if term == "attention":
            own, theirs = scores(s.queries[i], s.keys[i], s.heads), scores(t.queries[j], t.keys[j], t.heads)
            return mean(mse(*of_head) for of_head in zip(own, theirs, strict=True))
        weight = case.maps.get("hidden") or case.maps[f"hidden_{i}"]
        return mse(project(s.hidden[i], weight), t.hidden[j])

    depths = case.student[0].layers, case.teachers[0][0].layers
    cells = itertools.product(*(range(1, depth + 1) for depth in depths))
    return {(i - 1, j - 1): case.over_examples(lambda s, t, y, i=i, j=j: distance(s, t, i, j)) for i, j in cells}


def moved(plan, distances, rows, columns):
    """The layer weights after a step."""
    new = []
    for side, weights in ((0, rows), (1, columns)):
        costs = [sum(plan[c] * distances[c] for c in plan if c[side] == k) / weights[k] for k in range(len(weights))]
        ratios = [sum(costs) / cost for cost in costs]
        new.append([ratio / sum(ratios) for ratio in ratios])
    return new


def total(plan, distances):
    return sum(plan[cell] * distances[cell] for cell in plan)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression", "token_classification", "qa"])
def test_the_first_step_is_what_the_formulas_say(kind):
    config = {"alpha": 0.3, "temperature": 2.0}
    student, teacher, batch = model(kind, "student"), model(kind, "teacher", hidden=24), batch_of(kind)
    terms, case = evaluate("bert_emd", kind, student, [teacher], batch, config=config)
    factor = 1 if kind == "regression" else 4
    expected = {
        "prediction": 0.3 * factor * predictions(case, kl, 2.0) + 0.7 * task(case),
        "embedding": case.over_examples(lambda s, t, y: mse(project(s.hidden[0], case.maps["embedding"]), t.hidden[0])),
    }
    for term in ("attention", "hidden"):
        distances = distance_table(case, term)
        expected[term] = total(transport(distances, [1 / 2] * 2, [1 / 4] * 4), distances)
    assert terms == pytest.approx(expected, **TOLERANCE)


def stepped(config, steps, student=None, teacher=None):
    """The terms and the layer weights after `steps` updates on one batch, and the case."""
    states = []

    class Stepped(METHOD):
        def losses(self, step, *given):
            for _ in range(steps):
                super().losses(step, *given)
                with torch.no_grad():
                    self.after_step(step)
            states.append({n: m.values() for n, m in step.modules.items() if n.endswith("weights")})
            return super().losses(step, *given)

    student, teacher = student or model("classification", "student"), teacher or model("classification", "teacher")
    batch = batch_of("classification")
    terms = loss_terms(Stepped, student=student, teachers=[teacher], batch=batch, config=config)
    return {name: term.item() for name, term in terms.items()}, states[0]


@pytest.mark.parametrize("separate", [False, True])
def test_layer_weights_move_to_layers_that_cost_less(separate):
    student, teacher = model("classification", "student"), model("classification", "teacher")
    _, case = evaluate("bert_emd", "classification", student, [teacher], batch_of("classification"))
    distances = {term: distance_table(case, term) for term in ("attention", "hidden")}
    weights = {term: ([1 / 2] * 2, [1 / 4] * 4) for term in distances}
    for steps in range(4):
        plans = {term: transport(distances[term], *weights[term]) for term in distances}
        terms, states = stepped({"separate_weights": separate}, steps)
        for term in distances:
            assert terms[term] == pytest.approx(total(plans[term], distances[term]), **TOLERANCE)
            state = states[f"{term}_weights" if separate else "layer_weights"]
            for found, expected in zip(state, weights[term], strict=True):
                assert found == pytest.approx(expected, **TOLERANCE)
        weights = {term: moved(plans[term], distances[term], *weights[term]) for term in distances}
        if not separate:
            both = [[mean(pair) for pair in zip(*sides, strict=True)] for sides in zip(*weights.values(), strict=True)]
            weights = dict.fromkeys(weights, both)
    assert max(weights["hidden"][1]) > 0.26, "the weights have moved"


def test_softmax_of_the_paper():
    _, before = stepped({}, 0)
    _, by_sum = stepped({"attention": False}, 1)
    _, by_softmax = stepped({"attention": False, "normalise": "softmax", "emd_temperature": 2.0}, 1)
    for start, divided, soft in zip(
        before["layer_weights"], *(s["layer_weights"] for s in (by_sum, by_softmax)), strict=True
    ):
        ratios = divided * (1 / divided).sum()  # r_i = sum_k c_k / c_i, for which sum_i 1 / r_i = 1
        expected = np.exp(ratios / 2) / np.exp(ratios / 2).sum()
        assert soft == pytest.approx(expected, rel=1e-6)
        assert not np.allclose(start, soft)


def test_without_cost_attention_weights_stay_equal():
    config = {"cost_attention": False}
    first, states = stepped(config, 0)
    again, _ = stepped(config, 3)
    assert states == {}
    assert first == again


def test_a_step_without_costs_keeps_the_weights():
    teacher = model("classification", "teacher")
    terms, states = stepped({}, 2, teacher, teacher)
    assert terms["attention"] == terms["hidden"] == 0
    for weights in states["layer_weights"]:
        assert weights == pytest.approx(1 / 4)


def test_a_plan_is_found_for_very_small_distances():
    """The tolerances of the solver are absolute."""
    from harness_plugins.bert_emd.transport import plan

    generator = np.random.default_rng(1)
    distances, rows, columns = generator.random((2, 4)), np.array([0.4, 0.6]), np.array([0.1, 0.2, 0.3, 0.4])
    expected = transport(dict(np.ndenumerate(distances)), rows, columns)
    for scale in (1e-12, 1.0, 1e12):
        found = plan(distances * scale, rows, columns)
        assert {cell: found[cell] for cell in expected} == pytest.approx(expected, abs=1e-9)
    assert np.isnan((plan(distances * np.nan, rows, columns) * distances * np.nan).sum())


def test_weights_never_become_zero():
    from harness_plugins.bert_emd.transport import updated

    new = updated(np.array([0.5, 0.5]), np.array([1e-4, 1e4]), "softmax", 1.0)
    assert new.sum() == pytest.approx(1)
    assert new.min() == pytest.approx(1e-6, rel=1e-3)


def test_the_uniform_mapping_replaces_the_transport():
    student, teacher = model("qa", "student"), model("qa", "teacher")
    terms, case = evaluate("bert_emd", "qa", student, [teacher], batch_of("qa"), config={"mapping": "uniform"})
    for term in ("attention", "hidden"):
        distances = distance_table(case, term)
        assert terms[term] == pytest.approx((distances[0, 1] + distances[1, 3]) / 2, **TOLERANCE)
    assert bound_method({"mapping": "uniform"}).stages()[0].batch_dependent == frozenset()


def test_a_projection_for_each_layer():
    student, teacher = model("classification", "student"), model("classification", "teacher", hidden=24)
    terms, case = evaluate(
        "bert_emd",
        "classification",
        student,
        [teacher],
        batch_of("classification"),
        config={"separate_projections": True},
    )
    assert case.maps.keys() == {"embedding", "hidden_1", "hidden_2"}
    distances = distance_table(case, "hidden")
    assert terms["hidden"] == pytest.approx(
        total(transport(distances, [1 / 2] * 2, [1 / 4] * 4), distances), **TOLERANCE
    )


def test_the_plan_is_constant_for_the_gradient():
    """The derivative along the gradient is that of the loss with the plan of the start."""
    student, teacher = copied(model("classification", "student")).double(), model("classification", "teacher")
    inputs = {"student": student, "teachers": [teacher], "batch": batch_of("classification")}
    loss_terms("bert_emd", **inputs)["attention"].backward()
    weight = student.bert.encoder.layer[1].attention.self.query.weight
    gradient, start = weight.grad.clone(), weight.detach().clone()
    values = []
    for change in (-1e-7, 1e-7):
        with torch.no_grad():
            weight.copy_(start + change * gradient)
        values.append(loss_terms("bert_emd", **inputs)["attention"].item())
    assert (values[1] - values[0]) / 2e-7 == pytest.approx(float((gradient**2).sum()), rel=1e-3)


def bound_method(config=None, heads=12, layers=4):
    student, teacher = ModelShape("small", layers, 312, heads, 1200), ModelShape("base", 12, 768, 12, 3072)
    sst2 = TaskInfo("sst2", "classification", 2)
    return METHOD(METHOD.Config(**(config or {})), task=sst2, student=student, teachers=[teacher], seed=1)


def test_weights_of_the_total():
    method = bound_method({"beta": 0.005, "theta": 3})
    assert method.weights(None) == pytest.approx(
        {"attention": 0.015, "hidden": 0.015, "embedding": 0.005, "prediction": 1}
    )
    assert method.stages()[0].batch_dependent == {"attention", "hidden"}


@pytest.mark.parametrize("off", ["attention", "hidden", "embedding"])
def test_what_is_off_is_neither_read_nor_computed(off):
    method = bound_method({off: False})
    needs = method.stages()[0].needs
    reads = {"attention": "queries[1]", "hidden": "hidden[1]", "embedding": "embeddings"}
    assert {name: need in needs.student for name, need in reads.items()} == {name: name != off for name in reads}
    assert off not in method.weights(None)
    terms, states = stepped({off: False}, 1)
    assert terms.keys() == {"prediction", *reads} - {off}
    assert states.keys() == {"layer_weights"}


def test_without_both_transports_there_are_no_layer_weights():
    terms, states = stepped({"attention": False, "hidden": False}, 1)
    assert terms.keys() == {"prediction", "embedding"}
    assert states == {}


def test_errors_for_models_name_both_numbers():
    def messages(**given):
        method = bound_method(**given)
        return [str(problem) for problem in method.check(method.task, method.student, method.teachers)]

    assert messages(layers=5) == messages(heads=6, config={"attention": False}) == []
    assert "small has 6, base has 12" in messages(heads=6)[0]
    assert "the student has 5 layers, the teacher 12" in messages(layers=5, config={"mapping": "uniform"})[0]
    with pytest.raises(UserError, match="student has 2, teacher 1 has 4"):
        loss_terms(
            "bert_emd",
            student=model("qa", "student", heads=2),
            teachers=[model("qa", "teacher")],
            batch=batch_of("qa"),
        )
