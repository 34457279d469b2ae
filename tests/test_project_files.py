"""Project files: changelog fragments, citation, templates and workflows."""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, settings

from harness import __version__
from tests.support.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")
YAML = [*ROOT.glob(".github/**/*.yml"), ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff"]


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["project"]["version"] == __version__
    assert citation["license"] == PROJECT["project"]["license"]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_yaml_files_parse(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


def test_ci_runs_the_local_script():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert {"run": "bash .ci/run"} in workflow["jobs"]["ci"]["steps"]
    assert (ROOT / ".ci/run").is_file()


def test_tests_in_parallel_keep_their_groups():
    """Without loadgroup, each worker starts a Ray cluster of its own, for example."""
    workflows = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in ROOT.glob(".github/workflows/*.yml")]
    jobs = [job for workflow in workflows for job in workflow["jobs"].values()]
    commands = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    parallel = [line for line in [*commands, *(ROOT / "Makefile").read_text().splitlines()] if "pytest -q -n" in line]
    assert len(parallel) == 3
    assert [line for line in parallel if "--dist loadgroup" not in line] == []
    assert [line for line in commands if "pip install" in line] == [], "the Makefile installs torch for the CPU"


def test_every_changelog_fragment_is_rendered():
    completed = subprocess.run(
        [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert completed.returncode == 0, completed.stderr
    types = {fragment_type["directory"] for fragment_type in PROJECT["tool"]["towncrier"]["type"]}
    for path in FRAGMENTS:
        named = re.fullmatch(r"(\d+|\+[a-z0-9-]+)\.(\w+)\.md", path.name)
        assert named, f"{path.name}: the name is ISSUE.TYPE.md or +SLUG.TYPE.md, see changelog.d/README.md"
        assert named[2] in types, f"{path.name}: its type is one of {', '.join(sorted(types))}"
        assert path.read_text(encoding="utf-8").split("\n")[0] in completed.stdout


def test_no_tool_skips_the_folder_of_a_method():
    """pytest and ruff skip any folder named `dist` by default, and many .gitignore files do."""
    folders = [path.parent.name for group in ("plugins", "baselines") for path in (ROOT / group).glob("*/__init__.py")]
    assert "dist" in folders
    skipped = [*PROJECT["tool"]["pytest"]["ini_options"]["norecursedirs"], *PROJECT["tool"]["ruff"]["exclude"]]
    skipped += [line.rstrip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    assert [name for name in folders if any(fnmatch(name, pattern) for pattern in skipped)] == []


def test_the_quickstart_installs_no_tools_of_the_tests():
    def steps(target):
        return subprocess.run(["make", "-nB", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "[dev]" not in steps("quickstart")
    assert "-e ." in steps("quickstart")
    assert "[dev]" in steps("test")


def test_hypothesis_has_no_time_limits():
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check
