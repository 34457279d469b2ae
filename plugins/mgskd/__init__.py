"""MGSKD: Liu, Tao, Feng and Zhao 2022, arXiv 2203.14940."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import MGSKD


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(MGSKD)
