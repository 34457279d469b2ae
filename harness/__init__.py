"""kd-harness: a plugin-based benchmark harness for knowledge distillation of BERT-like models.

What a plugin needs is here: ``from harness import Method, MethodConfig, Needs, Stage, hookimpl``. Names are loaded on
first use, so that commands which do not train never import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from harness.batch import Batch as Batch
    from harness.errors import Problem as Problem
    from harness.method import Augmentation as Augmentation
    from harness.method import Cofinetuning as Cofinetuning
    from harness.method import General as General
    from harness.method import LossTerms as LossTerms
    from harness.method import Method as Method
    from harness.method import MethodConfig as MethodConfig
    from harness.method import Needs as Needs
    from harness.method import Stage as Stage
    from harness.method import Step as Step
    from harness.method import TaskInfo as TaskInfo
    from harness.method import layers as layers
    from harness.search import Choices as Choices
    from harness.search import Search as Search
    from harness.tensors import ModelShape as ModelShape
    from harness.tensors import Tensors as Tensors

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("harness")
"""Marks a function of a plugin as the implementation of a hook (see `harness.hookspecs`)."""

_HOME = {
    "Augmentation": "method",
    "Batch": "batch",
    "Choices": "search",
    "Cofinetuning": "method",
    "General": "method",
    "LossTerms": "method",
    "Method": "method",
    "MethodConfig": "method",
    "ModelShape": "tensors",
    "Needs": "method",
    "Problem": "errors",
    "Search": "search",
    "Stage": "method",
    "Step": "method",
    "TaskInfo": "method",
    "Tensors": "tensors",
    "layers": "method",
}

__all__ = ["__version__", "hookimpl", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.{_HOME[name]}"), name)
