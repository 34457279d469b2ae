"""A results folder whose runs on SST-2 have real, tiny, untrained students."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from harness.storage.plan_file import PlannedTask
from harness.storage.records import RunRecord
from harness.storage.store import Store
from tests.support.results_factory import SCORES, answers, plan, run_record, teacher_record
from tests.support.tiny_checkpoints import LABELS, save_checkpoint
from tests.support.tokenizer_factory import corpus

LABELLED = PlannedTask(
    name="sst2", kind="classification", score="accuracy", synthetic=False, labels=list(LABELS["classification"])
)
MAX_LENGTH = 24
TEXTS = corpus(30, seed=5)
CITATION = "@article{someone2020, title = {Distillation}}"


def record_of(run: Any, **changes: Any) -> RunRecord:
    """The record of a planned run, with the parts of the key that an export reads."""
    score = SCORES[run.task, run.label, run.student][run.seed - 1]
    parts = {"data": {"task": run.task, "train": "trained-on", "max_length": MAX_LENGTH}, "training": {"epochs": 3.0}}
    return run_record(run.task, run.label, run.student, run.seed, score, parts=parts, **changes)


def fill_with_students(
    folder: Path,
    *,
    pairs: bool = False,
    seeds: int = 3,
    finish: Callable[[Path], object] = lambda student: None,
    **changes: Any,
) -> Store:
    """A store in which every run is completed and has a student; `changes` replace fields of the plan.

    `finish`: is called with the folder of each student before it is stored.
    """

    def export(student: Path, seed: int) -> None:
        finish(save_checkpoint(student, "classification", seed=seed))

    planned = plan([LABELLED], seeds=seeds, citations={"kd": CITATION}, **changes)
    store = Store(folder)
    store.save_plan(planned)
    teacher = teacher_record("sst2")
    store.save_teacher(teacher, answers("sst2", teacher.key, teacher.score))
    for number, run in enumerate(planned.runs):
        record = record_of(run)
        assert record.score is not None
        predictions = answers("sst2", run.key, record.score)
        store.save(record, predictions, partial(export, seed=number))
    texts = pd.DataFrame({"split": "validation", "id": [str(n) for n in range(len(TEXTS))], "text": TEXTS})
    if pairs:
        texts["text_pair"] = TEXTS[::-1]
    store.save_examples("fingerprint-of-sst2", lambda: texts)
    return store
