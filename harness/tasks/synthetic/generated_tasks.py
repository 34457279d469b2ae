"""The generated tasks. They need composition, so that deeper models score higher.

The noisy ones have wrong training labels: a teacher that has learned the rule corrects them for its students.

The examples depend on a fixed seed and are the same on every machine. Boards label their scores as synthetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from harness import hookimpl
from harness.api.seeded_choice import SeededChoice
from harness.api.task import Splits, Task
from harness.tasks.synthetic import entailment, fact_qa, names, praise, sentiment

if TYPE_CHECKING:
    from datasets import Dataset

TRAIN, VALIDATION = 4000, 600
SEED = 7

NOISE = 0.1
"""Share of training examples with the wrong label in the noisy tasks; all labels of the validation split are right."""

Example = dict[str, Any]


def _load(example: Callable[[SeededChoice], Example], classes: int, source: str | None, noise: float = 0.0) -> Splits:
    rows = list(_distinct(example, classes))
    train = _mislabelled(rows[:TRAIN], noise) if noise else rows[:TRAIN]
    return Splits(train=_dataset(train), validation={"validation": _dataset(rows[TRAIN:])})


def _mislabelled(rows: list[Example], share: float) -> list[Example]:
    """Give that share of the examples of each of two classes the label of the other, so that they stay balanced."""
    rng = SeededChoice(SEED)
    wrong: set[int] = set()
    for label in (0, 1):
        members = [index for index, row in enumerate(rows) if row["label"] == label]
        wrong.update(rng.some(members, round(share * len(members))))
    return [{**row, "label": 1 - row["label"]} if index in wrong else row for index, row in enumerate(rows)]


def _distinct(example: Callable[[SeededChoice], Example], classes: int) -> Iterator[Example]:
    """Yield distinct examples for all splits; several `classes` are balanced in each split."""
    rng = SeededChoice(SEED)
    seen: set[str] = set()
    for size in (TRAIN, VALIDATION):
        remaining = Counter(dict.fromkeys(range(classes), size // classes))
        while remaining.total():
            row = example(rng)
            label = row["label"] if classes > 1 else 0
            text = repr(row)
            if text not in seen and remaining[label]:
                seen.add(text)
                remaining[label] -= 1
                yield row


def _dataset(rows: list[Example]) -> Dataset:
    from datasets import Dataset

    return Dataset.from_list([{"id": str(index), **row} for index, row in enumerate(rows)])


def _no_files(source: str | None) -> tuple[()]:
    return ()


_generated = partial(Task, files=_no_files, synthetic=True)

SENTIMENT = _generated(
    name="synthetic_sentiment",
    kind="classification",
    load=partial(_load, sentiment.example, 2),
    metrics=("accuracy",),
    score="accuracy",
    labels=("negative", "positive"),
    summary="generated: sentiment under negation and contrast",
)
ENTAILMENT = _generated(
    name="synthetic_entailment",
    kind="classification",
    load=partial(_load, entailment.example, 2),
    metrics=("accuracy",),
    score="accuracy",
    labels=("entailment", "not_entailment"),
    paired=True,
    summary="generated: entailment under quantifiers and negation",
)
NOISY_SENTIMENT = replace(
    SENTIMENT,
    name="synthetic_sentiment_noisy",
    load=partial(_load, sentiment.example, 2, noise=NOISE),
    summary=f"synthetic_sentiment with {NOISE:.0%} wrong training labels",
)
NOISY_ENTAILMENT = replace(
    ENTAILMENT,
    name="synthetic_entailment_noisy",
    load=partial(_load, entailment.example, 2, noise=NOISE),
    summary=f"synthetic_entailment with {NOISE:.0%} wrong training labels",
)
PRAISE = _generated(
    name="synthetic_praise",
    kind="multilabel",
    load=partial(_load, praise.example, 1),
    metrics=("f1_micro", "f1_macro", "subset_accuracy"),
    score="f1_micro",
    labels=praise.ASPECTS,
    summary="generated: aspects that a review praises, under negation",
)
NAMES = _generated(
    name="synthetic_names",
    kind="token_classification",
    load=partial(_load, names.example, 1),
    metrics=("entity_f1", "token_accuracy"),
    score="entity_f1",
    labels=names.TAGS,
    summary="generated: persons and places with the same names",
)
QA = _generated(
    name="synthetic_qa",
    kind="qa",
    load=partial(_load, fact_qa.example, 1),
    metrics=("squad",),
    score="f1",
    summary="generated: extractive answers that depend on person and kind",
)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    for task in (SENTIMENT, ENTAILMENT, NOISY_SENTIMENT, NOISY_ENTAILMENT, PRAISE, NAMES, QA):
        register(task)
