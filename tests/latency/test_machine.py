import gc

import pytest
import torch

from harness.latency import machine


def test_threads_and_garbage_collection_are_fixed_inside_and_restored():
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


def test_disabled_garbage_collection_stays_disabled():
    gc.disable()
    try:
        with machine.stable_conditions(None):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_processor_clock_is_the_mean_over_cores(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\ncpu MHz\t\t: 2000.000\nprocessor\t: 1\ncpu MHz\t\t: 3000.500\nflags : cpu MHz\n")
    assert machine._processor(info) == {"processor": 2500.2}
    info.write_text("processor : 0\nBogoMIPS : 50.00\n")
    assert machine._processor(info) == {}
    assert machine._processor(tmp_path / "nothing") == {}


def test_thread_counts(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    counts = [
        machine.thread_counts(threads, torch.device("cpu")) for threads in (None, 2, "all", [4, 1], ["all", 6, 2])
    ]
    assert counts == [[1, 6], [2], [6], [4, 1], [6, 2]]
    assert machine.thread_counts(None, torch.device("cuda")) == [6]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert machine.thread_counts(None, torch.device("cpu")) == [1]


def test_the_state_of_a_processor():
    state = machine.state(torch.device("cpu"))
    assert state.clocks.keys() <= {"processor"}
    assert (state.temperatures, state.foreign) == ({}, ())
