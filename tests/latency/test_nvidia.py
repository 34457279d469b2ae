"""What is read from nvidia-smi: from a made-up one, as there may be no GPU here."""

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
    """``smi(text)``: an nvidia-smi that prints it, and notes what it was called with."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def made(text, code=0):
        (tmp_path / "said.xml").write_text(text)
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\ncat {tmp_path}/said.xml\nexit {code}\n')
        tool.chmod(0o755)

    made.called = tmp_path / "called"
    return made


def test_clocks_and_temperatures_by_one_call(smi):
    smi(REPORT.format(memory="52 C", processes=""))
    found = nvidia.query("GPU-123")
    assert found.clocks == {"accelerator": 1980.0, "accelerator memory": 3201.0}
    assert found.temperatures == {"accelerator": 41.0, "accelerator memory": 52.0}
    assert found.foreign == ()
    assert smi.called.read_text().splitlines() == ["-q -x --id=GPU-123"]


def test_processes_of_others_are_foreign_and_ours_are_not(smi):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    other = os.getppid()  # there is such a process, and it is not ours
    try:
        ours = process(os.getpid(), "/usr/bin/python3") + process(child.pid, "/usr/bin/python3")
        smi(REPORT.format(memory="N/A", processes=ours + process(other, "/opt/game/render")))
        found = nvidia.query("0")
        smi(REPORT.format(memory="N/A", processes=ours))
        assert nvidia.query("0").foreign == ()
    finally:
        child.kill()
        child.wait()
    assert found.foreign == (f"render ({other})",)
    assert found.temperatures == {"accelerator": 41.0}, "what it does not tell is left out"


def test_numbers_of_another_system_leave_one_process_for_us(smi):
    """In a container: 4200001 and 4200002 are no processes here, and one of the two must be this one."""
    both = process(4200001, "/usr/lib/xorg/Xorg") + process(4200002, "/env/bin/python3.11")
    smi(REPORT.format(memory="N/A", processes=both))
    assert nvidia.query("0").foreign == ("Xorg (4200001)",)


@pytest.mark.parametrize(
    ("text", "code"),
    [("", 0), ("no devices were found", 0), ("<a/>", 0), (REPORT, 9), ("<nvidia_smi_log><gpu/></nvidia_smi_log>", 0)],
    ids=["nothing", "no xml", "no gpu", "it fails", "an empty gpu"],
)
def test_what_cannot_be_read_says_nothing(smi, text, code):
    smi(text, code)
    assert nvidia.query("0") == nvidia.Gpu()


def test_without_the_tool_nothing_is_known(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nvidia.query("0") == nvidia.Gpu()
