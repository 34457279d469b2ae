"""What the documentation prints works as printed: links, commands, the suite, the plugin."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.batch import Batch
from harness.host import Host
from harness.method import Step, TaskInfo
from harness.tensors import ModelShape, Tensors

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("**/*.md"))]
OFFLINE = re.compile(r"harness (--help|list|validate)\b")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def commands() -> list[str]:
    lines = (
        line.partition("  #")[0].strip() for page in PAGES for block in blocks(page, "sh") for line in block.split("\n")
    )
    return sorted({line for line in lines if OFFLINE.match(line)})


@pytest.fixture
def folder(tmp_path):
    """A folder with the README's suite and plugin, under the names that it gives them."""
    (suite,) = blocks(README, "yaml")
    (plugin,) = blocks(README, "python")
    (tmp_path / "glue-small.yaml").write_text(suite)
    (tmp_path / "logit_mse.py").write_text(plugin)
    return tmp_path


def harness(command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not dead


def test_commands_that_need_no_network_are_printed():
    assert len(commands()) >= 4


@pytest.mark.parametrize("command", commands())
def test_printed_command_works(command, folder):
    assert harness(command, folder).strip()


def test_printed_suite_is_valid(folder):
    shown = harness("harness validate glue-small.yaml", folder)
    assert "glue-small.yaml: valid" in shown
    assert "finetune, logit_kd, " in shown


def test_printed_run_with_the_plugin_is_valid(folder):
    shown = harness(
        "harness validate glue-small.yaml --plugin logit_mse.py --set 'methods=[finetune, logit_mse]'", folder
    )
    assert "2: finetune, logit_mse" in shown


def test_every_command_is_told():
    text = README.read_text(encoding="utf-8")
    for name in ("run", "plan", "validate", "report", "list", "doctor"):
        assert f"`harness {name}" in text


def test_printed_plugin_computes_what_it_says(folder):
    host = Host.create([folder / "logit_mse.py"])
    method_class = host.methods["logit_mse"]
    shape = ModelShape("small", 2, 32, 4, 64)
    task = TaskInfo("sst2", "classification", 2)
    method = method_class(method_class.Config(alpha=0.25), task=task, student=shape, teachers=[shape], seed=1)
    assert list(method.check(task, shape, [shape])) == []
    assert "QA" in str(method.check(TaskInfo("squad", "qa", 2), shape, [shape])[0])
    (stage,) = method.stages()
    step = Step(stage, 0, 1, 0.0, 1.0, torch.nn.ModuleDict(), torch.Generator())
    batch = Batch("classification", ("0", "1"), {}, torch.tensor([0, 1]))
    even, apart = torch.zeros(2, 2), torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    terms = method.losses(step, batch, Tensors(_logits=even), [Tensors(_logits=apart)])
    assert terms["ce"].item() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    assert terms["mse"].item() == pytest.approx(1.0)
    assert method.weights(step) == {"mse": 0.25, "ce": 0.75}
