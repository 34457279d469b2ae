"""Which rows a plot shows if there are too many."""

from harness.analysis.summary import BoardRow
from harness.plots.shown_rows import best_rows, hidden_note


def rows(**counts):
    return [
        BoardRow("student", f"{student}{n}", student, {}, 1, 1) for student, many in counts.items() for n in range(many)
    ]


def labels(chosen):
    return [row.label for row in chosen]


def test_all_rows_are_shown_if_they_fit():
    assert labels(best_rows(rows(big=2, small=1), 3)) == ["big0", "big1", "small0"]
    assert best_rows([], 3) == []


def test_each_student_has_its_first_rows():
    assert labels(best_rows(rows(big=9, small=9), 4)) == ["big0", "big1", "small0", "small1"]


def test_students_beyond_the_limit_have_none():
    assert labels(best_rows(rows(a=2, b=2, c=2), 2)) == ["a0", "b0"]


def test_caption_says_how_many_are_shown():
    assert hidden_note(5, 5) == ""
    assert hidden_note(60, 250).startswith(" Shown: the best rows of each student, 60 of 250 rows;")
