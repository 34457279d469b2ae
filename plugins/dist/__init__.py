"""DIST: Huang et al. 2022, arXiv 2205.10536."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import DIST


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(DIST)
