"""The mean of several teachers: Hinton, Vinyals and Dean 2015, arXiv 1503.02531 (distillation of an ensemble)."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import AverageMultiTeacher


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(AverageMultiTeacher)
