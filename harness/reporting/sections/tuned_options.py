"""The section on tuning: what was chosen for each row on each task, and what that was worth and took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tabulate import tabulate

from harness import hookimpl
from harness.analysis.summary import Summary, scale
from harness.api.report import Section
from harness.reporting.export_rows import exact
from harness.reporting.formatting import duration, format_value
from harness.reporting.sections.comparison import join_names
from harness.storage.records import PlannedStudy, PlannedTuning
from harness.storage.tuning_records import Trial, TuningRecord

HEADERS = ["method", "student", "task", "chosen", "score", "with the defaults", "failed trials", "cost"]
ALIGN = ["left", "left", "left", "left", "right", "right", "right", "right"]


@hookimpl
def harness_report_sections(results: Summary) -> list[Section]:
    """One, of a suite that tunes."""
    planned = results.plan.tuning
    if planned is None:
        return []
    found = [(each, record) for each in planned.studies if (record := results.tunings.get(each.key or ""))]
    lines = [_line(study, record, _scale(results, study)) for study, record in found]
    rows = [row for study, record in found for row in _rows(study, record, _scale(results, study))]
    table = tabulate(lines, headers=HEADERS, tablefmt="pipe", colalign=ALIGN, disable_numparse=True) if lines else ""
    text = [table, *_explained(planned, results)]
    return [Section("Tuning", "\n\n".join(part for part in text if part), file="tuning", rows=rows)]


def _explained(planned: PlannedTuning, results: Summary) -> Iterator[str]:
    on = "examples held out of the training split" if planned.on == "train" else "the validation examples"
    yield (
        f"Every row had {planned.trials} trials (seed {planned.seed}) on each task, the first with the defaults: whole"
        f" runs, scored on {on}. The runs of all seeds took over the best. The best score of several is likely to be a"
        " little too high: it says nothing beside the board's. What all this took is in no other cost. All trials:"
        " sections/tuning.csv."
    )
    for what, studies in (
        ("Nothing to tune", [each for each in planned.studies if each.key is None]),
        ("Not tuned yet", [each for each in planned.studies if each.key and each.key not in results.tunings]),
    ):
        if studies:
            yield f"{what}: {join_names([f'`{each.label}` on {each.student}, {each.task}' for each in studies])}."


def _line(study: PlannedStudy, record: TuningRecord, factor: int) -> list[str]:
    chosen, failed = record.chosen, sum(trial.score is None for trial in record.trials)
    values = ", ".join(f"{name}: {_shown(value)}" for name, value in chosen.values.items())
    return [
        study.label.replace("|", r"\|"),
        study.student,
        study.task,
        "the defaults" if chosen.number == 0 else values.replace("|", r"\|"),
        _score(chosen, factor),
        _score(record.default, factor),
        f"{failed} of {len(record.trials)}",
        duration(record.seconds),
    ]


def _score(trial: Trial, factor: int) -> str:
    return "failed" if trial.score is None else f"{trial.score * factor:.1f}"


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def _rows(study: PlannedStudy, record: TuningRecord, factor: int) -> Iterator[dict[str, Any]]:
    """One for each trial."""
    for trial in record.trials:
        yield {
            "task": study.task,
            "label": study.label,
            "student": study.student,
            "trial": trial.number,
            "values": json.dumps(trial.values),
            "score": None if trial.score is None else exact(trial.score * factor),
            "chosen": trial.number == record.chosen.number,
            "error": trial.error,
            "steps": trial.steps,
            "seconds": exact(trial.seconds),
        }


def _scale(results: Summary, study: PlannedStudy) -> int:
    return next(scale(task) for task in results.plan.tasks if task.name == study.task)
