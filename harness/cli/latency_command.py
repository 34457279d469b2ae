"""`harness latency`: measure the students and teachers of a suite, or compare checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.cli.command_setup import load_suite, quiet_libraries

if TYPE_CHECKING:
    from harness.config.schema import CheckpointsSpec
    from harness.planning import Plan
    from harness.plugin_host.host import Host
    from harness.storage.latency_records import LatencyRecord
    from harness.storage.store import Store

NO_TASK = (
    "`task` means the lengths of a suite's task, but checkpoints have no task. Use numbers, or measure a suite "
    "(`harness latency SUITE`)"
)

CHECKPOINTS_FOLDER = "models"
"""The folder in the results folder for measurements of checkpoints."""


def measure_latency(
    targets: Sequence[str], overrides: Sequence[str], plugins: Sequence[str], results: Path, *, quiet: bool
) -> None:
    """Measure a suite, or compare checkpoints with the first one. Prints the tables and the paths of their files.

    Raises:
        UserError: the suite, a checkpoint or a setting is invalid, a backend cannot be used on this machine, or no
            student of the suite is trained.
    """
    say = _discard if quiet else print_status
    if is_suite(targets):
        _measure_suite(targets[0], overrides, plugins, results, say)
    else:
        _measure_checkpoints(targets, overrides, plugins, results, say)


def is_suite(targets: Sequence[str]) -> bool:
    """Whether the targets are one suite: a YAML file, or the name of a shipped suite that is no local folder."""
    from harness.config.paths import shipped_suites

    target = targets[0] if len(targets) == 1 else ""
    return target.endswith((".yaml", ".yml")) or (target in shipped_suites() and not Path(target).is_dir())


def print_status(line: str) -> None:
    """Print a line on stderr at once."""
    print(line, file=sys.stderr, flush=True)


def _discard(line: str) -> None:
    pass


def check_latency_section(plan: Plan, host: Host) -> None:
    """Check that the suite's latency section, if it has one, can be measured on this machine.

    Raises:
        UserError: a backend cannot be used, or a checkpoint cannot take a requested length.
    """
    if plan.spec.latency is not None:
        from harness.latency.suite_latency import check

        check(plan, plan.spec.latency, host.latency_backends)


def measure_latency_section(plan: Plan, store: Store, host: Host, *, quiet: bool) -> bool:
    """Measure the suite's latency section. Returns False if it has none, or if no student is trained."""
    if plan.spec.latency is None:
        return False
    from harness.latency.suite_latency import measure_suite

    say = _discard if quiet else print_status
    return bool(measure_suite(plan, plan.spec.latency, store, host, say=say))


def _measure_suite(
    name: str, overrides: Sequence[str], plugins: Sequence[str], results: Path, say: Callable[[str], None]
) -> None:
    loaded = load_suite(name, overrides, plugins)
    suite, host = loaded.suite, loaded.host
    from harness import planning
    from harness.config.schema import LatencySpec
    from harness.latency.suite_latency import check, measure_suite
    from harness.resolution import resolve
    from harness.storage.store import Store

    planning.refuse_absent(suite.spec.device)
    plan = planning.build(resolve(loaded, online=True))
    settings = suite.spec.latency or LatencySpec()
    store = Store(results / suite.spec.name)
    check(plan, settings, host.latency_backends)
    stored_plan = store.plan()
    records = measure_suite(plan, settings, store, host, say=say) if stored_plan else []
    if stored_plan is None or not records:
        raise UserError(Problem(f"no trained student found; run `harness run {name}` first", str(store.folder)))
    store.save_plan(stored_plan.model_copy(update={"latency": settings}))
    _write_and_print(store, records, host)


def _measure_checkpoints(
    names: Sequence[str], overrides: Sequence[str], plugins: Sequence[str], results: Path, say: Callable[[str], None]
) -> None:
    quiet_libraries()
    from harness.plugin_host.host import Host

    host = Host.create(plugins)
    spec = _settings(overrides, host)
    import torch

    from harness.latency.candidates import of_checkpoints
    from harness.latency.measurement import refuse_obstacles
    from harness.latency.suite_latency import measure_missing
    from harness.planning.devices import best_device, refuse_absent
    from harness.storage.store import Store

    refuse_absent(spec.device)
    device = torch.device(spec.device or best_device())
    refuse_obstacles(spec.latency, device, host.latency_backends)
    candidates = of_checkpoints(names, trust_remote_code=spec.trust_remote_code)
    store = Store(results / CHECKPOINTS_FOLDER)
    records = measure_missing(candidates, spec.latency, device, store, host.latency_backends, say=say)
    _write_and_print(store, records)


def _settings(overrides: Sequence[str], host: Host) -> CheckpointsSpec:
    """The settings from `--set`: `latency`, `device` and `trust_remote_code`; no other key is allowed."""
    from pydantic import ValidationError

    from harness.config.diagnostics import Diagnostics
    from harness.config.includes import override
    from harness.config.schema import CheckpointsSpec
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


def _write_and_print(store: Store, records: Sequence[LatencyRecord], host: Host | None = None) -> None:
    """Write the latency tables of the folder, and its board if it has a plan; print the tables of `records`."""
    from harness.reporting import latency_report, report
    from harness.reporting.latency.latency_tables import markdown

    written = report(store.folder, host).files if store.plan() is not None else latency_report(store.folder)
    print(markdown(store.folder.name, records))
    print("\n".join(["Files:", *(f"  {path}" for path in written)]))
