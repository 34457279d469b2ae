"""Records and stores made up for tests: a suite of two tasks, one teacher, two students and two methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from harness.storage.plan_file import NotApplicable, PlanFile, PlannedRun, PlannedTask
from harness.storage.records import Cost, Hardware, ModelSize, Provenance, RunRecord, TeacherRecord
from harness.storage.store import Store

CPU = Hardware(device="cpu", name="Test CPU", cores=2, threads=2, memory_bytes=8 * 2**30)
GPU = Hardware(device="cuda", name="Test GPU", cores=16, threads=8, memory_bytes=80 * 2**30)

SST2 = PlannedTask(name="sst2", kind="classification", score="accuracy", synthetic=False)
SQUAD = PlannedTask(name="squad", kind="qa", score="f1", synthetic=False, percent=True)

SIZES = {"base": 100_000_000, "big": 50_000_000, "small": 10_000_000}
TEACHERS_OF = {"finetune": [], "kd": ["base"]}

SCORES: dict[tuple[str, str, str], list[float]] = {
    ("sst2", "finetune", "big"): [0.80, 0.82, 0.84],
    ("sst2", "kd", "big"): [0.85, 0.86, 0.87],
    ("sst2", "finetune", "small"): [0.70, 0.72, 0.74],
    ("sst2", "kd", "small"): [0.75, 0.75, 0.75],
    ("squad", "finetune", "big"): [70.0, 71.0, 72.0],
    ("squad", "kd", "big"): [76.0, 77.0, 78.0],
    ("squad", "finetune", "small"): [60.0, 61.0, 62.0],
    ("squad", "kd", "small"): [72.0, 74.0, 76.0],
}
"""(task, label, student) -> the scores of seeds 1, 2, 3."""

TEACHER_SCORES = {"sst2": 0.92, "squad": 88.0}


def run_key(task: str, label: str, student: str, seed: int) -> str:
    return f"{task}-{label}-{student}-{seed}"


def cost(seconds: float) -> Cost:
    return Cost(
        wall_seconds=seconds + 3,
        student_seconds=seconds,
        teacher_seconds=seconds / 4,
        evaluation_seconds=2,
        steps=100,
        tokens=10_000,
        teacher_forwards=100,
        cohort_size=2,
    )


def size(model: str) -> ModelSize:
    return ModelSize(parameters=SIZES[model], layers=4, hidden=128, heads=4, ffn=512)


def provenance(hardware: Hardware = CPU, **changes: Any) -> Provenance:
    given: dict[str, Any] = {
        "hardware": hardware,
        "packages": {"harness": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "git_dirty": False,
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
    }
    return Provenance(**(given | changes))


def run_record(
    task: str = "sst2",
    label: str = "kd",
    student: str = "big",
    seed: int = 1,
    score: float | None = 0.8,
    **changes: Any,
) -> RunRecord:
    """A completed record; ``changes`` replace any of its fields."""
    given: dict[str, Any] = {
        "key": run_key(task, label, student, seed),
        "status": "completed",
        "task": task,
        "method": label,
        "label": label,
        "student": student,
        "teachers": TEACHERS_OF.get(label, ["base"]),
        "seed": seed,
        "data_fingerprint": f"fingerprint-of-{task}",
        "score": score,
        "metrics": {} if score is None else {"main": score},
        "parts": {"seed": seed},
        "cost": cost(60),
        "size": size(student),
        "provenance": provenance(),
    }
    return RunRecord(**(given | changes))


def failed(task: str, label: str, student: str, seed: int, error: str = "RuntimeError: out of memory") -> RunRecord:
    return run_record(task, label, student, seed, score=None, status="failed", error=error)


def teacher_record(task: str, score: float | None = None, **changes: Any) -> TeacherRecord:
    chosen = TEACHER_SCORES[task] if score is None else score
    given: dict[str, Any] = {
        "key": f"base-{task}",
        "name": "base",
        "model": "some/model",
        "task": task,
        "data_fingerprint": f"fingerprint-of-{task}",
        "score": chosen,
        "metrics": {"main": chosen},
        "parts": {},
        "cost": cost(600),
        "size": size("base"),
        "provenance": provenance(),
    }
    return TeacherRecord(**(given | changes))


def plan(
    tasks: Sequence[PlannedTask] = (SST2, SQUAD), *, na: Sequence[NotApplicable] = (), seeds: int = 3, **changes: Any
) -> PlanFile:
    """What the made-up suite asks for, but for the cells that are n/a."""
    out = {(cell.task, cell.label, cell.student) for cell in na}
    runs = [
        PlannedRun(
            key=run_key(task.name, label, student, seed),
            task=task.name,
            label=label,
            method=label,
            student=student,
            seed=seed,
            teachers=TEACHERS_OF[label],
        )
        for task in tasks
        for label in TEACHERS_OF
        for student in ("big", "small")
        for seed in range(1, seeds + 1)
        if (task.name, label, student) not in out
    ]
    given: dict[str, Any] = {
        "suite": "demo",
        "command": "harness run demo.yaml",
        "tasks": list(tasks),
        "students": ["big", "small"],
        "labels": list(TEACHERS_OF),
        "teachers": {"base": {task.name: f"base-{task.name}" for task in tasks}},
        "seeds": list(range(1, seeds + 1)),
        "runs": runs,
        "not_applicable": list(na),
    }
    return PlanFile(**(given | changes))


def plan_with_examples() -> PlanFile:
    """`plan`, as this version writes it: it names the examples that are scored."""
    named = [task.model_copy(update={"data_fingerprint": f"fingerprint-of-{task.name}"}) for task in (SST2, SQUAD)]
    return plan(named)


def in_older_layout(store: Store, record: TeacherRecord) -> None:
    """Move a teacher to the folder that older versions gave it."""
    store.folder_of(record).rename(store.folder / "teachers" / record.key)


def answers(task: str, key: str, score: float, examples: int = 100) -> pd.DataFrame:
    """Predictions that give the score (accuracy, or SQuAD's F1 in percent); which are wrong is drawn by the key."""
    right = np.arange(examples) < round(score * examples / (100 if task == "squad" else 1))
    right = np.random.default_rng(list(key.encode())).permutation(right)
    frame = pd.DataFrame({"id": [str(number) for number in range(examples)]})
    if task == "squad":
        frame["prediction"] = np.where(right, "green", "red")
        frame["label"] = [["green", "a green one"]] * examples
    else:
        frame["label"] = np.arange(examples) % 2
        frame["prediction"] = np.where(right, frame["label"], 1 - frame["label"])
    return frame.assign(split="validation")


def fill(
    folder: Path,
    planned: PlanFile | None = None,
    *,
    leave_out: Sequence[str] = (),
    instead: Mapping[str, RunRecord] | None = None,
    backwards: bool = False,
    answered: bool = False,
) -> Store:
    """A store in which all that is planned is done, but for the keys left out and the records given instead.

    `answered`: the predictions are there too."""
    planned = planned or plan()
    store = Store(folder)
    store.save_plan(planned)
    for task in planned.tasks:
        record = teacher_record(task.name)
        store.save_teacher(record, answers(task.name, record.key, record.score) if answered else None)
    for run in reversed(planned.runs) if backwards else planned.runs:
        if run.key not in leave_out:
            score = SCORES[run.task, run.label, run.student][run.seed - 1]
            made = run_record(run.task, run.label, run.student, run.seed, score)
            store.save((instead or {}).get(run.key, made), answers(run.task, run.key, score) if answered else None)
    return store
