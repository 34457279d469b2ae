"""CKD, contextual knowledge distillation: Park, Kim and Yang 2021, arXiv 2109.08359."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import CKD


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(CKD)
