"""Stages that freeze parameters of the student."""

import pytest
import torch

from harness.api.losses import task_loss
from harness.api.method import Method, Needs, Stage
from harness.models.capture import Capture
from harness.models.parameter_groups import ParameterGroups
from harness.testing import tiny_model
from harness.training.cohort import Cohort
from harness.training.optimizer import parameters_to_freeze
from tests.support.training_world import CPU


class Freezing(Method):
    name = "freezing"
    max_teachers = min_teachers = 0

    def stages(self):
        return [
            Stage("first", Needs(student=["logits"]), steps=3, frozen=frozenset({"position_embeddings"})),
            Stage("second", Needs(student=["logits"]), steps=3),
        ]

    def losses(self, step, batch, student, teachers):
        return {"task": task_loss(student.logits, batch)}


def test_frozen_parameters_are_constant_in_their_stage_and_trained_after_it(world):
    here = world()
    run = here.run(Freezing)
    seen = [positions(run).clone()]
    words = run.student.bert.embeddings.word_embeddings.weight.detach().clone()

    cohort = Cohort(here.stream(), {}, [run], CPU)
    outputs = cohort.teacher_passes.outputs
    cohort.teacher_passes.outputs = lambda *args: seen.append(positions(run).clone()) or outputs(*args)
    list(cohort.train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.error is None
    assert all(torch.equal(seen[0], before) for before in seen[:5]), "up to the end of the first stage"
    assert not torch.equal(seen[0], positions(run))
    assert not torch.equal(words, run.student.bert.embeddings.word_embeddings.weight)


def positions(run):
    return run.student.bert.embeddings.position_embeddings.weight.detach()


def test_a_frozen_name_without_a_match_raises():
    model = tiny_model()
    groups = ParameterGroups(model, Capture(model).parts, torch.nn.ModuleDict())
    with pytest.raises(
        ValueError, match=r"no parameter named positions, which the stage freezes; parameter groups: .*head"
    ):
        parameters_to_freeze(model, groups, {"positions", "position_embeddings"})


def test_parameters_that_the_model_froze_stay_frozen(world):
    here = world()
    run = here.run(Freezing)
    assert not positions_parameter(run).requires_grad
    frozen = run.student.bert.embeddings.token_type_embeddings.weight.requires_grad_(False)
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.error is None
    assert positions_parameter(run).requires_grad
    assert not frozen.requires_grad


def positions_parameter(run):
    return run.student.bert.embeddings.position_embeddings.weight
