"""BERT-EMD: Li, Liu, Zhao, Xu, Yang and Jin 2020, arXiv 2010.06133."""

from __future__ import annotations

from collections.abc import Callable

from harness import Method, hookimpl

from .method import BertEMD


@hookimpl
def harness_register_methods(register: Callable[[type[Method]], None]) -> None:
    register(BertEMD)
