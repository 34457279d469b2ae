"""MiniLM: Wang et al. 2020, arXiv 2002.10957, and its second version: Wang et al. 2021, arXiv 2012.15828."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import MiniLM


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(MiniLM)
