"""Plan a suite: compute the keys of its runs, group runs into cohorts, and estimate their cost."""

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
