"""Loads suites from files, names and mappings, and plans them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from harness.planning import Plan
    from harness.resolution.suite_loader import LoadedSuite

    SuiteLike: TypeAlias = str | Path | Mapping[str, Any] | LoadedSuite
    """What functions take as a suite: a file, the name of a shipped suite, its content, or a loaded suite."""

Overrides = Mapping[str, Any] | Sequence[str]
"""``{"training.epochs": 1}``, or ``["training.epochs=1"]`` as on the command line."""


def load_suite(
    suite: SuiteLike,
    *,
    overrides: Overrides = (),
    plugins: Sequence[str | Path] = (),
) -> LoadedSuite:
    """Load and validate a suite, with the plugins that it uses.

    Args:
        suite: a suite file, the name of a shipped suite, or the content of a suite file as a mapping, whose relative
            paths are relative to the working directory. A suite that is loaded is returned as it is.
        overrides: values that replace those of the suite: dotted key -> value.
        plugins: .py files or folders with plugins.

    Raises:
        harness.UserError: the suite, an override or a plugin is invalid; it holds every problem.
    """
    from harness.resolution import load, load_mapping
    from harness.resolution.suite_loader import LoadedSuite

    if isinstance(suite, LoadedSuite):
        if overrides or plugins:
            raise TypeError("overrides and plugins are applied when a suite is loaded: pass them to load_suite()")
        return suite
    settings = as_settings(overrides)
    paths = [str(path) for path in plugins]
    if isinstance(suite, Mapping):
        return load_mapping(suite, overrides=settings, plugins=paths)
    return load(suite, overrides=settings, plugins=paths)


def plan(
    suite: SuiteLike,
    *,
    overrides: Overrides = (),
    plugins: Sequence[str | Path] = (),
) -> Plan:
    """Compute the runs of a suite and their keys. Reads data and checkpoints; trains nothing.

    Args:
        suite: see `load_suite`.
        overrides: see `load_suite`.
        plugins: see `load_suite`.

    Raises:
        harness.UserError: the suite or its data are invalid, or this machine lacks the suite's device.
    """
    return plan_loaded(load_suite(suite, overrides=overrides, plugins=plugins))


def plan_loaded(loaded: LoadedSuite) -> Plan:
    """Build the plan of a loaded suite. Raises `UserError` as `plan` does."""
    from harness import planning
    from harness.resolution import resolve
    from harness.workflow import plugin_probes

    planning.refuse_absent(loaded.suite.spec.device)
    resolved = resolve(loaded, online=True)
    plugin_probes.check(resolved, loaded.host)
    return planning.build(resolved)


def as_settings(overrides: Overrides) -> list[str]:
    """``key=VALUE`` for each override; JSON is valid YAML."""
    if isinstance(overrides, Mapping):
        return [f"{key}={json.dumps(value, default=str)}" for key, value in overrides.items()]
    return list(overrides)
