"""Every setting is part of keys, unless the schema gives a reason."""

from dataclasses import replace
from typing import ClassVar

import pytest

from harness.api.method import MethodConfig
from harness.config.method_schema import MethodSpec
from harness.config.schema import SuiteSpec
from harness.config.selection_schema import SelectionSpec, TuningSpec
from harness.config.strict_model import Strict
from harness.config.student_schema import StudentSpec
from harness.config.teacher_schema import TeacherCacheSpec, TeacherSpec
from harness.config.text_stage_schema import GeneralSpec
from harness.config.training_schema import TrainingSpec
from harness.planning import keys, plan_builder
from harness.resolution import resolve

SPECS = sorted(
    (spec for spec in Strict.__subclasses__() if spec.__module__.startswith("harness.config.")),
    key=lambda spec: spec.__name__,
)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.__name__)
def test_each_field_that_is_not_in_keys_has_a_reason(spec):
    assert all(len(reason) > 5 for reason in spec.not_in_key.values())


def test_a_reason_for_a_field_that_does_not_exist_is_an_error():
    with pytest.raises(TypeError, match="not_in_key names fields that do not exist: gone"):

        class Wrong(Strict):
            not_in_key: ClassVar = {"gone": "it is gone"}


def extended(settings):
    """Return the same settings with one additional field at its default."""
    kind = type(settings)
    more = type(f"More{kind.__name__}", (kind,), {"__annotations__": {"new_setting": float}, "new_setting": 0.0})
    return more.model_construct(
        _fields_set=settings.model_fields_set, **{n: getattr(settings, n) for n in kind.model_fields}
    )


def keys_of(loaded, spec):
    """Return the keys of the runs and of the teachers of a suite with specification `spec`."""
    resolved = resolve(replace(loaded, suite=replace(loaded.suite, spec=spec)), online=False)
    plan = plan_builder.build(resolved)
    return {job.planned.key for job in plan.runs}, {job.key for job in plan.teachers}


CHANGES = {
    TrainingSpec: lambda spec: {"training": extended(spec.training)},
    TeacherSpec: lambda spec: {"teachers": {name: extended(teacher) for name, teacher in spec.teachers.items()}},
    StudentSpec: lambda spec: {"students": {name: extended(student) for name, student in spec.students.items()}},
    MethodSpec: lambda spec: {"methods": [extended(entry) for entry in spec.methods]},
    SelectionSpec: lambda spec: {"selection": extended(spec.selection)},
    TuningSpec: lambda spec: {"tuning": extended(spec.tuning)},
    TeacherCacheSpec: lambda spec: {"teacher_cache": extended(spec.teacher_cache)},
}


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.__name__)
def test_a_new_field_changes_the_keys_of_runs(small, kind):
    loaded = small.load("methods=[finetune, logit_kd]", "seeds=[1]", "tuning={trials: 2}", "selection=train")
    spec = loaded.suite.spec
    runs, teachers = keys_of(loaded, spec)
    more_runs, more_teachers = keys_of(loaded, spec.model_copy(update=CHANGES[kind](spec)))
    assert not runs & more_runs
    assert (teachers == more_teachers) == (kind not in (TrainingSpec, TeacherSpec))


def test_a_new_field_of_the_suite_itself_changes_the_keys_of_runs(small):
    loaded = small.load("methods=[finetune]", "seeds=[1]")
    runs, _ = keys_of(loaded, loaded.suite.spec)
    more, _ = keys_of(loaded, extended(loaded.suite.spec))
    assert not runs & more


def test_a_new_field_of_the_text_stage_is_part_of_its_key():
    assert "new_setting" in extended(GeneralSpec(data="x.txt", steps=1)).key_fields()
    assert SuiteSpec.not_in_key.keys() <= SuiteSpec.model_fields.keys()


class Extended(MethodConfig):
    weight: float = 1.0
    scale: str = "paper"

    added_later: ClassVar[frozenset[str]] = frozenset({"scale"})


@pytest.mark.parametrize(
    ("options", "in_key"),
    [
        ({}, {"weight": 1.0}),
        ({"scale": "paper"}, {"weight": 1.0}),
        ({"scale": "code"}, {"weight": 1.0, "scale": "code"}),
    ],
)
def test_a_later_option_is_in_keys_unless_it_has_its_default(options, in_key):
    assert keys.method_options(Extended(**options)) == in_key
