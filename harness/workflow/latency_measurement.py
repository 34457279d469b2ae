"""Measures the latency of a suite's models, or of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.workflow.suite_loading import Overrides, load_suite, plan_loaded

if TYPE_CHECKING:
    import pandas as pd

    from harness.config.latency_schema import CheckpointsSpec, LatencySpec
    from harness.planning import Plan
    from harness.plugin_host.host import Host
    from harness.resolution.suite_loader import LoadedSuite
    from harness.storage.latency_records import LatencyRecord
    from harness.storage.plan_file import PlanFile
    from harness.storage.store import Store
    from harness.workflow.suite_loading import SuiteLike

CHECKPOINTS_FOLDER = "models"
"""The folder in the results folder for measurements of checkpoints."""

NO_TASK = (
    "`task` means the lengths of a suite's task, but checkpoints have no task. Use numbers, or measure a suite "
    "(`harness latency SUITE`)"
)


def measure_latency(
    models: SuiteLike | Sequence[str | Path],
    *,
    overrides: Overrides = (),
    results: str | Path = "results",
) -> pd.DataFrame:
    """Measure the latency of a suite's teachers and students, or of checkpoints. Nothing is measured twice.

    Args:
        models: a suite that has been run, as for `harness.load_suite`; or a list of folders and hub ids of models.
        overrides: keys of the suite; for checkpoints `latency`, `device` and `trust_remote_code`.
        results: the results folder, in which measurements are stored.

    Returns:
        one row per model, backend, shape and number of threads, with the columns of latency.csv.

    Raises:
        harness.UserError: a setting or a model is invalid, a backend cannot be used on this machine, or no student of
            the suite is trained.
    """
    from harness.workflow.results_reading import latency_frame

    if isinstance(models, Sequence) and not isinstance(models, str):
        return latency_frame(of_checkpoints([str(model) for model in models], overrides, (), Path(results))[1])
    return latency_frame(of_suite(load_suite(models, overrides=overrides), Path(results))[1])


def check_section(plan: Plan, host: Host) -> None:
    """Check that the suite's latency section, if it has one, can be measured on this machine.

    Raises:
        UserError: a backend cannot be used, or a checkpoint cannot take a requested length.
    """
    if plan.spec.latency is not None:
        from harness.latency.suite_latency import check

        check(plan, plan.spec.latency, host.latency_backends)


def measure_section(plan: Plan, store: Store, host: Host, say: Callable[[str], None]) -> bool:
    """Measure the suite's latency section. Returns False if it has none, or if no student is trained."""
    if plan.spec.latency is None:
        return False
    from harness.latency.suite_latency import measure_suite

    return bool(measure_suite(plan, plan.spec.latency, store, host, say=say))


def of_suite(
    loaded: LoadedSuite, results: Path, say: Callable[[str], None] = lambda line: None
) -> tuple[Store, list[LatencyRecord]]:
    """Measure a suite that has been run, with its latency section or the default settings.

    Returns:
        the suite's store, and one record per number of threads.

    Raises:
        UserError: the suite is invalid, cannot be measured on this machine, or has no trained student.
    """
    plan = plan_loaded(loaded)
    from harness.config.latency_schema import LatencySpec
    from harness.config.yaml_tree import display_path
    from harness.latency.suite_latency import check, measure_suite
    from harness.storage.store import Store

    settings = plan.spec.latency or LatencySpec()
    store = Store(results / plan.spec.name)
    check(plan, settings, loaded.host.latency_backends)
    stored_plan = store.plan()
    records = measure_suite(plan, settings, store, loaded.host, say=say) if stored_plan else []
    if stored_plan is None or not records:
        command = f"harness run {display_path(loaded.suite.path)}"
        raise UserError(Problem(f"no trained student found; run `{command}` first", str(store.folder)))
    _store_settings(settings, store, stored_plan, say)
    return store, records


def _store_settings(settings: LatencySpec, store: Store, measured: PlanFile, say: Callable[[str], None]) -> None:
    """Add the settings of a measurement to the stored plan, which may have replaced the plan `measured` meanwhile."""
    from harness.execution.active_processes import held_board
    from harness.execution.claims import Claims

    with Claims() as claims, held_board(claims, store.folder, f"latency of {measured.suite}", say):
        store.save_plan((store.plan() or measured).model_copy(update={"latency": settings}))


def of_checkpoints(
    names: Sequence[str],
    overrides: Overrides,
    plugins: Sequence[str | Path],
    results: Path,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Store, list[LatencyRecord]]:
    """Measure checkpoints: folders or hub ids of models.

    Returns:
        the store of the measurements, and one record per number of threads.

    Raises:
        UserError: a setting or a checkpoint is invalid, or a backend cannot be used on this machine.
    """
    from harness.plugin_host.host import Host
    from harness.workflow.suite_loading import as_settings

    host = Host.create(plugins)
    spec = _settings(as_settings(overrides), host)
    import torch

    from harness.latency.candidates import of_checkpoints as candidates_of
    from harness.latency.measurement import refuse_obstacles
    from harness.latency.suite_latency import measure_missing
    from harness.planning.devices import best_device, refuse_absent
    from harness.storage.store import Store

    refuse_absent(spec.device)
    device = torch.device(spec.device or best_device())
    refuse_obstacles(spec.latency, device, host.latency_backends)
    candidates = candidates_of(names, trust_remote_code=spec.trust_remote_code)
    store = Store(results / CHECKPOINTS_FOLDER)
    return store, measure_missing(candidates, spec.latency, device, store, host.latency_backends, say=say)


def _settings(overrides: Sequence[str], host: Host) -> CheckpointsSpec:
    """The settings of a measurement of checkpoints: `latency`, `device` and `trust_remote_code`; no other key."""
    from pydantic import ValidationError

    from harness.config.diagnostics import Diagnostics
    from harness.config.includes import override
    from harness.config.latency_schema import CheckpointsSpec
    from harness.config.yaml_tree import Mark, Node
    from harness.resolution import references

    root = override(Node({}, Mark("--set", 0, Path())), overrides)
    diagnostics = Diagnostics(root)
    references.check_latency_backends(root.plain(), host, diagnostics)
    try:
        spec = CheckpointsSpec.model_validate(root.plain())
    except ValidationError as error:
        diagnostics.add_validation_error(error, CheckpointsSpec)
        diagnostics.raise_if_any()
        raise
    if spec.latency.includes_task_lengths:
        diagnostics.add(("latency", "lengths"), NO_TASK)
    diagnostics.raise_if_any()
    return spec
