"""What remains to be done of a plan: the runs to train, and the graph of the jobs that lead to them."""

from __future__ import annotations

from harness.execution.outcome import ExecutionOptions
from harness.planning import Plan, graph_builder, pending, run_selection
from harness.planning.job_graph import JobGraph
from harness.planning.jobs import RunJob
from harness.storage.store import Store


def missing_runs(plan: Plan, store: Store, options: ExecutionOptions) -> list[RunJob]:
    """Return the runs to train: those that are not done and selected, and those that they learn from, in order."""
    return run_selection.to_train(pending(plan, store), options.only)


def remaining(
    plan: Plan, store: Store, options: ExecutionOptions, *, workers: int, threads: int | None = None
) -> tuple[list[RunJob], JobGraph]:
    """Return the missing runs and the graph of what remains. `workers`, `threads`: see `graph_builder.build`."""
    missing = missing_runs(plan, store, options)
    board_teachers = options.trains_board_teachers
    return missing, graph_builder.build(plan, missing, workers=workers, threads=threads, board_teachers=board_teachers)
