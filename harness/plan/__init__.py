"""Suite -> runs with keys -> cohorts."""

from harness.plan.builder import build
from harness.plan.jobs import Plan, RunJob, TeacherJob
from harness.plan.status import RunStatus, pending, status

__all__ = ["Plan", "RunJob", "RunStatus", "TeacherJob", "build", "pending", "status"]
