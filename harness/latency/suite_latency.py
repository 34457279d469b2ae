"""Latency of a suite: checks before training, and measures what the store does not contain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from harness.api.latency_backend import Backend
from harness.config.latency_schema import LatencySpec
from harness.latency import candidates, machine, model_inputs
from harness.latency.candidates import Candidates
from harness.latency.measurement import key_of, measure, parts, refuse_obstacles
from harness.models import pretrained
from harness.planning import Plan
from harness.storage.latency_records import LatencyRecord
from harness.storage.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plugin_host.host import Host


def check(plan: Plan, settings: LatencySpec, backends: Mapping[str, Backend]) -> None:
    """Raise `UserError` for what cannot be measured, as far as this is known before training."""
    refuse_obstacles(settings, torch.device(plan.device), backends)
    folders: dict[Path, str] = {}
    for job in plan.teachers:
        if job.checkpoint is not None:
            folders.setdefault(job.checkpoint, job.row)
    for run in plan.runs:
        if run.checkpoint is not None:
            folders.setdefault(run.checkpoint, run.planned.student)
    trust = plan.spec.trust_remote_code
    for folder, name in folders.items():
        config = pretrained.config_in(folder, trust_remote_code=trust)
        model_inputs.check_lengths([name], [config], settings.fixed_lengths)


def measure_suite(
    plan: Plan, settings: LatencySpec, store: Store, host: Host, *, say: Callable[[str], None]
) -> list[LatencyRecord]:
    """Run `measure_missing` on the teachers and students of a suite. Returns an empty list if no student is trained."""
    models = candidates.of_suite(plan, store, host.metrics)
    if models is None:
        return []
    return measure_missing(models, settings, torch.device(plan.device), store, host.latency_backends, say=say)


def measure_missing(
    models: Candidates,
    settings: LatencySpec,
    device: torch.device,
    store: Store,
    backends: Mapping[str, Backend],
    *,
    say: Callable[[str], None],
) -> list[LatencyRecord]:
    """Measure and store one record per number of threads. Records that the store contains are reused.

    Raises:
        UserError: see `harness.latency.measurement.measure`.
    """
    records: list[LatencyRecord] = []
    for threads in machine.thread_counts(settings.threads, device):
        record = _stored(store, models, parts(models, settings, device, threads=threads, backends=backends))
        if record is None:
            record = measure(models, settings, device, threads=threads, backends=backends, say=say)
            store.save_latency(record)
        records.append(record)
    return records


def _stored(store: Store, models: Candidates, wanted: Mapping[str, Any]) -> LatencyRecord | None:
    """The stored measurement with the parts `wanted`, with the present names of its models; None if there is none.

    A measurement of an older version, whose key has the names of the models, is found by its parts.
    """
    key = key_of(wanted)
    record = store.latency(key)
    if record is None:
        record = next((older for older in reversed(store.latencies()) if key_of(older.parts) == key), None)
    if record is None:
        return None
    present = record.with_names([model["name"] for model in wanted["models"]]).model_copy(
        update={"key": key, "not_measured": dict(models.left_out)}
    )
    if present != record:
        store.save_latency(present)
    if record.key != key:
        store.remove_latency(record.key)  # else the board would show the measurement twice
    return present
