"""`harness latency`: of a suite's students and teachers, or of any checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api.errors import Problem, UserError
from harness.cli.suite_commands import calm_libraries, load_suite

if TYPE_CHECKING:
    from harness.config.schema import CheckpointsSpec
    from harness.planning import Plan
    from harness.plugin_host.host import Host
    from harness.storage.latency_records import LatencyRecord
    from harness.storage.store import Store

NO_TASK = (
    "`task` stands for the lengths of a suite's task, and checkpoints have none: give numbers, or measure a suite "
    "(`harness latency SUITE`)"
)

FOLDER = "models"
"""Below the results: where measurements of checkpoints go."""


def measure_latency(
    targets: Sequence[str], overrides: Sequence[str], plugins: Sequence[str], results: Path, *, quiet: bool
) -> None:
    """Measure a suite, or compare checkpoints with the first; print the tables and where they are."""
    say = _silently if quiet else tell
    if is_suite(targets):
        _suite(targets[0], overrides, plugins, results, say)
    else:
        _checkpoints(targets, overrides, plugins, results, say)


def is_suite(targets: Sequence[str]) -> bool:
    """Whether what is to be measured is a suite: one YAML file, or the name of one that is shipped."""
    from harness.config.paths import shipped_suites

    only = targets[0] if len(targets) == 1 else ""
    return only.endswith((".yaml", ".yml")) or (only in shipped_suites() and not Path(only).is_dir())


def tell(line: str) -> None:
    """What is about to happen, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _silently(line: str) -> None:
    pass


def check_before(planned: Plan, host: Host) -> None:
    """Raise `UserError` for what the suite's latency section asks for and cannot be had."""
    if planned.spec.latency is not None:
        from harness.latency.suite_latency import check

        check(planned, planned.spec.latency, host.latency_backends)


def measure_after(planned: Plan, store: Store, host: Host, *, quiet: bool) -> bool:
    """Measure what the suite's latency section asks for. False: it has none, or no student is trained."""
    if planned.spec.latency is None:
        return False
    from harness.latency.suite_latency import measure_suite

    say = _silently if quiet else tell
    return bool(measure_suite(planned, planned.spec.latency, store, host, say=say))


def _suite(
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
    planned = planning.build(resolve(loaded, online=True))
    settings = suite.spec.latency or LatencySpec()
    store = Store(results / suite.spec.name)
    check(planned, settings, host.latency_backends)
    asked = store.plan()
    measured = measure_suite(planned, settings, store, host, say=say) if asked else []
    if asked is None or not measured:
        raise UserError(
            Problem(f"no student of it is trained yet; `harness run {name}` trains them", str(store.folder))
        )
    store.save_plan(asked.model_copy(update={"latency": settings}))
    _report(store, measured, host)


def _checkpoints(
    names: Sequence[str], overrides: Sequence[str], plugins: Sequence[str], results: Path, say: Callable[[str], None]
) -> None:
    calm_libraries()
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
    found = of_checkpoints(names, trust_remote_code=spec.trust_remote_code)
    store = Store(results / FOLDER)
    measured = measure_missing(found, spec.latency, device, store, host.latency_backends, say=say)
    _report(store, measured)


def _settings(overrides: Sequence[str], host: Host) -> CheckpointsSpec:
    """What `--set` says of latency, device and trust_remote_code."""
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


def _report(store: Store, measured: Sequence[LatencyRecord], host: Host | None = None) -> None:
    """Write the tables again, the board too if the folder has one, and print those that were asked for."""
    from harness.reporting import latency_report, report
    from harness.reporting.latency.latency_tables import markdown

    written = report(store.folder, host).files if store.plan() is not None else latency_report(store.folder)
    print(markdown(store.folder.name, measured))
    print("\n".join(["Files:", *(f"  {path}" for path in written)]))
