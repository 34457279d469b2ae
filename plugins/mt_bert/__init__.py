"""MT-BERT: Wu, Wu and Huang 2021, arXiv 2106.01023."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import MTBERT


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(MTBERT)
