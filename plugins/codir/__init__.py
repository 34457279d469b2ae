"""CoDIR: Sun et al. 2020, arXiv 2009.14167."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import CoDIR


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(CoDIR)
