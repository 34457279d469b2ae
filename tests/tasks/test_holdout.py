"""What is held out of a training split to choose on."""

from collections import Counter

import numpy as np
import pytest
from datasets import Dataset

from harness.api.errors import UserError
from harness.api.task import Splits, Task
from harness.config.schema import SelectionSpec
from harness.tasks import holdout
from harness.tasks.fingerprints import limit_splits
from harness.tasks.holdout import cut, hold_out
from harness.tasks.synthetic.generated_tasks import ENTAILMENT, QA, SENTIMENT

SHARES = (0.5, 0.3, 0.19, 0.01)
"""Of four classes."""


def splits(train):
    return Splits(train, {"validation": train.select(range(5))})


def classes(count, classes=SHARES, seed=3):
    labels = np.random.default_rng(seed).choice(len(classes), count, p=classes).tolist()
    rows = {"id": [str(i) for i in range(count)], "text": [f"text {i}" for i in range(count)], "label": labels}
    return splits(Dataset.from_dict(rows))


def numbers(count):
    labels = (np.random.default_rng(5).beta(5, 1, count) * 5).round(1).tolist()
    return splits(Dataset.from_dict({"id": [str(i) for i in range(count)], "text": ["t"] * count, "label": labels}))


def questions(count, each=4):
    answers = [{"text": "p", "start": 0}]
    rows = [{"id": str(i), "question": "which", "context": f"paragraph {i // each}"} for i in range(count)]
    return splits(Dataset.from_list([row | {"answers": answers} for row in rows]))


def task(kind):
    return Task("t", kind, lambda source: None, ("m",), "m", labels=tuple("abcd") if kind == "classification" else ())


MADE = {"classification": classes, "regression": numbers, "qa": questions}


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_example_is_in_one_part_in_the_order_of_the_split(kind, seed):
    whole = MADE[kind](2003)
    parts = cut(task(kind), whole, share=0.1, seed=seed)
    train, held = ([int(i) for i in part["id"]] for part in (parts.train, parts.selection))
    assert sorted(train + held) == list(range(2003))
    assert train == sorted(train)
    assert held == sorted(held)
    assert parts.validation == whole.validation
    assert parts.selection.column_names == whole.train.column_names


@pytest.mark.parametrize("kind", MADE)
def test_the_seed_decides_and_nothing_else(kind):
    whole, again = MADE[kind](1000), MADE[kind](1000)
    ids = [cut(task(kind), data, share=0.1, seed=seed).selection["id"][:] for data, seed in ((whole, 1), (again, 1))]
    assert ids[0] == ids[1]
    assert ids[0] != cut(task(kind), whole, share=0.1, seed=2).selection["id"][:]


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
def test_a_share_but_no_fewer_than_a_hundred_and_no_more_than_a_fifth(examples, share, held):
    assert holdout.size(examples, share) == held
    if examples < 5000:
        assert len(cut(task("classification"), classes(examples), share=share, seed=1).selection) == held


@pytest.mark.parametrize("count", [173, 1000, 2311])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_class_has_its_part_to_within_one_example(count, seed):
    whole = classes(count)
    held = cut(task("classification"), whole, share=0.1, seed=seed).selection
    every, some = Counter(whole.train["label"]), Counter(held["label"])
    for label, number in every.items():
        assert abs(some[label] - number * len(held) / count) < 1


def test_what_is_held_out_of_a_regression_is_spread_like_the_whole():
    whole = numbers(3000)
    held = cut(task("regression"), whole, share=0.1, seed=1).selection
    every, some = np.array(whole.train["label"]), np.array(held["label"])
    for edge in np.quantile(every, np.arange(1, 10) / 10):
        assert abs((some < edge).sum() - 300 * (every < edge).mean()) < 10  # an example for each tenth below
    assert abs(every.mean() - some.mean()) < 0.05


def test_a_regression_of_one_value_can_be_cut():
    one = splits(Dataset.from_dict({"id": [str(i) for i in range(200)], "text": ["t"] * 200, "label": [0.0] * 200}))
    assert len(cut(task("regression"), one, share=0.1, seed=1).selection) == 40


@pytest.mark.parametrize("each", [1, 3, 7])
def test_questions_of_one_paragraph_stay_together(each):
    parts = cut(task("qa"), questions(1500, each), share=0.1, seed=1)
    assert not set(parts.train["context"]) & set(parts.selection["context"])
    assert 150 - each < len(parts.selection) <= 150


@pytest.mark.parametrize("limit", [None, 700, 64])
def test_a_limit_changes_nothing_of_the_cut(limit):
    whole = cut(task("classification"), classes(1000), share=0.1, seed=1)
    limited = limit_splits(whole, train=limit, validation=None)
    assert limited.selection["id"][:] == whole.selection["id"][:]
    assert set(limited.train["id"]) <= set(whole.train["id"])
    assert len(limited.train) == (limit or 900)


def test_a_limit_of_the_validation_splits_holds_for_what_is_chosen_on():
    whole = cut(task("classification"), classes(1000), share=0.1, seed=1)
    limited = limit_splits(whole, train=None, validation=30)
    assert len(limited.selection) == 30
    assert set(limited.selection["id"]) < set(whole.selection["id"])
    assert limit_splits(classes(1000), train=None, validation=30).selection is None


@pytest.mark.parametrize(
    ("kind", "whole"), [("classification", classes(49)), ("qa", questions(49)), ("qa", questions(60, each=60))]
)
def test_a_split_that_is_too_small_is_an_error(kind, whole):
    with pytest.raises(UserError, match=f"has {len(whole.train)} training examples, too few.*at most 20%"):
        cut(task(kind), whole, share=0.1, seed=1)


def test_hidden_labels_cannot_be_chosen_on():
    spec = SelectionSpec(on="validation")
    whole = classes(200)
    assert hold_out(task("classification"), whole, spec) is hold_out(task("classification"), whole, None) is whole
    hidden = Splits(whole.train, {"test": whole.train.map(lambda row: {"label": -1})})
    with pytest.raises(UserError, match="hides the labels of its split test"):
        hold_out(task("classification"), hidden, spec)
    assert len(hold_out(task("classification"), hidden, SelectionSpec()).selection) == 40


@pytest.mark.parametrize("generated", [SENTIMENT, ENTAILMENT, QA], ids=lambda task: task.name)
def test_generated_tasks_are_cut_like_all_others(generated):
    whole = generated.load(None)
    parts = cut(generated, whole, share=0.1, seed=1)
    assert len(parts.selection) == 400
    assert len(parts.train) == 3600
    if generated.kind == "classification":
        assert Counter(parts.selection["label"]) == {0: 200, 1: 200}
