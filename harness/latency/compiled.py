"""The backend `torch.compile`, with dynamic batch size and length."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import TYPE_CHECKING

from harness.api.latency_backend import Inputs, Program, TorchProgram
from harness.api.lazy_torch import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REMEDY = "leave 'compile' out of latency.backends"

LIMIT = 4096
"""Recompile limit. Models of one class share compiled functions; beyond its default of 8, torch would run eagerly."""


class Compiled:
    """torch.compile with dynamic shapes: a model is compiled once, and once more for batches of one example."""

    exact = True
    packages: tuple[str, ...] = ()

    def obstacle(self, device: torch.device) -> str | None:
        if device.type == "mps":
            return f"the backend compile does not support mps; {REMEDY}"
        if compiler() is None:
            return (
                f"the backend compile needs a C++ compiler, but {_compiler_name()!r} is not on the PATH; install it "
                f"(Debian: g++), set the environment variable CXX, or {REMEDY}"
            )
        if device.type == "cuda" and importlib.util.find_spec("triton") is None:
            return f"the backend compile needs triton on CUDA; install it, or {REMEDY}"
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        import torch._dynamo.config as dynamo

        dynamo.recompile_limit = dynamo.accumulated_recompile_limit = LIMIT
        dynamo.fail_on_recompile_limit_hit = True
        return TorchProgram(torch.compile(model, dynamic=True), device)


def compiler() -> str | None:
    """Path of the C++ compiler that torch uses; None if it does not exist."""
    return shutil.which(_compiler_name())


def _compiler_name() -> str:
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
