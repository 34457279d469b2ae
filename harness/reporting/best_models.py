"""Pointers to the best student of each size on each task, in the folder ``best`` of the results.

``best/<task>/<student>`` is a relative link to the folder of the student, which survives moving the results folder;
``best/<task>.json`` names the same students, with their scores, also where links cannot be created.
"""

from __future__ import annotations

import json

from harness.analysis.best_students import Choice, best_of_each_student
from harness.analysis.summary import Summary
from harness.reporting.file_manifest import Content, Link
from harness.storage.store import Store

FOLDER = "best"


def files(store: Store, summary: Summary) -> dict[str, Content]:
    """Path relative to the results folder -> JSON or link. Students whose models are not stored have no link."""
    written: dict[str, Content] = {}
    for task in summary.plan.tasks:
        choices = best_of_each_student(summary, task)
        if choices:
            written[f"{FOLDER}/{task.name}.json"] = json.dumps([_entry(choice) for choice in choices], indent=1) + "\n"
        for choice in choices:
            key = choice.run.key
            if (store.run_folder(key) / "student").is_dir():
                written[f"{FOLDER}/{task.name}/{choice.best.row.student}"] = Link(f"../../runs/{key}/student")
    return written


def _entry(choice: Choice) -> dict[str, object]:
    score = choice.best.score
    digits = score.decimals + 3
    return {
        "student": choice.best.row.student,
        "method": choice.best.row.label,
        "seed": choice.run.seed,
        "seed_reason": choice.run_reason,
        "key": choice.run.key,
        "metric": choice.task.score,
        "score": round(score.mean, digits),
        "low": None if score.low is None else round(score.low, digits),
        "high": None if score.high is None else round(score.high, digits),
        "seeds": score.n,
        "parameters": choice.best.parameters,
        "model": f"../runs/{choice.run.key}/student",
    }
