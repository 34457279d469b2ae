"""Compare the training times of completed runs with their estimates, to correct the estimates of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

import torch

from harness.planning.jobs import RunJob
from harness.planning.plan import Plan
from harness.planning.time_estimate import TimeEstimate
from harness.storage.store import Store

SAMPLE = 20
"""Number of records to read at most."""


def measured_to_estimated(plan: Plan, completed: Sequence[RunJob], store: Store) -> float | None:
    """Return the median ratio of measured to estimated training time; None if no run is completed.

    Args:
        plan: the plan.
        completed: runs of the plan with a record. Their keys tell that they had this plan's device and threads.
        store: the results folder with the records.
    """
    every = max(1, math.ceil(len(completed) / SAMPLE))
    sample = completed[::every]
    records = [(job, store.record(job.planned.key)) for job in sample]
    measured = [(job, record.cost.student_seconds) for job, record in records if record is not None]
    if not measured:
        return None
    estimate = TimeEstimate(plan.device, torch.get_num_threads(), plan.resolved.shapes)
    return median(seconds / estimate.run(job) for job, seconds in measured)
