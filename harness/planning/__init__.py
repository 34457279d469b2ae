"""Plan a suite: compute the keys of its runs, group runs into cohorts, and estimate their cost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.planning.cost_estimate import CostEstimate, estimate
    from harness.planning.devices import refuse_absent
    from harness.planning.jobs import RunJob, TeacherJob
    from harness.planning.plan import Plan
    from harness.planning.plan_builder import build
    from harness.planning.run_status import RunStatus, pending, status

__all__ = [
    "CostEstimate",
    "Plan",
    "RunJob",
    "RunStatus",
    "TeacherJob",
    "build",
    "estimate",
    "pending",
    "refuse_absent",
    "status",
]

_MODULES = {
    "CostEstimate": "cost_estimate",
    "Plan": "plan",
    "RunJob": "jobs",
    "RunStatus": "run_status",
    "TeacherJob": "jobs",
    "build": "plan_builder",
    "estimate": "cost_estimate",
    "pending": "run_status",
    "refuse_absent": "devices",
    "status": "run_status",
}


def __getattr__(name: str) -> Any:
    """Import on first use: `harness validate` reads data without the models, which take a second to import."""
    if name in _MODULES:
        return getattr(import_module(f"harness.planning.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
