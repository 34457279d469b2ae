"""Decoupled Knowledge Distillation: Zhao et al. 2022, arXiv 2203.08679."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import DKD


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(DKD)
