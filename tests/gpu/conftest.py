"""Tests of the GPU. Those with a parameter `device` run on the CPU, too.

    python -m pytest tests/gpu -m gpu

runs those that need the GPU, in about four minutes.
"""

import os
from contextlib import contextmanager

import pytest

# Deterministic products of matrices need this before the first one. It changes nothing else.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

ON_GPU = pytest.param("cuda", marks=pytest.mark.gpu)


def pytest_generate_tests(metafunc):
    """A test with a parameter `device` and no marker `gpu` runs on both devices."""
    if "device" in metafunc.fixturenames:
        on_gpu_only = any(marker.name == "gpu" for marker in metafunc.definition.iter_markers())
        metafunc.parametrize("device", ["cuda"] if on_gpu_only else ["cpu", ON_GPU])


@pytest.fixture
def deterministic():
    """``with deterministic():`` operators without a deterministic implementation raise an error that names them."""
    import torch

    @contextmanager
    def active():
        before = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)

    return active
