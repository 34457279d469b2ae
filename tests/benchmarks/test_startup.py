"""Commands that train nothing start without torch, or take a small multiple of its import."""

import subprocess
import sys

import pytest

from benchmarks import startup
from benchmarks.measuring import interleaved
from harness.api.errors import UserError

WITHOUT_TORCH = """
import sys
from typer.main import get_command
from harness.cli.app import app
get_command(app)({arguments!r}, standalone_mode=False)
heavy = {{"torch", "transformers", "datasets", "pandas", "pyarrow", "numpy", "scipy", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""

GENEROUS = 1.6
"""How much more than the expected multiple a busy machine may take."""


@pytest.fixture
def warm(tmp_path, monkeypatch):
    """A cache with what a first plan of quick.yaml has computed. Commands are compiled, as after an installation."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run("-m", "harness", "plan", "quick")
    return tmp_path


def test_the_plan_of_glue_needs_folders(options, glue, tmp_path):
    def measure(**chosen):
        startup.measure(options(**chosen), lambda line: pytest.fail("measured"))

    for data in ("nyu-mll/glue", str(tmp_path / "missing")):
        with pytest.raises(UserError, match=f"--data {data}: no folder with data of GLUE"):
            measure(data=data, model=str(tmp_path))
    with pytest.raises(UserError, match="--model google-bert/bert-base-uncased: no such folder"):
        measure(data=glue, model="google-bert/bert-base-uncased")


def run(*arguments):
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def test_commands_start_fast(warm, options):
    for arguments in (["list", "methods"], ["list", "tasks"], ["list", "plugins"], ["validate", "quick"]):
        run("-c", WITHOUT_TORCH.format(arguments=arguments))
    titles = ("list methods", "validate quick", "plan quick")
    commands = {startup.TORCH: ["-c", "import torch"]}
    commands |= {title: ["-m", "harness", *startup.COMMANDS[title][0]] for title in titles}
    contestants = {title: lambda c=command: lambda: run(*c) for title, command in commands.items()}
    times = interleaved(contestants, options(repetitions=1), warm_up=False, clock=startup.cpu_of_children)
    for title in titles:
        multiple = times[title][0] / times[startup.TORCH][0]
        assert multiple < GENEROUS * startup.COMMANDS[title][1][1], title
