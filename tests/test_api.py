"""The modules that plugins import depend on no other module of the harness."""

import json
import subprocess
import sys

import pytest

WITHOUT_TORCH = {
    "harness.errors",
    "harness.events",
    "harness.names",
    "harness.report",
    "harness.search",
    "harness.seeds",
    "harness.tasks.base",
}
WITH_TORCH = {
    "harness.batch",
    "harness.chunks",
    "harness.latency.backends",
    "harness.losses",
    "harness.mapping",
    "harness.method",
    "harness.tensors",
}
PACKAGES = {"harness", "harness.latency", "harness.tasks"}
HEAVY = {"transformers", "datasets", "matplotlib", "pandas"}


def imported_by(modules: set[str]) -> set[str]:
    """The modules that a new process has after importing these."""
    code = f"import {', '.join(sorted(modules))}, json, sys; print(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


@pytest.mark.parametrize(
    ("modules", "heavy"), [(WITHOUT_TORCH, HEAVY | {"torch"}), (WITHOUT_TORCH | WITH_TORCH, HEAVY)]
)
def test_the_modules_of_the_interface_import_no_other_part_of_the_harness(modules, heavy):
    found = imported_by(modules)
    assert modules <= found
    assert {name for name in found if name.split(".")[0] == "harness"} <= modules | PACKAGES
    assert found & heavy == set()
