"""RAIL-KD: Haidar et al. 2022, arXiv 2109.10164."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import RailKD


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(RailKD)
