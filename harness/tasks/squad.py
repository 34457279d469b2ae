"""The tasks SQuAD 1.1 (Rajpurkar et al., 2016) and SQuAD 2.0 (Rajpurkar et al., 2018; has unanswerable questions)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from harness import hookimpl
from harness.api.errors import UserError
from harness.api.task import Splits, Task
from harness.tasks.column_faults import Fault
from harness.tasks.data_checks import Columns, refuse_invalid_split
from harness.tasks.data_sources import source_files
from harness.tasks.qa_answers import InvalidAnswerError, locate_answers

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

COLUMNS = ("id", "question", "context", "answers")

EXPECTED = (
    "{text: [...], answer_start: [...]} or [{text, answer_start}, ...] with each text at its start in the context"
)


def _task(name: str, config: str, default_source: str, summary: str, *, unanswerable: bool) -> Task:
    return Task(
        name=name,
        kind="qa",
        load=partial(_load, config, default_source),
        metrics=(name,),
        score="f1",
        source=name,
        default_source=default_source,
        files=source_files,
        unanswerable=unanswerable,
        summary=summary,
    )


def _load(config: str, default_source: str, source: str | None) -> Splits:
    from harness.tasks.data_sources import get_split, load_source

    where = source or default_source
    data = load_source(where, config)
    title = f"data set {where!r}, config {config!r}"

    examples, repaired = {}, {}
    for split in ("train", "validation"):
        rows = get_split(data, split, COLUMNS, title)
        examples[split], repaired[split] = _examples(rows, f"{title}, split {split!r}")
    return Splits(examples["train"], {"validation": examples["validation"]}, repaired=repaired)


def _examples(rows: Dataset, where: str) -> tuple[Dataset, int]:
    """Return SQuAD's rows with answers as a list of text and start, and the number of corrected answers.

    Raises:
        UserError: a column is invalid, or an answer cannot be parsed or located in its context.
    """
    import datasets

    refuse_invalid_split(Columns("qa"), rows, where, answers=False)
    columns = {name: rows[name][:] for name in COLUMNS}
    answers, repaired, faults = [], 0, {}
    for row, (value, context) in enumerate(zip(columns["answers"], columns["context"], strict=True)):
        try:
            located, corrected = locate_answers(value, context)
        except InvalidAnswerError as error:
            faults[row] = str(error)
            continue
        answers.append([asdict(answer) for answer in located])
        repaired += corrected
    if faults:
        first = next(iter(faults.values()))
        raise UserError(Fault(list(faults), first, EXPECTED).problem(where, "answers", columns["id"]))
    if repaired:
        log.warning("%s: corrected the start or surrounding white space of %d answers", where, repaired)
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "question": datasets.Value("string"),
            "context": datasets.Value("string"),
            "answers": datasets.List({"text": datasets.Value("string"), "start": datasets.Value("int64")}),
        }
    )
    return datasets.Dataset.from_dict({**columns, "answers": answers}, features=features), repaired


TASKS = (
    _task("squad", "plain_text", "rajpurkar/squad", "answers to questions, found in a paragraph", unanswerable=False),
    _task("squad_v2", "squad_v2", "rajpurkar/squad_v2", "squad, with questions that have no answer", unanswerable=True),
)


@hookimpl
def harness_register_tasks(register: Callable[[Task], None]) -> None:
    for task in TASKS:
        register(task)
