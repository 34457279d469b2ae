"""Each method's terms equal plain float64 loops, on every kind of task and on text, whatever models and batches are
handed over."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.api.batch import NOT_MASKED
from harness.api.method import TaskInfo
from harness.api.model_outputs import ModelShape
from harness.api.task import Task
from harness.config.student_schema import StudentSpec
from harness.models import students
from harness.models.initialization import seeded
from harness.plugin_host.host import Host
from harness.resolution.method_rows import has_text_stage
from harness.testing import loss_terms, tiny_model
from tests.reference import comparison, formulas
from tests.reference.odd_batches import in_other_types, one_example, one_token, without_token_types
from tests.reference.settings import (
    CLASSES,
    DERIVED,
    KINDS,
    ON_TEXT,
    ONE_EACH,
    SETTINGS,
    Setting,
    batch_of,
    copied,
    models,
)

METHODS = Host.create().methods
UNWEIGHTED = Setting("mt_bert", config={"weighting": False}, teachers=({}, {"hidden": 8}))


def both(setting, kind, batch, student, teachers):
    """The terms, and what the loops say that they are."""
    return comparison.both(setting, kind, batch, student, teachers, lambda stage: formulas.TERMS[setting.method, stage])


def stages_of(name):
    """All that a method trains in, with its defaults: on the task, then on text."""
    cls, shape = METHODS[name], ModelShape("tiny", layers=2, hidden=16, heads=4, ffn=16)
    made = cls(
        cls.Config(),
        task=TaskInfo("tiny", "classification", CLASSES),
        student=shape,
        teachers=[shape][: cls.max_teachers],
        seed=1,
    )
    general = made.general() if has_text_stage(cls) else None
    return [stage.name for stage in (*made.stages(), *([general.stage] if general else []))]


def has_formulas_of_its_own(name):
    """Whether the tests in the method's folder compare its terms with formulas in float64."""
    tests = Path(inspect.getfile(METHODS[name])).parent.glob("test_*.py")
    marks = ("from tests.reference", "double()", "float64")
    return any(mark in path.read_text(encoding="utf-8") for path in tests for mark in marks)


HERE = sorted({name for name, _ in formulas.TERMS})
"""Methods whose formulas are in this folder; those of the others are in the tests in their own folders."""


def test_every_stage_of_every_method_is_held_to_formulas():
    assert [name for name in METHODS if name not in HERE and not has_formulas_of_its_own(name)] == []
    every = {(name, stage) for name in HERE for stage in stages_of(name)} | {("mlkd_bert", "one_stage")}
    assert {(each.method, each.stage or stages_of(each.method)[0]) for each in (*SETTINGS, *ON_TEXT)} == every
    assert formulas.TERMS.keys() == every
    assert {each.method for each in ONE_EACH} == {name for name in HERE if METHODS[name].max_teachers != 0}


CASES = [(setting, kind) for setting in SETTINGS for kind in KINDS] + [(setting, "text") for setting in ON_TEXT]
CASES += [(setting, kind) for setting in (*ONE_EACH, UNWEIGHTED) for kind in DERIVED]


@pytest.mark.parametrize(("setting", "kind"), CASES, ids=str)
def test_the_terms_are_the_formulas(setting, kind):
    batch, (student, teachers) = batch_of(kind), models(setting, kind)
    assert len(set(batch["attention_mask"].sum(-1).tolist())) > 1, "ragged"
    found, expected = both(setting, kind, batch, student, teachers)
    assert found == pytest.approx(expected, rel=1e-5)
    assert all(abs(value) > 1e-6 for value in expected.values()), "something is compared"
    for teacher in teachers:
        teacher.train()
    again = comparison.terms_of(setting, batch, student, teachers)
    assert all(module.training for teacher in teachers for module in teacher.modules())
    for teacher in teachers:
        teacher.eval()
    assert again == found, "handed over in training mode, a teacher says the same"


@pytest.mark.parametrize("setting", ON_TEXT, ids=str)
def test_padding_of_text_counts_nowhere(setting):
    batch, (student, teachers) = batch_of("text"), models(setting, "text")
    fill = {"labels": NOT_MASKED}
    padded = {name: torch.nn.functional.pad(each, (0, 3), value=fill.get(name, 0)) for name, each in batch.items()}
    found, expected = both(setting, "text", padded, student, teachers)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ONE_EACH, ids=str)
def test_in_float32_they_differ_by_rounding(setting, kind):
    batch, (student, teachers) = batch_of(kind), models(setting, kind)
    found, expected = both(setting, kind, batch, copied(student), [copied(teacher) for teacher in teachers])
    assert found == pytest.approx(expected, rel=2e-4)


def lonely_classes(kind):
    """Two classes have a single example."""
    return batch_of(kind) | {"labels": torch.tensor([0, 2, 2, 1])}


def one_class(kind):
    return batch_of(kind) | {"labels": torch.full((4,), 2)}


ODD = [(odd, kind) for odd in (without_token_types, one_example, one_token, in_other_types) for kind in KINDS]
ODD += [(odd, kind) for odd in (one_example, one_token) for kind in DERIVED]
ODD += [(lonely_classes, "classification"), (one_class, "classification")]


@pytest.mark.parametrize(("odd", "kind"), ODD, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.parametrize("setting", ONE_EACH, ids=str)
def test_odd_batches(setting, odd: Callable, kind):
    student, teachers = models(setting, kind)
    found, expected = both(setting, kind, odd(kind), student, teachers)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-14)


FAMILIES = [("roberta", "roberta"), ("electra", "electra"), ("distilbert", "bert"), ("bert", "roberta")]


@pytest.mark.parametrize("families", FAMILIES, ids="-".join)
@pytest.mark.parametrize("setting", ONE_EACH, ids=str)
def test_other_families(setting, families):
    kind = "classification"
    student, teachers = models(setting, kind, families)
    found, expected = both(setting, kind, batch_of(kind), student, teachers)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("heads", [6, 3, 2])
@pytest.mark.parametrize(
    "setting", [Setting("mlkd_bert", config={"one_stage": True}), Setting("minilm", config={"version": 2})], ids=str
)
def test_fewer_heads_in_a_student_that_begins_with_the_teachers_layers(setting, heads, kind):
    """As a suite builds it of `{layers: 2, heads: ..., init: uniform}`."""
    names = tuple(map(str, range(CLASSES))) if kind == "classification" else ()
    task = Task("some", kind, load=lambda source: None, metrics=(), score="", labels=names)
    teacher = tiny_model(kind=kind, num_labels=CLASSES, layers=4, hidden=24, heads=12, seed=2)
    spec = StudentSpec(layers=2, heads=heads, init="uniform")
    student = students.build(spec, name="small", task=task, teacher=teacher, checkpoint=None, seed=1).double()
    assert student.config.num_attention_heads == heads
    found, expected = both(setting, kind, batch_of(kind), student, [teacher.double()])
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected.get("emb", 0) == 0, "the embeddings are the teacher's"


def test_two_views_of_a_student_in_training_are_two_draws_of_its_dropout():
    setting = Setting("mlkd_bert", "stage2", {"views": "dropout"})
    own, (teacher,) = models(setting, "classification")
    student, batch = copied(own).double().train(), batch_of("classification")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with seeded(3):
        given = {"student": student, "teachers": [teacher], "stage": setting.stage, "config": setting.config}
        found = loss_terms(setting.method, **given, batch=batch)["sc"]
    with seeded(3):
        views = [student(**inputs, output_hidden_states=True).hidden_states[2][:, 0].tolist() for _ in range(2)]
    assert views[0] != views[1]
    units = [formulas.unit(v) for v in views[0] + views[1]]
    assert found.item() == pytest.approx(formulas.contrast(units, batch["labels"].tolist() * 2, 0.1), rel=1e-5)
