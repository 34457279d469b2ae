"""Task-aware layer-wise distillation: Liang et al. 2023, arXiv 2210.01351."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import TED


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(TED)
