"""Terms, weights, dropped teachers and options of dgkd."""

from collections import Counter

import pytest
import torch
from pydantic import ValidationError

from harness.api.method import Step, TaskInfo
from harness.api.model_outputs import ModelShape
from harness.plugin_host.host import Host
from harness.testing import loss_terms, tiny_batch, tiny_model
from tests.reference import formulas, reading

METHOD = Host.create().methods["dgkd"]
STUDENT = ModelShape("small", 4, 312, 12, 1200)


def bound_method(kind="classification", teachers=3, seed=1, **config):
    shapes = [ModelShape(f"teacher {i}", 12 - i, 768, 12, 3072) for i in range(teachers)]
    task = TaskInfo("t", kind, 4)
    return METHOD(METHOD.Config(**config), task=task, student=STUDENT, teachers=shapes, seed=seed)


def step_of(method, index):
    return Step(method.stages()[0], index, 1000, 0.0, 1.0, torch.nn.ModuleDict(), torch.Generator())


@pytest.mark.parametrize("kind", ["classification", "regression", "qa", "multilabel", "token_classification"])
@pytest.mark.parametrize("config", [{}, {"temperature": 2.5, "drop_num": 0}])
def test_the_terms_are_the_formulas(kind, config):
    sizes = [{"layers": 4, "hidden": 24}, {"layers": 3, "hidden": 16}, {"layers": 2, "hidden": 16, "heads": 2}]
    student = tiny_model(kind=kind, num_labels=3, **{"layers": 1, "hidden": 16, "heads": 4}, seed=1).double()
    teachers = [
        tiny_model(kind=kind, num_labels=3, **{"heads": 4, **each}, seed=2 + i).double() for i, each in enumerate(sizes)
    ]
    batch = tiny_batch(kind, batch=4, length=9, num_labels=3, seed=3)
    found = loss_terms(METHOD, student=student, teachers=teachers, batch=batch, config=config)
    own, labels = reading.read(student, batch), reading.labels(batch, kind)
    options = {"temperature": METHOD.Config(**config).temperature}
    expected = {}
    for name, teacher in zip(("kd_T", "kd_1", "kd_2"), teachers, strict=True):
        case = formulas.Case(kind, own, [reading.read(teacher, batch)], labels, options, maps={}, drawn=[])
        of_teacher = formulas.logit_kd(case)
        expected |= {name: of_teacher["kd"], "task": of_teacher["task"]}
    assert {name: term.item() for name, term in found.items()} == pytest.approx(expected, rel=1e-6)


def test_every_teacher_counts_without_drops():
    method = bound_method(drop_num=0, kd_weight=0.7)
    assert method.weights(step_of(method, 0)) == pytest.approx({"task": 0.3, "kd_T": 0.7, "kd_1": 0.7, "kd_2": 0.7})
    method = bound_method(drop_num=0, kd_weight=0.7, label_scale="teachers")
    assert method.weights(step_of(method, 0))["task"] == pytest.approx(0.9)
    method = bound_method(drop_num=0, kd_scale="code")
    assert method.weights(step_of(method, 0)) == {"task": 0.0, "kd_T": 0.25, "kd_1": 0.25, "kd_2": 0.25}


@pytest.mark.parametrize("drop", [1, 2])
def test_each_step_drops_that_many_teachers_at_random(drop):
    method, counts = bound_method(drop_num=drop), Counter()
    for index in range(900):
        weights = method.weights(step_of(method, index))
        kept = [name for name, weight in weights.items() if name != "task" and weight == 1]
        assert len(kept) == 3 - drop
        counts.update(kept)
    assert all(abs(count - 900 * (3 - drop) / 3) < 70 for count in counts.values())


def test_each_teacher_is_kept_with_a_probability():
    method = bound_method(keep=0.75)
    kept = [method.kept(step_of(method, index)) for index in range(900)]
    assert all(abs(sum(i in each for each in kept) - 675) < 60 for i in range(3))
    assert {len(each) for each in kept} == {0, 1, 2, 3}


def test_all_parts_of_a_batch_have_the_draw_of_the_step():
    """It depends on seed and step alone, not on a generator that each part would move on."""
    method = bound_method()
    draws = [method.kept(step_of(method, index)) for index in range(20)]
    assert draws == [method.kept(step_of(method, index)) for index in range(20)]
    assert len(set(draws)) == 3
    assert draws != [bound_method(seed=2).kept(step_of(method, index)) for index in range(20)]


def test_the_draw_is_equal_in_all_python_versions():
    drawn = [sorted(bound_method().kept(step_of(bound_method(), index))) for index in range(6)]
    assert drawn == [[0, 1], [1, 2], [1, 2], [1, 2], [0, 2], [0, 1]]
    method = bound_method(keep=0.5)
    assert [sorted(method.kept(step_of(method, index))) for index in (0, 1, 4)] == [[0, 1, 2], [], [0, 2]]


@pytest.mark.parametrize("config", [{}, {"keep": 0.1}])
def test_a_single_teacher_is_not_dropped(config):
    method = bound_method(teachers=1, **config)
    assert {tuple(method.weights(step_of(method, index)).items()) for index in range(20)} == {
        (("task", 0.0), ("kd_T", 1.0))
    }
    assert not method.check(method.task, STUDENT, method.teachers)


def test_a_step_that_keeps_no_teacher_learns_from_the_labels():
    method = bound_method(keep=0.5, kd_weight=0.75)
    weights = method.weights(step_of(method, 1))
    assert weights == {"task": 0.25, "kd_T": 0.0, "kd_1": 0.0, "kd_2": 0.0}


def test_dropping_all_teachers_is_an_error():
    method = bound_method(drop_num=3)
    (problem,) = method.check(method.task, STUDENT, method.teachers)
    assert problem.message == "drop_num 3 drops all of 3 teachers; it must be less than their number"
    method = bound_method(drop_num=3, keep=0.5)
    assert not method.check(method.task, STUDENT, method.teachers)


@pytest.mark.parametrize(
    "config", [{"kd_weight": 1.1}, {"keep": 0}, {"keep": 1.5}, {"temperature": 0}, {"drop_num": -1}]
)
def test_options_out_of_range_are_an_error(config):
    with pytest.raises(ValidationError, match=next(iter(config))):
        bound_method(**config)
