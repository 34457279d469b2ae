"""Checkpoints of runs that are damaged or of another version: reported, and the run starts from its first step."""

import random

import pytest
import torch

from harness.execution import run_checkpoints
from harness.storage import checksums
from tests.support.training_world import assert_same, bits, train


@pytest.fixture
def interrupted(world, tmp_path):
    """A checkpoint of a run in its fourth step, and the fixture that built the run."""
    here, saved = world(epochs=1), tmp_path / "run.pt"
    run = here.run("finetune")
    stop = lambda: run.position >= 3  # noqa: E731
    train(here.cohort(run), stop=stop, checkpoint=lambda run: run_checkpoints.save(run, saved))
    return here, saved


def test_an_intact_checkpoint_is_used(interrupted, caplog):
    here, saved = interrupted
    again = here.run("finetune")
    assert run_checkpoints.restore(again, saved)
    assert again.position == 3
    assert caplog.records == []


@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit(interrupted, caplog, seed):
    here, saved = interrupted
    content, draw = bytearray(saved.read_bytes()), random.Random(seed)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    saved.write_bytes(content)
    refused(here, saved, caplog, "does not match its checksum")


@pytest.mark.parametrize("size", [0, 10, 1000, -1, -30])
def test_a_truncated_checkpoint(interrupted, caplog, size):
    here, saved = interrupted
    saved.write_bytes(saved.read_bytes()[:size])
    refused(here, saved, caplog, "does not match its checksum")


@pytest.mark.parametrize("change", ["version", "shape", "module", "no version"])
def test_another_version_or_shape(interrupted, caplog, change):
    here, saved = interrupted
    state = torch.load(saved, weights_only=True)
    if change == "version":  # of a format with other keys
        state = {"version": state["version"] - 1, "student": state["trained"]["student"]}
    elif change == "no version":
        state = {"student": state["trained"]["student"]}
    elif change == "module":
        state["trained"]["modules"]["projection.weight"] = torch.zeros(2)
    else:
        name, weight = next(iter(state["trained"]["student"].items()))
        state["trained"]["student"][name] = weight[:1].clone()
    torch.save(state, saved)
    checksums.append(saved)
    refused(here, saved, caplog, "is of another version")


def refused(here, saved, caplog, reason):
    run, fresh = here.run("finetune"), here.run("finetune")
    assert not run_checkpoints.restore(run, saved)
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert str(run.id) in record.getMessage()
    assert run.position == 0
    train(here.cohort(run))
    train(here.cohort(fresh))
    assert_same(run, bits(fresh))
