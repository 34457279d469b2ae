"""A distillation that is configured: pairs of outputs with a loss each, beside soft targets and labels."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import Matches


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(Matches)
