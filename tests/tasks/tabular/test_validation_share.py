"""A share of the training examples as validation."""

from collections import Counter

import pytest

ROWS = [(f"t{i}", "rare" if i % 10 == 0 else "common", f"g{i // 5}") for i in range(200)]
CSV = "text,label,who\n" + "".join(",".join(row) + "\n" for row in ROWS)


@pytest.fixture
def split(files):
    files.write("rows.csv", CSV)

    def split(**declaration):
        splits = files.load(**{"train": "rows.csv", "validation": 0.2, **declaration})
        return splits.train, splits.validation["validation"]

    return split


def test_a_share_is_stratified_and_every_example_is_in_one_part(split):
    train, validation = split()
    assert Counter(validation["label"][:]) == {0: 36, 1: 4}
    assert sorted(train["text"][:] + validation["text"][:]) == sorted(text for text, _, _ in ROWS)
    assert validation["text"][:] == sorted(validation["text"][:], key=lambda text: int(text[1:]))


def test_the_seed_decides(split):
    first, same, other = (split(seed=seed)[1]["id"][:] for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_groups_stay_together(split):
    train, validation = split(group="who")
    of_text = {text: group for text, _, group in ROWS}
    groups = [{of_text[text] for text in part["text"][:]} for part in (train, validation)]
    assert not groups[0] & groups[1]
    assert len(validation) == 40
    assert train.column_names == ["id", "text", "group", "label"]
    assert validation.column_names == ["id", "text", "label"]


def test_questions_about_a_context_stay_together(files):
    rows = [f'"q{i}","context {i // 4} has it","context {i // 4}"' for i in range(40)]
    files.write("qa.csv", "question,context,answers\n" + "\n".join(rows) + "\n")
    splits = files.load(kind="qa", train="qa.csv", validation=0.3)
    contexts = [set(part["context"][:]) for part in (splits.train, splits.validation["validation"])]
    assert [len(part) for part in contexts] == [7, 3]
    assert not contexts[0] & contexts[1]


def test_the_only_example_of_a_class_is_not_held_out(files):
    files.write("rows.csv", "text,label\n" + "".join(f"t{i},{min(i, 3)}\n" for i in range(20)))
    for seed in range(5):
        splits = files.load(train="rows.csv", validation=0.5, seed=seed)
        assert set(splits.train["label"][:]) == {0, 1, 2, 3}
        assert len(splits.validation["validation"]) == 10


def test_regressions_are_stratified_by_value(files):
    files.write("rows.csv", "text,label\n" + "".join(f"t{i},{i}\n" for i in range(100)))
    validation = files.load(kind="regression", train="rows.csv", validation=0.1).validation["validation"]
    assert sorted(int(label) // 10 for label in validation["label"][:]) == list(range(10))


@pytest.mark.parametrize(
    ("rows", "declaration", "what"), [(4, {"validation": 0.1}, "examples"), (9, {"group": "who"}, "groups")]
)
def test_a_share_that_holds_nothing_out(files, rows, declaration, what):
    files.write("rows.csv", "text,label,who\n" + "".join(f"t{i},{i % 2},same\n" for i in range(rows)))
    (problem,) = files.problems(**{"train": "rows.csv", "validation": 0.3, **declaration})
    assert f"of {rows} examples cannot be held out as validation: there are too few {what}" in problem


def test_a_validation_file_needs_no_groups(files):
    files.write("rows.csv", CSV)
    files.write("validation.csv", "text,label\nx,rare\n")
    splits = files.load(train="rows.csv", validation="validation.csv", group="who")
    assert splits.train.column_names == ["id", "text", "group", "label"]
    assert splits.validation["validation"].column_names == ["id", "text", "label"]
