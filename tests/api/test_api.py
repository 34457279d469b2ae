"""The modules of `harness.api` import no other part of the harness, and nothing heavy."""

import json
import subprocess
import sys

import pytest

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
