"""The modules of `harness.api` import no other part of the harness, and nothing heavy."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.plugin_host.hook_checks import HOOKS, hooks
from harness.testing import load_plugin
from tests.support import typed_plugin

WITHOUT_TORCH = {
    "harness.api.batch",
    "harness.api.chunked_attention",
    "harness.api.engine",
    "harness.api.errors",
    "harness.api.events",
    "harness.api.latency_backend",
    "harness.api.layer_mapping",
    "harness.api.lazy_torch",
    "harness.api.live",
    "harness.api.losses",
    "harness.api.method",
    "harness.api.metric",
    "harness.api.model_outputs",
    "harness.api.names",
    "harness.api.preparation",
    "harness.api.report",
    "harness.api.search_space",
    "harness.api.seeded_choice",
    "harness.api.seeds",
    "harness.api.stage_settings",
    "harness.api.stages",
    "harness.api.step",
    "harness.api.task",
    "harness.api.tracker",
    "harness.api.wording",
}
WITH_TORCH = {"harness.api.chunked_gradients"}
PACKAGES = {"harness", "harness.api"}
HEAVY = {"transformers", "datasets", "matplotlib", "pandas"}


def imported_by(modules: set[str]) -> set[str]:
    """The modules in a new process after importing `modules`."""
    code = f"import {', '.join(sorted(modules))}, json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize(
    ("modules", "heavy"), [(WITHOUT_TORCH, HEAVY | {"torch"}), (WITHOUT_TORCH | WITH_TORCH, HEAVY)]
)
def test_the_modules_of_the_interface_import_no_other_part_of_the_harness(modules, heavy):
    imported = imported_by(modules)
    assert modules <= imported
    assert {name for name in imported if name.split(".")[0] == "harness"} <= modules | PACKAGES
    assert imported & heavy == set()


def test_a_plugin_can_implement_every_hook_with_types_of_the_interface_alone():
    """`make lint` checks the types of this plugin."""
    assert dict(hooks(typed_plugin)).keys() == HOOKS.keys()
    source = Path(typed_plugin.__file__).read_text(encoding="utf-8")
    imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    of_the_harness = {module for module in imported if module.split(".")[0] == "harness"}
    assert of_the_harness - {"harness"} <= WITHOUT_TORCH
    (info,) = load_plugin(typed_plugin.__file__).plugins
    registered = [info.methods, info.tasks, info.metrics, info.latency_backends, info.trackers]
    assert registered == [["typed"]] * 5
    assert (info.engines, info.reporters, info.sections) == (["until-deadline"], ["names"], True)


def test_the_documentation_names_the_types_of_every_hook():
    page = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")
    table = page.partition("### What a plugin imports")[2].partition("\n### ")[0]
    assert [hook for hook in HOOKS if f"`{hook}`" not in table] == []
