"""Dynamic knowledge distillation: Li et al. 2021, arXiv 2109.11295."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import DynamicKD


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(DynamicKD)
