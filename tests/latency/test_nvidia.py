"""Parsing of nvidia-smi, with a fake executable."""

import os
import subprocess
import sys

import pytest

from harness.latency import nvidia

REPORT = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <gpu id="00000000:01:00.0">
    <temperature><gpu_temp>41 C</gpu_temp><memory_temp>{memory}</memory_temp></temperature>
    <clocks><sm_clock>1980 MHz</sm_clock><mem_clock>3201 MHz</mem_clock></clocks>
    <processes>{processes}</processes>
  </gpu>
</nvidia_smi_log>
"""


def process(pid, name):
    return f"<process_info><pid>{pid}</pid><process_name>{name}</process_name></process_info>"


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """``smi(text)``: install a fake nvidia-smi that prints `text` and logs its arguments."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def install(text, code=0):
        (tmp_path / "output.xml").write_text(text)
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\ncat {tmp_path}/output.xml\nexit {code}\n')
        tool.chmod(0o755)

    install.called = tmp_path / "called"
    return install


def test_clocks_and_temperatures_come_from_one_call(smi):
    smi(REPORT.format(memory="52 C", processes=""))
    gpu = nvidia.query("GPU-123")
    assert gpu.clocks == {"accelerator": 1980.0, "accelerator memory": 3201.0}
    assert gpu.temperatures == {"accelerator": 41.0, "accelerator memory": 52.0}
    assert gpu.foreign == ()
    assert smi.called.read_text().splitlines() == ["-q -x --id=GPU-123"]


def test_foreign_processes_exclude_this_process_and_its_children(smi):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    other = os.getppid()  # exists, and is not a child of this process
    try:
        ours = process(os.getpid(), "/usr/bin/python3") + process(child.pid, "/usr/bin/python3")
        smi(REPORT.format(memory="N/A", processes=ours + process(other, "/opt/game/render")))
        gpu = nvidia.query("0")
        smi(REPORT.format(memory="N/A", processes=ours))
        assert nvidia.query("0").foreign == ()
    finally:
        child.kill()
        child.wait()
    assert gpu.foreign == (f"render ({other})",)
    assert gpu.temperatures == {"accelerator": 41.0}, "N/A is left out"


def test_unknown_process_ids_include_this_process(smi):
    """In a container: neither 4200001 nor 4200002 exists here, and one of them must be this process."""
    both = process(4200001, "/usr/lib/xorg/Xorg") + process(4200002, "/env/bin/python3.11")
    smi(REPORT.format(memory="N/A", processes=both))
    assert nvidia.query("0").foreign == ("Xorg (4200001)",)


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 0), ("no devices were found", 0), ("<a/>", 0), (REPORT, 9), ("<nvidia_smi_log><gpu/></nvidia_smi_log>", 0)],
    ids=["empty", "not xml", "no gpu", "exit code", "empty gpu"],
)
def test_unreadable_output_gives_an_empty_state(smi, text, code):
    smi(text, code)
    assert nvidia.query("0") == nvidia.Gpu()


def test_without_nvidia_smi_the_state_is_empty(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.query("0") == nvidia.Gpu()


def test_the_cards_of_the_machine(monkeypatch):
    listed = "NVIDIA H100 80GB HBM3, 570.86.15\nNVIDIA A100-SXM4-40GB, 570.86.15\n"
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: subprocess.CompletedProcess(args, 0, listed))
    assert nvidia.cards() == [
        nvidia.Card("NVIDIA H100 80GB HBM3", "570.86.15"),
        nvidia.Card("NVIDIA A100-SXM4-40GB", "570.86.15"),
    ]

    def missing(*args, **options):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", missing)
    assert nvidia.cards() is None
