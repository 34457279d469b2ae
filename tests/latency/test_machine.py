import gc

import pytest
import torch

from harness.latency import machine


def test_threads_and_collector_are_fixed_inside_and_then_as_before():
    before = torch.get_num_threads()
    assert gc.isenabled()
    seen = []

    def inside():
        with machine.stable_conditions(before + 1):
            seen.append((torch.get_num_threads(), gc.isenabled()))
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        inside()
    assert seen == [(before + 1, False)]
    assert (torch.get_num_threads(), gc.isenabled()) == (before, True)
    with machine.stable_conditions(None):
        assert torch.get_num_threads() == before


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        with machine.stable_conditions(None):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_clock_of_the_processor(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\ncpu MHz\t\t: 2000.000\nprocessor\t: 1\ncpu MHz\t\t: 3000.500\nflags : cpu MHz\n")
    assert machine._processor(info) == {"processor": 2500.2}
    info.write_text("processor : 0\nBogoMIPS : 50.00\n")
    assert machine._processor(info) == {}
    assert machine._processor(tmp_path / "nothing") == {}


def test_the_threads_asked_for(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    counts = [machine.thread_counts(asked, torch.device("cpu")) for asked in (None, 2, "all", [4, 1], ["all", 6, 2])]
    assert counts == [[1, 6], [2], [6], [4, 1], [6, 2]]
    assert machine.thread_counts(None, torch.device("cuda")) == [6]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert machine.thread_counts(None, torch.device("cpu")) == [1]


def test_the_state_of_a_processor():
    found = machine.state(torch.device("cpu"))
    assert found.clocks.keys() <= {"processor"}
    assert (found.temperatures, found.foreign) == ({}, ())
