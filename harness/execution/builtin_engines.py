"""The built-in engines, registered through the plugin hook. Each is imported when it is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness import hookimpl

if TYPE_CHECKING:
    from harness.api.engine import Execution
    from harness.execution.plan_execution import PlanEngine, PlanExecution


@hookimpl
def harness_register_engines(register: Callable[[str, PlanEngine], None]) -> None:
    """Register the built-in engines."""
    register("local", _local)
    register("ray", _ray)


def _local(execution: Execution) -> None:
    from harness.execution import local_engine

    local_engine.execute(execution)


def _ray(execution: PlanExecution) -> None:
    from harness.execution.ray_engine import driver

    driver.execute(execution)
