"""kd-harness: a plugin-based benchmark harness for knowledge distillation of BERT-like models.

Plugins import from here: ``from harness import Method, MethodConfig, Needs, Stage, hookimpl``. Programs and notebooks
run suites from here: ``harness.run("suites/quick.yaml")``. Names are imported on first use, so that commands which do
not train start without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from harness.analysis.summary import BoardRow as BoardRow
    from harness.analysis.summary import Summary as Summary
    from harness.api.batch import Batch as Batch
    from harness.api.errors import Problem as Problem
    from harness.api.errors import UserError as UserError
    from harness.api.method import FIRST_TEACHER as FIRST_TEACHER
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
    from harness.export.exporting import Exported as Exported
    from harness.export.exporting import export_student as export_student
    from harness.resolution.suite import Suite as Suite
    from harness.tasks.tabular.plugin_tasks import tabular_task as tabular_task
    from harness.workflow.latency_measurement import measure_latency as measure_latency
    from harness.workflow.results_reading import Results as Results
    from harness.workflow.results_reading import load_results as load_results
    from harness.workflow.suite_execution import RunOptions as RunOptions
    from harness.workflow.suite_loading import load_suite as load_suite
    from harness.workflow.suite_loading import plan as plan
    from harness.workflow.suite_run import SuiteResult as SuiteResult
    from harness.workflow.suite_run import run as run

__version__ = "0.1.0"

hookimpl = pluggy.HookimplMarker("harness")
"""Marks a function of a plugin as a hook implementation (see `harness.plugin_host.hookspecs`)."""

_MODULES = {
    "Augmentation": "api.method",
    "Batch": "api.batch",
    "BoardRow": "analysis.summary",
    "Choices": "api.search_space",
    "Cofinetuning": "api.method",
    "Exported": "export.exporting",
    "FIRST_TEACHER": "api.method",
    "General": "api.method",
    "LossTerms": "api.method",
    "Method": "api.method",
    "MethodConfig": "api.method",
    "ModelOutputs": "api.model_outputs",
    "ModelShape": "api.model_outputs",
    "Needs": "api.method",
    "Problem": "api.errors",
    "Results": "workflow.results_reading",
    "RunOptions": "workflow.suite_execution",
    "Search": "api.search_space",
    "Stage": "api.method",
    "Step": "api.method",
    "Suite": "resolution.suite",
    "SuiteResult": "workflow.suite_run",
    "Summary": "analysis.summary",
    "TaskInfo": "api.method",
    "UserError": "api.errors",
    "export_student": "export.exporting",
    "layers": "api.method",
    "load_results": "workflow.results_reading",
    "load_suite": "workflow.suite_loading",
    "measure_latency": "workflow.latency_measurement",
    "plan": "workflow.suite_loading",
    "run": "workflow.suite_run",
    "tabular_task": "tasks.tabular.plugin_tasks",
}

__all__ = ["__version__", "hookimpl", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(importlib.import_module(f"harness.{_MODULES[name]}"), name)
