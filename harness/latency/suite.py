"""The latency of a suite: what would not work is told before training, what is there is not measured again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from harness.identity import key
from harness.latency import candidates, inputs
from harness.latency.measure import measure, parts, refuse_obstacles
from harness.models import checkpoints
from harness.plan import Plan
from harness.results.store import Store
from harness.results.timings import LatencyRecord
from harness.suite.schema import LatencySpec

if TYPE_CHECKING:
    from pathlib import Path


def check(plan: Plan, settings: LatencySpec) -> None:
    """Raise `UserError` for what cannot be measured, as far as it can be told before training."""
    from transformers import AutoModel

    refuse_obstacles(settings, torch.device(plan.device))
    folders: dict[Path, str] = {}
    for job in plan.teachers:
        if job.checkpoint is not None:
            folders.setdefault(job.checkpoint, job.name)
    for run in plan.runs:
        if run.checkpoint is not None:
            folders.setdefault(run.checkpoint, run.planned.student)
    trust = plan.spec.trust_remote_code
    for folder, name in folders.items():
        config = checkpoints.config_in(folder, trust_remote_code=trust)
        with torch.device("meta"):  # the sizes of the weights without the weights
            model = AutoModel.from_config(config, trust_remote_code=trust)
        inputs.check_lengths([name], [model], settings.lengths)


def measure_suite(
    plan: Plan, settings: LatencySpec, store: Store, *, say: Callable[[str], None]
) -> LatencyRecord | None:
    """Measure and store, unless the store has it already. None: no student is trained, so there is nothing to measure.

    Raises:
        UserError: see `harness.latency.measure.measure`.
    """
    device = torch.device(plan.device)
    found = candidates.of_suite(plan, store)
    if found is None:
        return None
    record = store.latency(key(parts(found, settings, device)))
    if record is None:
        record = measure(found, settings, device, say=say)
        store.save_latency(record)
    return record
