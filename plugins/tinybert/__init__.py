"""TinyBERT: Jiao et al. 2020, arXiv 1909.10351, with the three factors of Dankar et al. 2023, arXiv 2308.13958."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import TinyBERT


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(TinyBERT)
