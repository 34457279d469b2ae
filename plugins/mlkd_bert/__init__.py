"""MLKD-BERT: Zhang, Yang and Ji 2024, arXiv 2407.02775."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import MLKDBert


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(MLKDBert)
