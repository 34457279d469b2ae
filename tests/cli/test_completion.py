"""Completion in a shell: what is offered for which argument, without loading plugins."""

import subprocess
import sys

import pytest
import typer
import typer.main

from harness.cli import completion
from harness.cli.app import app
from harness.config.shipped_suites import shipped_suites
from harness.plugin_host.host import Host


def offered(line: str) -> list[str]:
    """What is completed at the end of a command line whose last word is an incomplete value."""
    command = typer.main.get_command(app).commands[line.split()[1]]
    *words, incomplete = line.split(" ")[2:]
    context = typer.Context(command, info_name="harness", resilient_parsing=True)
    options = {name: p for p in command.params for name in p.opts if name.startswith("-")}
    arguments = [p for p in command.params if not p.opts[0].startswith("-")]
    parameter = options[words[-1]] if words and words[-1] in options else arguments[len(words)]
    return [item.value for item in parameter.shell_complete(context, incomplete)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("harness run mlk", ["mlkd-ablation"]),
        ("harness plan paper-tiny", ["paper-tinybert", "paper-tinybert-large"]),
        ("harness latency squ", ["squad"]),
        ("harness list methods mlk", ["mlkd_bert"]),
        ("harness check tinyb", ["tinybert"]),
        ("harness export --task sst", ["sst2"]),
        ("harness distill --method log", ["logit_kd"]),
        ("harness submit --label pk", ["pkd"]),
        ("harness run --only ta", ["task="]),
        ("harness run --only task=sst", ["task=sst2"]),
        ("harness run --only method=pk", ["method=pkd"]),
        ("harness run --only seed=", []),
        ("harness run --engine r", ["ray"]),
        ("harness run --track ten", ["tensorboard"]),
        ("harness report --format t", ["tex"]),
        ("harness predict --device cu", ["cuda"]),
    ],
)
def test_offered(line, expected):
    assert offered(line) == expected


def test_suite_files_and_folders_are_offered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    for name in ("own.yaml", "own.csv", "own/first.yml", "own/.hidden.yaml"):
        (tmp_path / name).touch()
    assert completion.suites("ow") == ["own/", "own.yaml"]
    assert completion.suites("own/") == ["own/first.yml"]
    assert completion.suites(f"{tmp_path}/own.") == [f"{tmp_path}/own.yaml"]
    assert completion.suites("missing/") == []
    assert {*completion.suites("")} >= {*shipped_suites()}


def test_names_are_those_of_the_installed_plugins():
    host = Host.create()
    assert {*completion.methods("")} == {*host.methods}
    assert {*completion.tasks("")} == {*host.tasks}


def test_built_in_values_exist():
    host = Host.create()
    assert {*completion.ENGINES} == {*host.engines}
    assert {*completion.TRACKERS} == {*host.trackers}
    assert {*completion.formats("")} == {*host.reporters}


def test_completion_imports_no_heavy_package():
    check = (
        "import sys; from harness.cli import app, completion; completion.suites(''), completion.selections('task=');"
        "completion.formats('');"
        "assert not {'torch', 'transformers', 'pydantic', 'yaml', 'pandas', 'numpy', 'pyarrow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
