"""Report section on tuning: the chosen options of each row on each task, their scores and their cost."""

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
from harness.storage.plan_file import PlannedStudy, PlannedTuning
from harness.storage.tuning_records import Trial, TuningRecord

HEADERS = ["method", "student", "task", "chosen", "score", "with the defaults", "failed trials", "cost"]
ALIGN = ["left", "left", "left", "left", "right", "right", "right", "right"]


@hookimpl
def harness_report_sections(results: Summary) -> list[Section]:
    """Return one section if the suite tunes options."""
    planned = results.plan.tuning
    if planned is None:
        return []
    tuned = [(study, record) for study in planned.studies if (record := results.tunings.get(study.key or ""))]
    lines = [_line(study, record, results) for study, record in tuned]
    rows = [row for study, record in tuned for row in _rows(study, record, _scale(results, study))]
    table = tabulate(lines, headers=HEADERS, tablefmt="pipe", colalign=ALIGN, disable_numparse=True) if lines else ""
    text = [table, *_explained(planned, results)]
    return [Section("Tuning", "\n\n".join(part for part in text if part), file="tuning", rows=rows)]


def _explained(planned: PlannedTuning, results: Summary) -> Iterator[str]:
    on = "examples held out of the training split" if planned.on == "train" else "the validation examples"
    yield (
        f"Every row had {planned.trials} trials (seed {planned.seed}) on each task, the first with the defaults. Each"
        f" trial is a complete run, scored on {on}, or takes the score of an earlier one with the same values. The"
        " runs of all seeds use the best trial. The best of several"
        " scores is optimistic, so do not compare it with the board's. No other cost includes the tuning cost. All"
        " trials: sections/tuning.csv."
    )
    for title, studies in (
        ("Nothing to tune", [study for study in planned.studies if study.key is None]),
        ("Not tuned yet", [study for study in planned.studies if study.key and study.key not in results.tunings]),
    ):
        if studies:
            yield f"{title}: {join_names([f'`{study.label}` on {study.student}, {study.task}' for study in studies])}."


def _line(study: PlannedStudy, record: TuningRecord, results: Summary) -> list[str]:
    factor, decimals = _scale(results, study), results.decimals(study.task)
    chosen, failed = record.chosen, sum(trial.score is None for trial in record.trials)
    values = ", ".join(f"{name}: {_format_option(value)}" for name, value in chosen.values.items())
    return [
        study.label.replace("|", r"\|"),
        study.student,
        study.task,
        "the defaults" if chosen.number == 0 else values.replace("|", r"\|"),
        _score(chosen, factor, decimals),
        _score(record.default, factor, decimals),
        f"{failed} of {len(record.trials)}",
        duration(record.seconds),
    ]


def _score(trial: Trial, factor: int, decimals: int) -> str:
    return "failed" if trial.score is None else f"{trial.score * factor:.{decimals}f}"


def _format_option(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else format_value(value)


def _rows(study: PlannedStudy, record: TuningRecord, factor: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each trial."""
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
