"""`torch.compile`: each model compiled for all batches and lengths at once, before anything is timed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import TYPE_CHECKING

import torch

from harness.api.latency_backend import Inputs, Program
from harness.latency.eager import TorchProgram
from harness.latency.model_inputs import accepted_inputs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REMEDY = "leave 'compile' out of latency.backends"

LIMIT = 4096
"""Versions of one function that torch may keep. All models of a class share its functions, and beyond its limit (8)
torch would run them uncompiled."""


class Compiled:
    """Batch and length are dynamic, so that a model is compiled once, and once more for batches of one example."""

    exact = True
    packages: tuple[str, ...] = ()

    def obstacle(self, device: torch.device) -> str | None:
        if device.type == "mps":
            return f"the backend compile does not run on mps: {REMEDY}"
        if compiler() is None:
            return (
                f"the backend compile needs a C++ compiler, and there is no {_wanted()!r}: install one (Debian: g++), "
                f"name another in the variable CXX, or {REMEDY}"
            )
        if device.type == "cuda" and importlib.util.find_spec("triton") is None:
            return f"the backend compile needs triton on CUDA: install it, or {REMEDY}"
        return None

    def program(self, model: PreTrainedModel, device: torch.device, example: Inputs) -> Program:
        import torch._dynamo.config as dynamo

        dynamo.recompile_limit = dynamo.accumulated_recompile_limit = LIMIT
        dynamo.fail_on_recompile_limit_hit = True
        return TorchProgram(torch.compile(model, dynamic=True), accepted_inputs(model), device)


def compiler() -> str | None:
    """Where the compiler is that torch takes; None: it is not there."""
    return shutil.which(_wanted())


def _wanted() -> str:
    return os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
