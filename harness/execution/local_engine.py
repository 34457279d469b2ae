"""The local engine: executes a job graph in this process, and shares it with other processes by claims."""

from __future__ import annotations

from harness.api.engine import Execution


def execute(execution: Execution) -> None:
    """Execute the jobs of a suite in this process, in the order in which they should start."""
    with execution.jobs() as jobs:
        while ready := jobs.ready():
            jobs.build_one(ready)
