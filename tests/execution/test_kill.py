"""A killed process loses only the steps since its last checkpoint."""

import torch

from harness import hookimpl
from tests.support.forked_commands import ForkedCommand, set_options
from tests.support.held_commands import Hold
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


def test_a_killed_suite_resumes_from_its_checkpoints(small):
    hold = Hold(small.folder, "run.role == 'student' and event.step == 25")
    plugin = ("--plugin", hold.plugin.name)
    process = ForkedCommand(["run", "small.yaml", "--quiet", *plugin, *set_options(LONG)], small.folder)
    hold.wait(process)
    process.kill()
    checkpoints = small.folder / "results" / "small" / "checkpoints"
    starts = Starts()
    assert not small.run(*LONG, observers=(starts,)).failed
    assert starts.steps == {"finetune": 20, "logit_kd": 20, "tinybert": 20}
    resumed = weights(small)
    assert not list(checkpoints.iterdir())
    (small.folder / "results").rename(small.folder / "results before")
    small.run(*LONG)
    for name, expected in weights(small).items():
        assert all(torch.equal(resumed[name][key], tensor) for key, tensor in expected.items())
