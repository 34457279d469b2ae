"""Stages that leave some of the student's parameters as they are."""

import pytest
import torch

from harness.api.losses import task_loss
from harness.api.method import Method, Needs, Stage
from harness.testing import tiny_model
from harness.training.cohort import Cohort
from harness.training.optimizer import freeze
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


def test_frozen_parameters_stay_in_their_stage_and_are_trained_after_it(world):
    here = world()
    run = here.run(Freezing)
    seen = [positions(run).clone()]
    words = run.student.bert.embeddings.word_embeddings.weight.detach().clone()

    class Watched(Cohort):
        def _teacher_outputs(self, position, *given):
            seen.append(positions(run).clone())
            return super()._teacher_outputs(position, *given)

    list(Watched(here.stream(), {}, [run], CPU).train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.error is None
    assert all(torch.equal(seen[0], before) for before in seen[:5]), "up to the end of the first stage"
    assert not torch.equal(seen[0], positions(run))
    assert not torch.equal(words, run.student.bert.embeddings.word_embeddings.weight)


def positions(run):
    return run.student.bert.embeddings.position_embeddings.weight.detach()


def test_a_name_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match="no parameter named positions, which the stage freezes"):
        freeze(tiny_model(), {"positions", "position_embeddings"})


def test_what_the_model_itself_does_not_train_stays_so(world):
    here = world()
    run = here.run(Freezing)
    assert not positions_parameter(run).requires_grad
    own = run.student.bert.embeddings.token_type_embeddings.weight.requires_grad_(False)
    list(here.cohort(run).train(stop=lambda: False, checkpoint=lambda run: None))
    assert run.error is None
    assert positions_parameter(run).requires_grad
    assert not own.requires_grad


def positions_parameter(run):
    return run.student.bert.embeddings.position_embeddings.weight
