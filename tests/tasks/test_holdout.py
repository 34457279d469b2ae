"""The held-out split of a training split."""

from collections import Counter

import numpy as np
import pytest
from datasets import Dataset

from harness.api.errors import UserError
from harness.api.task import Splits, Task
from harness.config.selection_schema import SelectionSpec
from harness.tasks import holdout
from harness.tasks.fingerprints import limit_splits
from harness.tasks.holdout import hold_out, split_training
from harness.tasks.row_sampling import held_out_rows
from harness.tasks.synthetic.generated_tasks import ENTAILMENT, QA, SENTIMENT

SHARES = (0.5, 0.3, 0.19, 0.01)
"""Shares of four classes."""


def splits(train):
    return Splits(train, {"validation": train.select(range(5))})


def classes(count, classes=SHARES, seed=3):
    labels = np.random.default_rng(seed).choice(len(classes), count, p=classes).tolist()
    rows = {"id": [str(i) for i in range(count)], "text": [f"text {i}" for i in range(count)], "label": labels}
    return splits(Dataset.from_dict(rows))


def numbers(count):
    labels = (np.random.default_rng(5).beta(5, 1, count) * 5).round(1).tolist()
    return splits(Dataset.from_dict({"id": [str(i) for i in range(count)], "text": ["t"] * count, "label": labels}))


def questions(count, questions_each=4):
    answers = [{"text": "p", "start": 0}]
    rows = [{"id": str(i), "question": "which", "context": f"paragraph {i // questions_each}"} for i in range(count)]
    return splits(Dataset.from_list([row | {"answers": answers} for row in rows]))


def task(kind):
    return Task("t", kind, lambda source: None, ("m",), "m", labels=tuple("abcd") if kind == "classification" else ())


FACTORIES = {"classification": classes, "regression": numbers, "qa": questions}


@pytest.mark.parametrize("kind", FACTORIES)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_example_is_in_one_part_in_the_original_order(kind, seed):
    full = FACTORIES[kind](2003)
    parts = split_training(task(kind), full, share=0.1, seed=seed)
    train, held = ([int(i) for i in part["id"]] for part in (parts.train, parts.selection))
    assert sorted(train + held) == list(range(2003))
    assert train == sorted(train)
    assert held == sorted(held)
    assert parts.validation == full.validation
    assert parts.selection.column_names == full.train.column_names


@pytest.mark.parametrize("kind", FACTORIES)
def test_the_split_depends_on_the_seed_alone(kind):
    full, same = FACTORIES[kind](1000), FACTORIES[kind](1000)
    ids = [
        split_training(task(kind), data, share=0.1, seed=seed).selection["id"][:]
        for data, seed in ((full, 1), (same, 1))
    ]
    assert ids[0] == ids[1]
    assert ids[0] != split_training(task(kind), full, share=0.1, seed=2).selection["id"][:]


@pytest.mark.parametrize(
    ("examples", "share", "held"),
    [
        (50, 0.1, 10),
        (120, 0.1, 24),
        (499, 0.1, 99),
        (501, 0.01, 100),
        (2000, 0.1, 200),
        (2000, 0.2, 400),
        (3668, 0.1, 367),
    ],
)
def test_the_size_is_at_least_100_and_at_most_a_fifth(examples, share, held):
    assert holdout.held_out_size(examples, share) == held
    if examples < 5000:
        assert len(split_training(task("classification"), classes(examples), share=share, seed=1).selection) == held


@pytest.mark.parametrize("count", [173, 1000, 2311])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_split_is_stratified_to_within_one_example(count, seed):
    full = classes(count)
    held = split_training(task("classification"), full, share=0.1, seed=seed).selection
    all_labels, held_labels = Counter(full.train["label"]), Counter(held["label"])
    for label, number in all_labels.items():
        assert abs(held_labels[label] - number * len(held) / count) < 1


def test_held_out_labels_of_a_regression_have_the_same_distribution():
    full = numbers(3000)
    held = split_training(task("regression"), full, share=0.1, seed=1).selection
    all_labels, held_labels = np.array(full.train["label"]), np.array(held["label"])
    for edge in np.quantile(all_labels, np.arange(1, 10) / 10):
        # one example for each decile below
        assert abs((held_labels < edge).sum() - 300 * (all_labels < edge).mean()) < 10
    assert abs(all_labels.mean() - held_labels.mean()) < 0.05


def test_a_regression_with_one_label_value_can_be_split():
    one = splits(Dataset.from_dict({"id": [str(i) for i in range(200)], "text": ["t"] * 200, "label": [0.0] * 200}))
    assert len(split_training(task("regression"), one, share=0.1, seed=1).selection) == 40


@pytest.mark.parametrize("questions_each", [1, 3, 7])
def test_questions_of_one_paragraph_stay_together(questions_each):
    parts = split_training(task("qa"), questions(1500, questions_each), share=0.1, seed=1)
    assert not set(parts.train["context"]) & set(parts.selection["context"])
    assert 150 - questions_each < len(parts.selection) <= 150


@pytest.mark.parametrize("limit", [None, 700, 64])
def test_a_training_limit_does_not_change_the_held_out_split(limit):
    full = split_training(task("classification"), classes(1000), share=0.1, seed=1)
    limited = limit_splits(full, train=limit, validation=None)
    assert limited.selection["id"][:] == full.selection["id"][:]
    assert set(limited.train["id"]) <= set(full.train["id"])
    assert len(limited.train) == (limit or 900)


def test_the_validation_limit_applies_to_the_held_out_split():
    full = split_training(task("classification"), classes(1000), share=0.1, seed=1)
    limited = limit_splits(full, train=None, validation=30)
    assert len(limited.selection) == 30
    assert set(limited.selection["id"]) < set(full.selection["id"])
    assert limit_splits(classes(1000), train=None, validation=30).selection is None


@pytest.mark.parametrize(
    ("kind", "full"),
    [("classification", classes(49)), ("qa", questions(49)), ("qa", questions(60, questions_each=60))],
)
def test_a_split_that_is_too_small_is_an_error(kind, full):
    with pytest.raises(UserError, match=f"has {len(full.train)} training examples, too few.*at most 20%"):
        split_training(task(kind), full, share=0.1, seed=1)


def test_hidden_labels_cannot_be_used_for_selection():
    spec = SelectionSpec(on="validation")
    full = classes(200)
    assert hold_out(task("classification"), full, spec) is hold_out(task("classification"), full, None) is full
    hidden = Splits(full.train, {"test": full.train.map(lambda row: {"label": -1})})
    with pytest.raises(UserError, match="the labels of split 'test' are hidden"):
        hold_out(task("classification"), hidden, spec)
    assert len(hold_out(task("classification"), hidden, SelectionSpec()).selection) == 40


@pytest.mark.parametrize("generated", [SENTIMENT, ENTAILMENT, QA], ids=lambda task: task.name)
def test_generated_tasks_have_a_held_out_split(generated):
    full = generated.load(None)
    parts = split_training(generated, full, share=0.1, seed=1)
    assert len(parts.selection) == 400
    assert len(parts.train) == 3600
    if generated.kind == "classification":
        assert Counter(parts.selection["label"]) == {0: 200, 1: 200}


@pytest.mark.parametrize("kind", ["multilabel", "token_classification"])
def test_rare_classes_are_held_out_in_proportion(kind):
    """One example in ten has class 3, which most of the time is not alone."""
    random = np.random.default_rng(3)
    classes = [sorted({*random.choice(3, 2).tolist(), *([3] if n % 10 == 0 else [])}) for n in range(1000)]
    columns = {"text": ["t"] * 1000, "label": classes}
    if kind == "token_classification":
        columns = {"tokens": [["w"] * len(row) for row in classes], "tags": classes}
    train = Dataset.from_dict({"id": [str(n) for n in range(1000)], **columns})
    task = Task("t", kind, lambda source: None, (), "", labels=tuple("abcd"))
    held = split_training(task, splits(train), share=0.2, seed=1)
    assert (len(held.selection), len(held.train)) == (200, 800)
    assert sum(3 in row for row in held.selection["tags" if kind == "token_classification" else "label"]) == 20


@pytest.mark.parametrize("kind", ["classification", "multilabel", "token_classification"])
@pytest.mark.parametrize("alone", [50, 150, 180])
def test_the_only_example_of_a_class_is_never_held_out(kind, alone):
    """Of 200 examples, `alone` have a class of their own; the others share one."""
    labels = [[max(0, n - 199 + alone)] for n in range(200)]
    columns = {"text": ["t"] * 200, "label": labels if kind == "multilabel" else [row[0] for row in labels]}
    if kind == "token_classification":
        columns = {"tokens": [["w"]] * 200, "tags": labels}
    train = Dataset.from_dict({"id": [str(n) for n in range(200)], **columns})
    task = Task("t", kind, lambda source: None, (), "", labels=tuple(map(str, range(alone + 1))))
    for seed in range(1, 4):
        held = split_training(task, splits(train), share=0.1, seed=seed).selection
        assert max(map(int, held["id"])) < 200 - alone
        assert len(held) == min(40, 200 - alone - 1)  # one of the class that they share stays, too


def test_only_examples_of_their_class_are_too_few_to_hold_out():
    labels = list(range(200))
    train = Dataset.from_dict({"id": list(map(str, labels)), "text": ["t"] * 200, "label": labels})
    with pytest.raises(UserError, match="has 200 training examples, too few"):
        split_training(task("classification"), splits(train), share=0.1, seed=1)


@pytest.mark.parametrize("kind", ["classification", "multilabel", "token_classification"])
def test_only_examples_of_their_class_do_not_change_which_others_are_held_out(kind):
    """Frequent labels in a row with a class of its own do not count, either."""
    random = np.random.default_rng(4)
    often = [sorted(random.choice(3, 2, replace=False).tolist()) for _ in range(201)]
    alone = {17: [0, 7], 90: [1, 8], 150: [9]}

    def train(rows):
        if kind == "classification":
            return Dataset.from_dict({"label": [row[-1] for row in rows]})
        return Dataset.from_dict({"label" if kind == "multilabel" else "tags": rows})

    expected = held_out_rows(kind, train([row for n, row in enumerate(often) if n not in alone]), 41, seed=1)
    held = held_out_rows(kind, train([alone.get(n, row) for n, row in enumerate(often)]), 41, seed=1)
    assert expected.sum() == held.sum() == 41
    assert np.delete(held, [*alone]).tolist() == expected.tolist()
