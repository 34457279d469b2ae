"""ALP-KD, attention-based layer projection: Passban et al. 2021, arXiv 2012.14022."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import ALPKD


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(ALPKD)
