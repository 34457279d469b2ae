"""A GPU that the process cannot use any more is not a failure of the runs."""

from types import SimpleNamespace

import pytest
import torch

from harness.api.errors import UserError
from harness.execution import student_cohorts, student_runs
from harness.execution.device_faults import DeviceError
from harness.execution.graph_progress import build
from harness.training import run as training_run
from harness.training.run import Run

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


def test_memory_that_cannot_be_released_stops_the_suite_and_names_the_job(gpu, monkeypatch):
    def empty_cache():
        raise torch.AcceleratorError(ASSERT)

    gpu(None)
    monkeypatch.setattr(torch.cuda, "empty_cache", empty_cache)
    ended, error = building(None, None, None)
    assert ended == {"0": None, "1": None, "2": None}, "what was built is kept"
    assert "cannot use its GPU any more (CUDA error: device-side assert triggered), noticed after run 0. Check" in error
    assert "\n" not in error


class BreakingGpu:
    """A GPU that cannot be used from the first call of a function on, at which that function and later ones raise."""

    def __init__(self, monkeypatch):
        self.broken, self._patch = False, monkeypatch
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: self.broken)
        monkeypatch.setattr(torch.cuda, "synchronize", self.use)

    def use(self):
        if self.broken:
            raise torch.AcceleratorError(ASSERT)

    def breaks_in(self, owner, name, at):
        """Let a function break the GPU at the first call for whose arguments `at` is true."""
        real = getattr(owner, name)

        def function(*args, **options):
            self.broken = self.broken or at(*args)
            self.use()
            return real(*args, **options)

        self._patch.setattr(owner, name, function)


PLACES = {
    "building": (student_cohorts, "prepare", lambda job, *rest: job.planned.label == "logit_kd"),
    "modules": (training_run, "modules_of", lambda method: method.name == "logit_kd"),
    "training": (Run, "_optimize", lambda run, *rest: run.id.label == "logit_kd" and run.position == 2),
    "scoring": (student_runs.FinishedStudent, "scored", lambda student, *rest: student.job.planned.label == "logit_kd"),
    "storing": (student_runs, "_store", lambda student, *rest: student.job.planned.label == "logit_kd"),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_run_that_breaks_the_gpu_is_named_and_no_run_has_failed(small, place):
    with pytest.MonkeyPatch.context() as patch:
        BreakingGpu(patch).breaks_in(*PLACES[place])
        named = (
            "noticed in order logit_kd 1x32 seed 1: .*AcceleratorError: CUDA error: device-side assert triggered. Check"
        )
        with pytest.raises(DeviceError, match=named):
            small.run("seeds=[1]")
    assert [record.label for record in small.store().records() if record.status == "failed"] == []
    outcome = small.run("seeds=[1]")
    assert outcome.failed == []
    assert len(small.store().records()) == 3


@pytest.mark.parametrize("place", ["building", "training", "scoring"])
def test_a_trial_on_a_gpu_that_cannot_be_used_is_tried_again(small, place):
    settings = ("seeds=[1]", "methods=[logit_kd]", "tuning={trials: 2}")
    with pytest.MonkeyPatch.context() as patch:
        BreakingGpu(patch).breaks_in(*PLACES[place])
        with pytest.raises(DeviceError, match="noticed in order logit_kd 1x32 trial 0: "):
            small.run(*settings)
    assert small.run(*settings).failed == []
    (tuning,) = (small.store().tuning(path.stem) for path in (small.store().folder / "tuning").glob("*.json"))
    assert [trial.error for trial in tuning.trials] == [None, None]
