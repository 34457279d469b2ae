"""Teachers that are rows of the suite: which student of which row, and what is refused."""

import pytest

from harness.resolution import load, resolve
from harness.resolution.row_teachers import training_order
from harness.resolution.suite import RowTeacher

TEXT = """\
name: chain
tasks: [sst2, rte]
teachers:
  base: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}
  medium: {row: ta}
  fixed: {row: both, student: small, seed: 2}
students:
  large: {layers: 4, init: uniform}
  small: {layers: 2, init: uniform}
methods:
  - logit_kd: {label: last, students: [small], teachers: [medium]}
  - logit_kd: {label: ta, students: [large]}
  - logit_kd: {label: both}
"""


@pytest.fixture
def resolved(write):
    def resolved(*overrides, text=TEXT):
        return resolve(load(write(text), overrides=overrides), online=False, allow_empty_rows=True)

    return resolved


def test_a_row_names_a_teacher_and_its_own_teachers_are_the_default_ones(resolved):
    suite = resolved().suite
    assert suite.rows == {"medium": RowTeacher("ta", "large"), "fixed": RowTeacher("both", "small", 2)}
    assert {variant.label: variant.teachers for variant in suite.variants} == {
        "last": ("medium",),
        "ta": ("base",),
        "both": ("base",),
    }
    assert suite.spec.first_teacher == "base"


def test_a_teacher_has_the_shape_of_its_student(resolved):
    shapes = resolved().shapes
    assert (shapes["medium"].name, shapes["medium"].layers) == ("medium", 4)
    assert shapes["fixed"].layers == 2


def test_rows_are_trained_after_those_that_they_learn_from_in_the_order_of_the_suite_otherwise(resolved):
    suite = resolved().suite
    assert [variant.label for variant in suite.variants] == ["last", "ta", "both"]
    assert [variant.label for variant in training_order(suite.variants, suite.rows)] == ["ta", "last", "both"]


def test_the_students_of_a_suite_take_their_family_from_a_teacher_that_is_no_row(resolved):
    text = TEXT.replace("  base:", "  other: {row: both, student: large}\n  base:")
    suite = resolved(text=text).suite
    assert suite.spec.first_teacher == "base"
    assert next(variant for variant in suite.variants if variant.label == "ta").teachers == ("base",)


def test_a_cell_is_not_applicable_where_its_teacher_is(resolved):
    methods = "methods=[{pkd: {label: ta, students: [large]}}, {logit_kd: {label: last, teachers: [medium]}}]"
    cells = resolved("students.large={layers: 4, hidden: 32, heads: 4, ffn: 64}", "teachers.fixed=null", methods).cells
    reasons = {(cell.variant.label, cell.student): cell.reason for cell in cells}
    assert reasons["ta", "large"]
    for student in ("large", "small"):
        assert reasons["last", student] == f"its teacher medium, row ta on large, is n/a: {reasons['ta', 'large']}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("ta}", "tb}"), ["teachers.medium.row: unknown row 'tb'", "both, last, ta"]),
        (("{row: ta}", "{row: ta, student: small}"), ["teachers.medium.student", "has no student 'small'", "large"]),
        (("small, seed: 2", "tiny"), ["teachers.fixed.student", "has no student 'tiny'", "large, small"]),
        ((", student: small, seed", ", seed"), ["teachers.fixed", "several students", "large, small"]),
        (("seed: 2", "seed: 7"), ["teachers.fixed.seed", "no run with seed 7", "1, 2, 3"]),
        (("{row: ta}", "{row: ta, lr: 0.1, epochs: 2}"), ["teachers.medium", "epochs, lr cannot be set"]),
        (("{row: ta}", "{row: ta, model: a/b}"), ["teachers.medium", "model cannot be set"]),
        (("{row: ta}", "{row: ta, seeds: [1, 2, 3]}"), ["teachers.medium", "seeds cannot be set"]),
        (("{row: ta}", "{student: large}"), ["teachers.medium", "`student` names a student of the row"]),
        (("{row: ta}", "{row: last}"), ["a row cannot learn from itself: last learns from last"]),
        (
            ("ta, students: [large]", "ta, students: [large], teachers: [end]"),
            ["a row cannot learn from itself: last learns from ta learns from last"],
        ),
        (("label: last,", "label: last, general: true,"), ["general"]),
    ],
)
def test_a_wrong_teacher_is_one_problem_with_its_key_and_a_remedy(suite_problems, change, words):
    old, new = change
    assert old in TEXT
    text = TEXT.replace(old, new, 1).replace("  fixed:", "  end: {row: last}\n  fixed:", 1)
    reported = suite_problems(text)
    assert len(reported) == 1, reported
    assert [word for word in words if word not in reported[0]] == [], reported[0]


def test_a_suite_whose_only_teachers_are_rows_says_that_a_row_needs_to_be_named(suite_problems):
    text = TEXT.replace("  base: {architecture: {layers: 4, hidden: 64, heads: 4, ffn: 128}}\n", "")
    reported = suite_problems(text)
    assert any("name those that are rows of the suite" in problem for problem in reported), reported
