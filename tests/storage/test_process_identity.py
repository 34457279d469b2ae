"""Whether a process has ended, also if its id was given to another one."""

import os
import subprocess
import sys

import pytest

from harness.storage import process_identity


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_running_process_is_identified_by_its_start_time(child):
    started = process_identity.start_time(child.pid)
    assert started
    assert process_identity.is_running(child.pid, started)
    assert process_identity.is_running(child.pid)
    assert not process_identity.is_running(child.pid, f"{started}1"), "the id was given to another process"


def test_a_killed_process_has_ended_before_its_parent_waits_for_it(child):
    started = process_identity.start_time(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert not process_identity.is_running(child.pid, started)
    child.wait()
    assert not process_identity.is_running(child.pid, started)
    assert not process_identity.is_running(child.pid)


def test_an_impossible_process_id_is_not_running():
    assert not process_identity.is_running(10**30)


def test_without_proc_the_start_time_comes_from_ps(child, monkeypatch):
    started = process_identity.start_time(child.pid)
    monkeypatch.setattr(process_identity, "_stat_fields", lambda process: [])
    if (other := process_identity.start_time(child.pid)) is None:
        pytest.skip("ps is not installed")
    assert other != started
    assert process_identity.is_running(child.pid, other)
    assert not process_identity.is_running(child.pid, "Thu Jan  1 00:00:00 1970")


def test_a_process_whose_start_time_is_unknown_counts_as_running(child, monkeypatch):
    monkeypatch.setattr(process_identity, "start_time", lambda process: None)
    assert process_identity.is_running(child.pid, "whenever")


def test_the_machine_is_one_for_all_processes():
    source = "from harness.storage import process_identity; print(process_identity.machine())"
    output = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    assert output.strip() == process_identity.machine()
