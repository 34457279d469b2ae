"""A store whose only task is scored by a mean squared error, in any unit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from harness.storage.plan_file import PlannedTask
from harness.storage.store import Store
from tests.support.results_factory import plan, run_record, teacher_record

PRICE = PlannedTask(name="price", kind="regression", score="mse", synthetic=False, percent=True, higher_is_better=False)
ERRORS = {"base": 0.9, "kd": 1.0, "finetune": 1.3}
"""Standard deviation of the errors of a row, over that of kd on the student big."""


def priced(folder: Path, unit: float, spread: float = 2.0) -> Store:
    """A store of PRICE in which the mean squared error of kd on big is about `unit`.

    `spread`: standard deviation of the labels, over that of kd's errors.
    """
    planned, store, random = plan([PRICE]), Store(folder), np.random.default_rng(0)
    store.save_plan(planned)
    labels = spread * math.sqrt(unit) * random.normal(size=200)

    def answered(deviation: float) -> tuple[float, pd.DataFrame]:
        predictions = labels + deviation * math.sqrt(unit) * random.normal(size=200)
        frame = pd.DataFrame({"id": [str(n) for n in range(200)], "prediction": predictions, "label": labels})
        return float(np.mean((predictions - labels) ** 2)), frame.assign(split="validation")

    error, frame = answered(ERRORS["base"])
    store.save_teacher(teacher_record("price", error), frame)
    for run in planned.runs:
        error, frame = answered(ERRORS[run.label] * (1.2 if run.student == "small" else 1))
        store.save(run_record("price", run.label, run.student, run.seed, error), frame)
    return store
