"""What a plan reports of the examples: texts that occur twice, corrected answers, the size of labels."""

import pytest
from datasets import Dataset

from harness.analysis.data_notes import overlapping, provenance, unscaled, warnings
from harness.api.task import LabelScale, Splits, Task
from harness.planning.task_data import report_on
from harness.storage.plan_file import DataReport
from harness.tasks.overlap import overlap

TRAIN = Dataset.from_dict({"id": ["0", "1"], "text": ["A  fine film", "ﬁne"], "label": [0, 1]})
TASK = Task("t", "classification", lambda source: None, ("accuracy",), "accuracy", labels=("a", "b"))


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
    report = report_on(TASK, Splits(TRAIN, {"dev": validation}, repaired={"train": 3, "dev": 0}))
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


def regression(labels, **fields):
    rows = Dataset.from_dict({"id": list(map(str, range(len(labels)))), "text": ["x"] * len(labels), "label": labels})
    return report_on(Task("t", "regression", lambda source: None, ("errors",), "mse", **fields), Splits(rows, {}))


def test_the_labels_of_a_regression_are_reported():
    assert regression([1.0, 3.0]).labels == LabelScale(mean=2.0, deviation=1.0)
    assert regression([7.0, 7.0]).labels.unit == 1.0
    report = DataReport.model_validate_json(regression([1.0, 3.0], standardize=True).model_dump_json())
    assert (report.labels, report.standardized) == (LabelScale(2.0, 1.0), True)
    assert list(provenance("t", report))[1:] == [
        (
            "Standardized labels, t",
            "trained on (label - 2) / 1, the mean and the standard deviation of the training labels; scores are in the"
            " unit of the labels",
        )
    ]


@pytest.mark.parametrize(
    ("labels", "warned"),
    [
        ([0.0, 1150.0], True),  # prices
        ([2000.0, 2020.0], True),  # years: the mean
        ([-100.0, 100.0], True),  # the deviation
        ([0.001, 0.002], True),
        ([0.0, 5.0], False),  # stars
        ([1.0, 10.0], False),
        ([3.0, 3.0], False),
    ],
)
def test_a_warning_of_labels_far_from_the_outputs_of_a_model(labels, warned):
    assert bool(unscaled({"t": regression(labels)})) == warned
    assert unscaled({"t": regression(labels, standardize=True)}) == []


def test_the_warning_names_task_numbers_and_remedy():
    (warning,) = warnings({"price": regression([500.0, 1500.0])})
    assert warning.startswith("price: the training labels have a mean of 1000 and a standard deviation of 500, far")
    assert warning.endswith("give the task `standardize: true`")
