"""A killed process loses only the steps since its last checkpoint."""

import time

import torch

from harness import hookimpl
from tests.support.forked_commands import ForkedCommand, set_options
from tests.support.student_weights import student_weights

LONG = ("seeds=[1]", "training.epochs=12", "training.checkpoint_every=10")


class Starts:
    """Records the first step of each student."""

    def __init__(self):
        self.steps = {}

    @hookimpl
    def harness_run_started(self, event):
        if event.run.role == "student":
            self.steps[event.run.label] = event.step


def weights(small):
    store = small.store()
    return {record.label: student_weights(store, record.key) for record in store.records()}


def begun(checkpoint):
    """Whether the checkpoint is of a run after its first step; one is saved before it as well."""
    progress = torch.load(checkpoint, weights_only=True)["progress"]
    return (progress["number"], progress["step"]) > (0, 0)


def test_a_killed_suite_resumes_from_its_checkpoints(small):
    process = ForkedCommand(["run", "small.yaml", "--quiet", *set_options(LONG)], small.folder)
    checkpoints = small.folder / "results" / "small" / "checkpoints"
    limit = time.monotonic() + 120
    while sum(begun(path) for path in checkpoints.glob("*.pt")) < 3:
        assert process.poll() is None, process.errors
        assert time.monotonic() < limit
        time.sleep(0.02)
    process.kill()
    starts = Starts()
    assert not small.run(*LONG, observers=(starts,)).failed
    assert set(starts.steps) == {"finetune", "logit_kd", "tinybert"}
    assert all(step >= 10 and step % 10 == 0 for step in starts.steps.values())
    resumed = weights(small)
    assert not list(checkpoints.iterdir())
    (small.folder / "results").rename(small.folder / "results before")
    small.run(*LONG)
    for name, expected in weights(small).items():
        assert all(torch.equal(resumed[name][key], tensor) for key, tensor in expected.items())
