"""Available devices, and the error for one that is not available."""

import platform

import pytest
import torch

from harness.api.errors import UserError
from harness.planning.devices import best_device, refuse_absent, select, there


def machine(monkeypatch, *, cuda=0, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("hardware", "names"),
    [
        ({}, ["cpu"]),
        ({"mps": True}, ["cpu", "mps"]),
        ({"cuda": 2}, ["cpu", "cuda:0", "cuda:1", "cuda"]),
    ],
)
def test_available_devices_and_the_default(monkeypatch, hardware, names):
    machine(monkeypatch, **hardware)
    assert there() == names
    assert best_device() == names[-1]
    for name in (None, *names):
        refuse_absent(name)


def test_an_unavailable_device_raises_an_error(monkeypatch):
    machine(monkeypatch, cuda=2)
    with pytest.raises(UserError, match="device: there is no cuda:2 here; there is cpu, cuda:0, cuda:1, cuda"):
        refuse_absent("cuda:2")


def test_a_gpu_with_a_number_becomes_the_current_device(monkeypatch):
    """Without one it is the current device; torch refuses to select it."""
    selected = []
    monkeypatch.setattr(torch._C, "_cuda_setDevice", selected.append, raising=False)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    for name in ("cpu", "cuda", "cuda:1", "cuda:0"):
        select(torch.device(name))
    assert selected == [1, 0]


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_cannot_be_used_is_an_error_of_one_line(monkeypatch, name):
    """As one that another process has for itself alone."""

    def synchronize():
        raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCompile with ...")

    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(platform, "node", lambda: "node2")
    with pytest.raises(UserError) as error:
        select(torch.device(name))
    assert str(error.value) == (
        "node2: the GPU cannot be used (CUDA error: CUDA-capable device(s) is/are busy or unavailable). Check it with"
        " nvidia-smi, then run the same command again: it continues, and finished results are kept"
    )
