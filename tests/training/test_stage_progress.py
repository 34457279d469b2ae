"""The position of a run in its stages."""

import pytest

from harness import Needs, Stage
from harness.config.training_schema import TrainingSpec
from harness.training.stage_progress import StageProgress

STAGES = [Stage("first", Needs(), share=0.25), Stage("second", Needs(), share=0.75)]


def progress(stages=STAGES):
    return StageProgress(stages, TrainingSpec(epochs=2), {}, batches_per_epoch=10)


def test_stages_may_be_a_generator():
    assert progress(stage for stage in STAGES).lengths == progress().lengths == [5, 15]


def test_epochs_of_a_stage_with_a_batch_size_of_its_own():
    one = StageProgress(STAGES, TrainingSpec(epochs=2), {}, 10, {"second": 20})
    assert (one.lengths, one.epochs) == ([5, 30], 0.5)
    one.number, one.step = 1, 10
    assert (one.epoch, one.epochs, one.epoch_ended) == (0.5, 1.5, False)
    one.step = 20
    assert one.epoch_ended


def test_a_restored_position_is_the_saved_one():
    one, other = progress(), progress()
    one.number, one.step = 1, 7
    other.load_state_dict(one.state_dict())
    assert (other.stage.name, other.number, other.step) == ("second", 1, 7)


@pytest.mark.parametrize(("number", "following"), [(0, "second"), (1, None)])
def test_the_following_stage(number, following):
    one = progress()
    one.number = number
    assert (one.following and one.following.name) == following
