"""Validation examples that have the same texts as training examples."""

import pytest
from datasets import Dataset

from harness.analysis.data_notes import overlapping, provenance
from harness.api.task import Splits
from harness.planning.task_data import report_on
from harness.storage.plan_file import DataReport
from harness.tasks.overlap import overlap

TRAIN = Dataset.from_dict({"id": ["0", "1"], "text": ["A  fine film", "ﬁne"], "label": [0, 1]})


@pytest.mark.parametrize(
    ("text", "count"), [("a fine FILM", 1), (" a fine\tfilm\n", 1), ("fine", 1), ("a fine film.", 0), ("", 0)]
)
def test_texts_are_compared_without_case_white_space_and_unicode_form(text, count):
    validation = Dataset.from_dict({"id": ["0", "1"], "text": [text, "other"], "label": [1, 1]})
    assert overlap(Splits(TRAIN, {"dev": validation})) == {"dev": count}


def test_all_texts_of_an_example_count_together():
    def pairs(*rows):
        first, second = zip(*rows, strict=True)
        ids = [str(index) for index in range(len(rows))]
        return Dataset.from_dict({"id": ids, "text_pair": second, "text": first, "label": [0] * len(rows)})

    splits = Splits(pairs(("a", "b"), ("c", "d")), {"one": pairs(("a", "d"), ("b", "a")), "two": pairs(("A", "b"))})
    assert overlap(splits) == {"one": 0, "two": 1}


def test_questions_with_the_same_context_are_distinguished():
    def questions(*texts):
        ids = [str(index) for index in range(len(texts))]
        return Dataset.from_dict({"id": ids, "question": texts, "context": ["one context"] * len(texts)})

    assert overlap(Splits(questions("who", "what"), {"dev": questions("who", "where", "WHAT")})) == {"dev": 2}


def test_the_report_of_a_board():
    validation = Dataset.from_dict({"id": list("abc"), "text": ["fine", "x", "y"], "label": [0, 0, 0]})
    report = report_on(Splits(TRAIN, {"dev": validation}, repaired={"train": 3, "dev": 0}))
    assert report == DataReport(examples={"dev": 3}, overlap={"dev": 1}, repaired={"train": 3})
    assert overlapping({"t": report}) == ["t: 1 of 3 dev examples (33.3 %)"]
    assert list(provenance("t", report)) == [
        ("Validation texts in the training split, t", "1 of 3 dev examples (33.3 %)"),
        ("Answers whose start was corrected, t", "3 in train"),
    ]


@pytest.mark.parametrize(("count", "warned"), [(0, False), (10, False), (11, True)])
def test_a_warning_above_one_percent(count, warned):
    report = DataReport(examples={"validation": 1000}, overlap={"validation": count})
    assert bool(overlapping({"t": report})) == warned
