"""Peak memory, measured in forked processes."""

import mmap
import multiprocessing
import os
import signal
import sys
import threading
from types import ModuleType

import pytest
import torch
from transformers import BertConfig, BertModel

from harness.latency import peak_memory
from tests.support.patience import PATIENCE

CPU = torch.device("cpu")
forked = pytest.mark.skipif(
    sys.platform != "linux" or "forkserver" not in multiprocessing.get_all_start_methods(),
    reason="needs /proc and forkserver",
)


def wide(layers: int) -> BertModel:
    config = BertConfig(
        vocab_size=50, num_hidden_layers=layers, hidden_size=512, num_attention_heads=2, intermediate_size=2048
    )
    return BertModel(config).eval()


class Hidden(BertModel):
    """A model whose class cannot be imported in another process."""


Hidden.__module__ = "nowhere"


@forked
def test_peak_memory_is_that_of_weights_and_activations():
    """12.6 MB per layer; activations of 4 x 64 tokens of width 2048 are 2 MB."""
    few, many, hidden = peak_memory.peaks([wide(1), wide(5), Hidden(wide(1).config)], (4, 64), CPU, 1)
    weights = [sum(p.numel() * 4 for p in wide(layers).parameters()) for layers in (1, 5)]
    assert weights[0] < few < weights[0] + 40e6
    assert weights[1] < many < weights[1] + 40e6
    assert many - few == pytest.approx(weights[1] - weights[0], rel=0.2)
    assert hidden is None


class Killed(BertModel):
    """Its process is killed, as for lack of memory."""

    def __init__(self, config):
        os.kill(os.getpid(), signal.SIGKILL)


class Faulty(BertModel):
    def __init__(self, config):
        raise SystemExit("no such kernel")


def instance(kind):
    """What `peaks` reads of a model: its class and configuration."""
    return kind.__new__(kind)


@forked
def test_a_measurement_that_fails_is_reported_and_leaves_the_others(caplog, monkeypatch):
    config = wide(1).config
    monkeypatch.setattr(Killed, "config", config, raising=False)
    monkeypatch.setattr(Faulty, "config", config, raising=False)
    killed, faulty, small = peak_memory.peaks([instance(Killed), instance(Faulty), wide(1)], (1, 8), CPU, 1)
    assert (killed, faulty) == (None, None)
    assert small > 0
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith("the peak memory of Killed is not measured: ")
    assert "terminated abruptly" in first
    assert second.startswith("the peak memory of Faulty is not measured: ")
    assert "no such kernel" in second


@forked
def test_a_class_that_the_other_process_cannot_import_is_not_measured(caplog, monkeypatch):
    """Such as one of a plugin's file, or of remote code."""
    module = ModuleType("only_here")
    module.OnlyHere = type("OnlyHere", (BertModel,), {"__module__": "only_here"})
    monkeypatch.setitem(sys.modules, "only_here", module)
    hidden, small = peak_memory.peaks([module.OnlyHere(wide(1).config), wide(1)], (1, 8), CPU, 1)
    assert hidden is None
    assert small > 0
    assert not caplog.records


def test_the_monitor_records_the_peak():
    levels, polled = [5, 9, 7], threading.Event()

    def read():
        if levels:
            return levels.pop(0)
        polled.set()
        return 3

    with peak_memory.PeakMonitor(read) as monitor:
        assert polled.wait(PATIENCE), "the thread does not poll"
    assert monitor.peak == 9


@forked
def test_process_memory_grows_with_written_memory():
    size = 20_000_000  # mapped, because the heap may contain free memory
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE) as block:
        before = peak_memory.process_memory()
        for start in range(0, size, mmap.PAGESIZE):  # not all at once: freeing a large object could shrink the heap
            block[start] = 1
        assert peak_memory.process_memory() - before > 0.9 * size
