"""The built-in engines, registered through the plugin hook. Each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness import hookimpl
from harness.execution.engine import Engine, ExecutionOptions, Outcome

if TYPE_CHECKING:
    from harness.planning import Plan
    from harness.plugin_host.host import Host
    from harness.storage.store import Store


@hookimpl
def harness_register_engines(register: Callable[[str, Engine], None]) -> None:
    """Register the built-in engines."""
    register("local", _local)
    register("ray", _ray)


def _local(plan: Plan, store: Store, host: Host, options: ExecutionOptions) -> Outcome:
    from harness.execution import local_engine

    return local_engine.execute(plan, store, host, options)


def _ray(plan: Plan, store: Store, host: Host, options: ExecutionOptions) -> Outcome:
    from harness.execution.ray_engine import driver

    return driver.execute(plan, store, host, options)
