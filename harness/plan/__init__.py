"""Suite -> runs with keys -> cohorts."""

from harness.plan.builder import build
from harness.plan.devices import refuse_absent
from harness.plan.estimate import Estimate, estimate
from harness.plan.jobs import RunJob, TeacherJob
from harness.plan.plan import Plan
from harness.plan.status import RunStatus, pending, status

__all__ = [
    "Estimate",
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
