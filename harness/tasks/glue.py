"""Tasks of GLUE (Wang et al., 2019)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from harness import hookimpl
from harness.errors import UserError
from harness.tasks.base import Splits, Task

if TYPE_CHECKING:
    from datasets import Dataset

SOURCE = "nyu-mll/glue"


def _task(
    name: str,
    columns: tuple[str, ...],
    labels: tuple[str, ...],
    metrics: tuple[str, ...],
    score: str,
    summary: str,
) -> Task:
    """A task of GLUE; `columns` hold its sentence or its two, and no `labels` mean regression."""
    return Task(
        name=name,
        kind="classification" if labels else "regression",
        load=partial(_load, name, columns, len(labels)),
        metrics=metrics,
        score=score,
        labels=labels,
        source="glue",
        default_source=SOURCE,
        paired=len(columns) == 2,
        summary=summary,
    )


def _load(name: str, columns: tuple[str, ...], classes: int, source: str | None) -> Splits:
    from harness.tasks.sources import get_split, load_source

    where = source or SOURCE
    data = load_source(where, name)

    def part(split: str) -> Dataset:
        title = f"data set {where!r}, config {name!r}"
        rows = get_split(data, split, [*columns, "label", "idx"], title)
        return _examples(rows, columns, classes, f"{title}, split {split!r}")

    return Splits(train=part("train"), validation={"validation": part("validation")})


def _examples(rows: Dataset, columns: tuple[str, ...], classes: int, where: str) -> Dataset:
    """GLUE's columns under the names that all tasks share."""
    import datasets

    labels = rows["label"][:]
    if classes and (bad := set(labels) - set(range(classes))):
        raise UserError(f"{where}: found label {min(bad)}, allowed are 0 to {classes - 1}; is it an unlabelled split?")
    texts = {name: rows[column][:] for name, column in zip(("text", "text_pair"), columns, strict=False)}
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            **{name: datasets.Value("string") for name in texts},
            "label": datasets.Value("int64" if classes else "float32"),
        }
    )
    ids = [str(idx) for idx in rows["idx"]]
    return datasets.Dataset.from_dict({"id": ids, **texts, "label": labels}, features=features)


SENTENCE, PAIR = ("sentence",), ("sentence1", "sentence2")

TASKS = (
    _task(
        "cola",
        SENTENCE,
        ("unacceptable", "acceptable"),
        ("matthews_correlation",),
        "matthews_correlation",
        "is a sentence grammatical",
    ),
    _task("sst2", SENTENCE, ("negative", "positive"), ("accuracy",), "accuracy", "sentiment of film reviews"),
    _task("mrpc", PAIR, ("not_equivalent", "equivalent"), ("accuracy", "f1"), "f1", "do two sentences say the same"),
    _task("stsb", PAIR, (), ("pearson_spearman",), "pearson", "how alike two sentences are, from 0 to 5"),
    _task(
        "rte", PAIR, ("entailment", "not_entailment"), ("accuracy",), "accuracy", "does a sentence follow from another"
    ),
)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    for task in TASKS:
        register(task)
