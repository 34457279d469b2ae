"""`harness latency`: measure the students and teachers of a suite, or compare checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.cli.command_setup import load_suite, quiet_libraries
from harness.cli.text_lines import print_nothing, print_status


def measure_latency(
    targets: Sequence[str], overrides: Sequence[str], plugins: Sequence[str], results: Path, *, quiet: bool
) -> None:
    """Measure a suite, or compare checkpoints with the first one. Prints the tables and the paths of their files.

    Raises:
        UserError: the suite, a checkpoint or a setting is invalid, a backend cannot be used on this machine, or no
            student of the suite is trained.
    """
    quiet_libraries()
    from harness.reporting import latency_report, report
    from harness.reporting.latency.latency_tables import markdown
    from harness.workflow import latency_measurement

    say = print_nothing if quiet else print_status
    host = None
    if is_suite(targets):
        loaded = load_suite(targets[0], overrides, plugins)
        host = loaded.host
        store, records = latency_measurement.of_suite(loaded, results, say)
    else:
        store, records = latency_measurement.of_checkpoints(targets, overrides, plugins, results, say)
    written = report(store.folder, host).files if store.plan() is not None else latency_report(store.folder)
    print(markdown(store.folder.name, records))
    print("\n".join(["Files:", *(f"  {path}" for path in written)]))


def is_suite(targets: Sequence[str]) -> bool:
    """Whether the targets are one suite: a YAML file, or the name of a shipped suite that is no local folder."""
    from harness.config.shipped_suites import shipped_suites

    target = targets[0] if len(targets) == 1 else ""
    return target.endswith((".yaml", ".yml")) or (target in shipped_suites() and not Path(target).is_dir())
