"""Joint fine-tuning of teachers, in the training loop of students."""

import pytest
import torch

from harness.api.events import RunId
from harness.api.losses import task_loss
from harness.api.method import Cofinetuning
from harness.execution import run_checkpoints
from harness.models import joint_teachers
from harness.models.families import shape
from harness.planning.job_inputs import task_info
from harness.training import run_state
from harness.training.cohort import Cohort
from harness.training.finetuning import JointFineTuning
from harness.training.run import Run

CPU = torch.device("cpu")
KINDS = ["classification", "regression", "qa"]


def losses(batches, teachers):
    read = zip(batches, teachers, strict=True)
    return {f"task_{i}": task_loss(teacher.logits, batch) for i, (batch, teacher) in enumerate(read)}


def members_and_run(world):
    models = [world.model(layers=2, hidden=32, seed=1), world.model(layers=1, hidden=16, seed=2)]
    members = joint_teachers.build(models, world.data.task, seed=3)
    method = JointFineTuning(
        Cofinetuning(losses),
        members,
        task=task_info(world.data.task),
        student=shape(members[0].config, "first"),
        seed=1,
    )
    run = Run(
        RunId("together", "small", "first", "", 1, role="teacher"),
        method,
        members[0],
        teachers=(),
        training=world.training,
        overrides={},
        batches_per_epoch=world.stream().batches_per_epoch,
        device=CPU,
    )
    return members, run


def train(world, run, **how):
    how = {"stop": lambda: False, "checkpoint": lambda run: None, **how}
    list(Cohort(world.stream(), {}, [run], CPU).train(**how))
    assert run.error is None


def state(members):
    return {
        f"{i}.{name}": tensor.clone()
        for i, member in enumerate(members)
        for name, tensor in member.state_dict().items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_all_members_are_trained(world, kind):
    here = world(kind, epochs=20, lr=3e-3)
    members, run = members_and_run(here)
    before = state(members)
    train(here, run)
    assert set(run.history[0].terms) == {"loss", "task_0", "task_1"}
    for term in ("loss", "task_0", "task_1"):
        assert run.history[-1].terms[term] < 0.9 * run.history[0].terms[term]
    after = state(members)
    used = [name for name in before if "token_type" not in name and "position" not in name]
    assert {name for name in used if torch.equal(before[name], after[name])} == set()
    assert torch.equal(after["0.head.output.weight"], after["1.head.output.weight"])


def test_the_shared_head_is_updated_once(world):
    """The head that two models share occurs once in the optimizer and once in a checkpoint."""
    _, run = members_and_run(world())
    parameters = [p for group in run.trained.optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in parameters}) == len(parameters)
    kept = [
        name
        for part in ("student", "modules")
        for name in run_state.state_dict(run)["trained"][part]
        if "output.weight" in name
    ]
    assert [name for name in kept if name.startswith("head")] == ["head.output.weight"]


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_and_resumed_equals_uninterrupted(world, tmp_path, kind):
    here = world(kind)
    members, run = members_and_run(here)
    train(here, run)
    expected, saved = state(members), tmp_path / "run.pt"
    _, first = members_and_run(here)
    train(here, first, stop=lambda: first.position >= 5, checkpoint=lambda each: run_checkpoints.save(each, saved))
    members, again = members_and_run(here)
    assert run_checkpoints.restore(again, saved)
    assert again.position == 5
    train(here, again)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in state(members).items())
