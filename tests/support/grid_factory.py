"""Stores made up for tests of sections: the rows of one method, or of several, on one student or on several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.storage.plan_file import EncoderShape, NotApplicable, PlanFile, PlannedRow, PlannedRun, PlannedTask
from harness.storage.store import Store
from tests.support.results_factory import SST2, run_key, run_record

RTE = PlannedTask(name="rte", kind="classification", score="accuracy", synthetic=False)

Table = Mapping[tuple[str, str, str], Sequence[float | None]]
"""(task, label, student) -> the scores of seeds 1, 2, ...; None: not run."""


def row(entry: int = 0, *, method: str = "kd", plain: bool = False, **options: Any) -> PlannedRow:
    teachers = options.pop("teachers", ["base"])
    return PlannedRow(method=method, entry=entry, plain=plain, options=options, teachers=teachers)


def made(
    folder: Path,
    rows: Mapping[str, PlannedRow],
    scores: Table,
    *,
    na: Sequence[tuple[str, str, str]] = (),
    tasks: Sequence[PlannedTask] = (SST2, RTE),
    shapes: Mapping[str, EncoderShape] | None = None,
    **changes: Any,
) -> Store:
    """A store of what is given; seeds and students (big, small) are those of `scores`."""
    seeds = list(range(1, max(map(len, scores.values())) + 1))
    students = list(dict.fromkeys(student for *_, student in [*scores, *na]))
    runs = [
        PlannedRun(key=run_key(*cell, seed), task=cell[0], label=cell[1], method=rows[cell[1]].method, student=cell[2],
                   seed=seed, teachers=["base"])
        for cell in scores
        for seed in seeds
    ]  # fmt: skip
    given: dict[str, Any] = {
        "suite": "demo",
        "command": "harness run demo.yaml",
        "tasks": list(tasks),
        "students": students,
        "labels": list(rows),
        "teachers": {},
        "seeds": seeds,
        "runs": runs,
        "not_applicable": [NotApplicable(task=t, label=la, student=s, reason="it cannot be") for t, la, s in na],
        "rows": dict(rows),
        "shapes": dict(shapes or {}),
    }
    store = Store(folder)
    store.save_plan(PlanFile(**(given | changes)))
    for (task, label, student), by_seed in scores.items():
        for seed, score in enumerate(by_seed, start=1):
            if score is not None:
                store.save(run_record(task, label, student, seed, score))
    return store


def section(markdown: str, title: str) -> str:
    """The text below a heading of the second level."""
    return markdown.split(f"\n## {title}\n")[1].split("\n## ")[0].strip()


def table(text: str) -> list[list[str]]:
    """The cells of the first table of a text, its header first."""
    below = text[text.index("|") :].splitlines()
    lines = itertools.takewhile(lambda line: line.startswith("|"), below)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [rows[0], *rows[2:]]
