"""Selection of the best epoch: which epoch is chosen, and that the selection does not change training."""

import math

import pytest
import torch

from harness.api.method import Method, Needs, Stage
from harness.execution import run_checkpoints, run_records
from harness.training.best_epoch import BestEpoch
from harness.training.scoring import score
from tests.support.training_world import CPU, interrupted, train

EPOCH = 6
"""Steps of an epoch of the small task: 44 examples in batches of 8."""

MOST = 0
"""The majority class of its held-out split."""


class Spoils(Method):
    """Learns to predict the majority class for one epoch, and then the other class."""

    name = "spoils"
    min_teachers = max_teachers = 0

    def stages(self):
        return [Stage("only", Needs(student=["logits"]))]

    def losses(self, step, batch, student, teachers):
        said = torch.full_like(batch.labels, MOST if step.epoch < 1 else 1 - MOST)
        return {"task": torch.nn.functional.cross_entropy(student.logits, said)}


class Scripted:
    """Returns the scripted scores, and keeps the weights at each call."""

    def __init__(self, *scores):
        self.scores, self.seen = list(scores), []

    def __call__(self, capture):
        self.seen.append(weights(capture.model))
        return self.scores[len(self.seen) - 1]


def weights(student):
    return {name: tensor.clone() for name, tensor in student.state_dict().items()}


def same(weights_a, weights_b):
    return weights_a.keys() == weights_b.keys() and all(
        torch.equal(weights_a[name], weights_b[name]) for name in weights_a
    )


def trained(here, method, best, **options):
    run = here.run(method, best=best, **options)
    train(here.cohort(run))
    assert run.error is None
    return run


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ((0.1, 0.5, 0.3), 2),
        ((0.5, 0.1, 0.3), 1),
        ((0.1, 0.3, 0.5), 3),
        ((0.3, 0.5, 0.5), 2),
        ((0.2, 0.2, 0.2), 1),
        ((math.nan, -0.4, -0.6), 2),
        ((0.1, math.nan, 0.05), 1),
        ((math.nan, math.nan, math.nan), 3),
    ],
)
def test_the_earliest_of_the_best_epochs_is_chosen(world, scores, chosen):
    here, scorer = world(epochs=3), Scripted(*scores)
    run = trained(here, "finetune", BestEpoch(scorer))
    assert [(point.step, point.epoch) for point in run.best.epochs] == [(EPOCH * n, n) for n in (1, 2, 3)]
    assert run.best.chosen.step == EPOCH * chosen
    assert same(weights(run.student), scorer.seen[chosen - 1])
    assert not same(scorer.seen[0], scorer.seen[1])


def test_the_lowest_score_is_chosen_if_lower_is_better(world):
    here, scorer = world(epochs=3), Scripted(0.4, math.nan, 0.2)
    run = trained(here, "finetune", BestEpoch(scorer, higher_is_better=False))
    assert run.best.chosen.step == EPOCH * 3
    assert same(weights(run.student), scorer.seen[2])


def test_weights_of_an_earlier_epoch_are_loaded_if_it_was_better(world):
    here = world(epochs=4, lr=3e-3)
    run, last = trained(here, Spoils, here.best()), trained(here, Spoils, None)
    scores = [point.score for point in run.best.epochs]
    assert run.best.chosen.score == max(scores)
    kept, spoilt = (
        score(each.capture, here.data, here.metrics, batch_size=8, device=CPU, part="selection").score
        for each in (run, last)
    )
    assert kept == run.best.chosen.score > spoilt == scores[-1]


@pytest.mark.parametrize(
    ("method", "epochs", "steps"),
    [
        ("finetune", 2.5, [6, 12, 15]),
        ("finetune", 0.5, [3]),
        ("tinybert", 6, [30, 36]),  # 2:1
        ("mlkd_bert", 3, [15, 18]),  # 1:1
    ],
)
def test_epochs_and_the_end_of_the_last_stage_are_scored(world, method, epochs, steps):
    here = world(epochs=epochs)
    run = trained(here, method, here.best())
    begins = sum(run.progress.lengths[:-1])
    assert [point.step for point in run.best.epochs] == steps
    assert [point.epoch for point in run.best.epochs] == [(step - begins) / EPOCH for step in steps]


@pytest.mark.parametrize("method", ["finetune", "tinybert", "mlkd_bert", "logit_kd"])
def test_scoring_does_not_change_training(world, method):
    here, unseen = world(epochs=3), Scripted(*range(9))
    plain, run = trained(here, method, None), trained(here, method, BestEpoch(unseen))
    assert same(weights(plain.student), unseen.seen[-1])
    assert plain.history == run.history
    assert same(weights(run.student), weights(plain.student))  # the last is the best of rising scores


@pytest.mark.parametrize("kind", ["classification", "regression", "qa"])
def test_alone_and_in_a_cohort_the_bits_are_the_same(world, kind):
    here = world(kind, epochs=2)
    company = [("finetune", 1), ("finetune", 2), ("tinybert", 1), ("logit_kd", 2)]
    alone = [trained(here, method, here.best(), seed=seed) for method, seed in company]
    runs = [here.run(method, best=here.best(), seed=seed) for method, seed in company]
    train(here.cohort(*runs[::-1]))
    for run, expected in zip(runs, alone, strict=True):
        assert run.best.epochs == expected.best.epochs
        assert same(weights(run.student), weights(expected.student))


@pytest.mark.parametrize("stop_after", [3, 6, 8, 12, 14])
def test_interrupted_and_resumed_equals_uninterrupted(world, tmp_path, stop_after):
    here = world(epochs=3, lr=3e-3)
    expected = trained(here, Spoils, here.best())
    again = interrupted(here, lambda: here.run(Spoils, best=here.best()), stop_after, tmp_path / "run.pt")
    assert again.best.epochs == expected.best.epochs[: stop_after // EPOCH]
    train(here.cohort(again))
    assert again.best.epochs == expected.best.epochs
    assert again.best.chosen.step < again.steps
    assert same(weights(again.student), weights(expected.student))


def test_scoring_is_charged_to_evaluation(world, tmp_path):
    here, saved = world(epochs=2), tmp_path / "run.pt"
    run = here.run("finetune", best=here.best())
    cohort = here.cohort(run)
    train(cohort, stop=lambda: run.position == EPOCH, checkpoint=lambda each: run_checkpoints.save(each, saved))
    before = run.cost.evaluation_seconds
    assert before > 0
    again = here.run("finetune", best=here.best())
    run_checkpoints.restore(again, saved)
    train(here.cohort(again))
    cost = run_records.cost(again, cohort_size=1, evaluation_seconds=100.0)
    assert cost.evaluation_seconds == 100.0 + again.cost.evaluation_seconds
    assert again.cost.evaluation_seconds > before
    assert cost.student_seconds + again.cost.evaluation_seconds < cost.wall_seconds


def test_an_error_while_scoring_fails_only_that_run(world):
    here = world(epochs=2)

    def broken(capture):
        raise ZeroDivisionError("a mistake")

    bad, good = here.run("finetune", best=BestEpoch(broken)), here.run("logit_kd", best=here.best())
    train(here.cohort(bad, good))
    assert "ZeroDivisionError: a mistake" in bad.error
    assert good.error is None
    assert len(good.best.epochs) == 2
