"""The generated tasks. They need composition, so that deeper models score higher.

The examples depend on a fixed seed and are the same on every machine. Boards label their scores as synthetic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
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

Example = dict[str, Any]


def _load(example: Callable[[SeededChoice], Example], classes: int, source: str | None) -> Splits:
    rows = list(_distinct(example, classes))
    return Splits(train=_dataset(rows[:TRAIN]), validation={"validation": _dataset(rows[TRAIN:])})


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


SENTIMENT = Task(
    name="synthetic_sentiment",
    kind="classification",
    load=partial(_load, sentiment.example, 2),
    metrics=("accuracy",),
    score="accuracy",
    labels=("negative", "positive"),
    files=_no_files,
    synthetic=True,
    summary="generated: sentiment under negation and contrast",
)
ENTAILMENT = Task(
    name="synthetic_entailment",
    kind="classification",
    load=partial(_load, entailment.example, 2),
    metrics=("accuracy",),
    score="accuracy",
    labels=("entailment", "not_entailment"),
    paired=True,
    files=_no_files,
    synthetic=True,
    summary="generated: entailment under quantifiers and negation",
)
PRAISE = Task(
    name="synthetic_praise",
    kind="multilabel",
    load=partial(_load, praise.example, 1),
    metrics=("f1_micro", "f1_macro", "subset_accuracy"),
    score="f1_micro",
    labels=praise.ASPECTS,
    files=_no_files,
    synthetic=True,
    summary="generated: aspects that a review praises, under negation",
)
NAMES = Task(
    name="synthetic_names",
    kind="token_classification",
    load=partial(_load, names.example, 1),
    metrics=("entity_f1", "token_accuracy"),
    score="entity_f1",
    labels=names.TAGS,
    files=_no_files,
    synthetic=True,
    summary="generated: persons and places with the same names",
)
QA = Task(
    name="synthetic_qa",
    kind="qa",
    load=partial(_load, fact_qa.example, 1),
    metrics=("squad",),
    score="f1",
    files=_no_files,
    synthetic=True,
    summary="generated: extractive answers that depend on person and kind",
)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    for task in (SENTIMENT, ENTAILMENT, PRAISE, NAMES, QA):
        register(task)
