"""kd-harness: a plugin-based benchmark harness for knowledge distillation of BERT-like models.

Plugins import from here: ``from harness import Method, MethodConfig, Needs, Stage, hookimpl``. Names are imported on
first use, so that commands which do not train start without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from harness.api.batch import Batch as Batch
    from harness.api.errors import Problem as Problem
    from harness.api.method import Augmentation as Augmentation
    from harness.api.method import Cofinetuning as Cofinetuning
    from harness.api.method import General as General
    from harness.api.method import LossTerms as LossTerms
    from harness.api.method import Method as Method
    from harness.api.method import MethodConfig as MethodConfig
    from harness.api.method import Needs as Needs
    from harness.api.method import Stage as Stage
    from harness.api.method import Step as Step
    from harness.api.method import TaskInfo as TaskInfo
    from harness.api.method import layers as layers
    from harness.api.model_outputs import ModelOutputs as ModelOutputs
    from harness.api.model_outputs import ModelShape as ModelShape
    from harness.api.search_space import Choices as Choices
    from harness.api.search_space import Search as Search
    from harness.tasks.tabular.plugin_tasks import tabular_task as tabular_task

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("harness")
"""Marks a function of a plugin as a hook implementation (see `harness.plugin_host.hookspecs`)."""

_MODULES = {
    "Augmentation": "api.method",
    "Batch": "api.batch",
    "Choices": "api.search_space",
    "Cofinetuning": "api.method",
    "General": "api.method",
    "LossTerms": "api.method",
    "Method": "api.method",
    "MethodConfig": "api.method",
    "ModelShape": "api.model_outputs",
    "Needs": "api.method",
    "Problem": "api.errors",
    "Search": "api.search_space",
    "Stage": "api.method",
    "Step": "api.method",
    "TaskInfo": "api.method",
    "ModelOutputs": "api.model_outputs",
    "layers": "api.method",
    "tabular_task": "tasks.tabular.plugin_tasks",
}

__all__ = ["__version__", "hookimpl", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.{_MODULES[name]}"), name)
