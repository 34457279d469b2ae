"""A GPU that the process cannot use any more is not a failure of the runs."""

from types import SimpleNamespace

import pytest
import torch

from harness.api.errors import UserError
from harness.execution.graph_progress import build

ASSERT = "CUDA error: device-side assert triggered\nSearch for `cudaErrorAssert' in the documentation."


def building(*ends, raising=None):
    """Build one artifact for each of `ends`, its error or None; returns the ended ones, with their errors."""
    artifacts = [SimpleNamespace(key=str(number), title=f"run {number}") for number in range(3)]
    ended = {}

    def of(artifacts):
        yield from zip(artifacts, ends, strict=False)
        if raising is not None:
            raise raising

    try:
        build(SimpleNamespace(build=of), artifacts, lambda artifact, error: ended.update({artifact.key: error}))
    except UserError as error:
        return ended, str(error)
    return ended, None


@pytest.fixture
def gpu(monkeypatch):
    """Sets what a GPU that is in use reports when the process waits for it."""

    def reports(error):
        def synchronize():
            if error is not None:
                raise error

        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)

    return reports


FAILED = "step 3 (only): AcceleratorError: CUDA error: device-side assert triggered"
WAYS = [{"ends": (None, FAILED, FAILED)}, {"ends": (None,), "raising": torch.AcceleratorError(ASSERT)}]


@pytest.mark.parametrize("way", WAYS, ids=["an artifact fails", "the builder raises"])
def test_a_gpu_that_cannot_be_used_stops_the_suite(gpu, way):
    gpu(torch.AcceleratorError(ASSERT))
    ended, error = building(*way["ends"], raising=way.get("raising"))
    assert ended == {"0": None}, "no other artifact has failed, so each is built by the next command"
    assert "cannot use its GPU any more (CUDA error: device-side assert triggered), noticed in run 1" in error
    assert "CUDA_LAUNCH_BLOCKING=1" in error
    assert "\n" not in error


@pytest.mark.parametrize("way", WAYS, ids=["an artifact fails", "the builder raises"])
def test_a_failure_is_one_if_the_gpu_can_be_used(gpu, way):
    gpu(None)
    ended, error = building(*way["ends"], raising=way.get("raising"))
    assert error is None
    assert ended.keys() == {"0", "1", "2"}
    assert ended["0"] is None
    assert all("AcceleratorError" in ended[key] for key in "12")
