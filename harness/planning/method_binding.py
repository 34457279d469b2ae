"""Bind a planned method again: to another configuration, task, seed, or number of examples."""

from __future__ import annotations

from dataclasses import replace

from harness.api.method import Method, MethodConfig, TaskInfo


def rebound(
    method: Method, *, config: MethodConfig | None = None, task: TaskInfo | None = None, seed: int | None = None
) -> Method:
    """Return the method for the same models, with another configuration, task or seed."""
    return type(method)(
        config or method.config,
        task=task or method.task,
        student=method.student,
        teachers=method.teachers,
        seed=method.seed if seed is None else seed,
    )


def with_examples(method: Method, examples: int) -> Method:
    """Return the method as it was planned, told the number of training examples."""
    return rebound(method, task=replace(method.task, examples=examples))
