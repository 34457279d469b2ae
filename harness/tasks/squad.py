"""Extractive QA: SQuAD 1.1 (Rajpurkar et al., 2016) and 2.0, which has questions without an answer (2018)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from harness import hookimpl
from harness.tasks.base import Splits, Task

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("id", "question", "context", "answers")


def _task(name: str, config: str, default_source: str, summary: str, *, unanswerable: bool) -> Task:
    return Task(
        name=name,
        kind="qa",
        load=partial(_load, config, default_source),
        metrics=(name,),
        score="f1",
        source=name,
        default_source=default_source,
        unanswerable=unanswerable,
        summary=summary,
    )


def _load(config: str, default_source: str, source: str | None) -> Splits:
    from harness.tasks.sources import get_split, load_source

    where = source or default_source
    data = load_source(where, config)
    title = f"data set {where!r}, config {config!r}"

    def part(split: str) -> Dataset:
        return _examples(get_split(data, split, COLUMNS, title))

    return Splits(train=part("train"), validation={"validation": part("validation")})


def _examples(rows: Dataset) -> Dataset:
    """SQuAD's rows with each answer's text and start side by side."""
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "question": datasets.Value("string"),
            "context": datasets.Value("string"),
            "answers": datasets.List({"text": datasets.Value("string"), "start": datasets.Value("int64")}),
        }
    )
    columns = {name: rows[name][:] for name in COLUMNS}
    columns["answers"] = [
        [{"text": text, "start": start} for text, start in zip(answers["text"], answers["answer_start"], strict=True)]
        for answers in columns["answers"]
    ]
    return datasets.Dataset.from_dict(columns, features=features)


TASKS = (
    _task("squad", "plain_text", "rajpurkar/squad", "answers to questions, found in a paragraph", unanswerable=False),
    _task(
        "squad_v2", "squad_v2", "rajpurkar/squad_v2", "the same, where some questions have no answer", unanswerable=True
    ),
)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    for task in TASKS:
        register(task)
