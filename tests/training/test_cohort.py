"""The guarantees of a cohort: the result of a run does not depend on the other runs."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import Method, Needs, Stage, layers
from harness.api.losses import task_loss
from harness.execution import run_checkpoints
from harness.plugin_host.host import Host
from harness.training.scoring import logits
from tests.support.training_world import alone, assert_same, interrupted, train

CPU = torch.device("cpu")
KINDS = ["classification", "regression", "qa"]
VARIANTS = [
    ("distilbert", {"alpha": 0.5}),
    ("tinybert", {"attention_loss": "kl"}),
    ("minilm", {"version": 2}),
    ("mlkd_bert", {"one_stage": True, "views": "dropout"}),
]
METHODS = [*((name, {}) for name in Host.create().methods), *VARIANTS]


class FailsAtStep(Method):
    """A method that raises in its fourth step."""

    name = "fails"

    def stages(self):
        return [Stage("only", Needs(student=["logits"], teachers=[["logits", *layers("scores", [1, 4])]]))]

    def losses(self, step, batch, student, teachers):
        if step.index == 3:
            raise ZeroDivisionError("a mistake\nof many lines")
        return {"task": task_loss(student.logits, batch)}


class BecomesNaN(FailsAtStep):
    name = "nan"

    def losses(self, step, batch, student, teachers):
        loss = task_loss(student.logits, batch)
        return {"task": loss * float("nan") if step.index == 3 else loss}


class FailsToBuild(FailsAtStep):
    """A method that raises before its first step."""

    name = "cannot be built"

    def modules(self, student, teachers):
        raise ZeroDivisionError("a mistake\nof many lines")


class FailsToNote(FailsAtStep):
    name = "cannot be noted"

    def notes(self):
        raise ZeroDivisionError("a mistake\nof many lines")


class Meddles(FailsAtStep):
    """A method that changes a shared tensor in place."""

    name = "meddles"

    def losses(self, step, batch, student, teachers):
        if step.index == 2:
            teachers[0].scores[4].zero_()
        return {"task": task_loss(student.logits, batch)}


class MeddlesWithBatches(Meddles):
    name = "meddles with batches"

    def losses(self, step, batch, student, teachers):
        batch.labels.zero_()
        return {"task": task_loss(student.logits, batch)}


TRAINED_ALONE: dict[tuple[int, int], tuple] = {}
"""Method and seed -> bits of its run, for all examples of the test below."""


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(range(len(METHODS))), st.integers(1, 2)), min_size=1, max_size=5))
def test_results_do_not_depend_on_the_cohort_or_its_order(world, company):
    here = world("classification", epochs=0.7)
    runs = []
    for index, seed in company:
        method, config = METHODS[index]
        if (index, seed) not in TRAINED_ALONE:
            TRAINED_ALONE[index, seed] = alone(here, method, config, seed)
        runs.append(here.run(method, config=config, seed=seed))
    train(here.cohort(*runs))
    for run, chosen in zip(runs, company, strict=True):
        assert_same(run, TRAINED_ALONE[chosen])


@pytest.mark.parametrize("broken", [FailsAtStep, BecomesNaN, FailsToBuild, FailsToNote])
def test_an_error_ends_only_its_own_run(world, broken):
    here = world()
    expected = alone(here, "tinybert", {}, 1)
    bad, good = here.run(broken), here.run("tinybert")
    ended = train(here.cohort(bad, good))
    assert ended == [bad, good]
    assert good.error is None
    assert_same(good, expected)
    words = "NonFiniteLoss" if broken is BecomesNaN else "ZeroDivisionError: a mistake"
    assert words in bad.error
    assert "\n" not in bad.error


@pytest.mark.parametrize("meddler", [Meddles, MeddlesWithBatches])
def test_a_run_that_changes_shared_tensors_fails_alone(world, meddler):
    here = world()
    expected = alone(here, "tinybert", {}, 1)
    bad, good = here.run(meddler), here.run("tinybert")
    train(here.cohort(bad, good))
    assert "changed in place" in bad.error
    assert good.error is None
    assert_same(good, expected)


def test_each_teacher_runs_once_per_batch(world):
    here = world(epochs=1)
    runs = [here.run(method, config=config) for method, config in METHODS]
    cohort = here.cohort(*runs)
    train(cohort)
    batches = here.stream().batches_per_epoch
    assert {run.position for run in runs} == {batches}
    assert cohort.teacher_passes.forwards == {"base": batches}
    for run in runs:
        lengths = zip(run.progress.stages, run.progress.lengths, strict=True)
        uses = sum(length * sum(map(bool, stage.needs.teachers)) for stage, length in lengths)
        assert run.cost.teacher_forwards == uses


def test_no_teacher_runs_if_no_run_needs_it(world):
    here = world()
    cohort = here.cohort(here.run("finetune"))
    train(cohort)
    assert cohort.teacher_passes.forwards.total() == 0


@pytest.mark.parametrize("stop_after", [1, 5, 9])
def test_interrupted_and_resumed_equals_uninterrupted(world, tmp_path, stop_after):
    here = world()
    again = interrupted(here, lambda: here.run("tinybert"), stop_after, tmp_path / "run.pt")
    train(here.cohort(again))
    assert_same(again, alone(here, "tinybert", {}, 1))
    assert again.cost.tokens == sum(here.stream().at(i, CPU).tokens for i in range(again.steps))


def test_a_resumed_run_waits_for_the_others(world, tmp_path):
    here = world()
    expected = {m: alone(here, m, {}, 1) for m in ("logit_kd", "tinybert")}
    early = here.run("tinybert")
    saved = tmp_path / "run.pt"
    stop = {"at": 7}
    train(
        here.cohort(early),
        stop=lambda: early.position >= stop["at"],
        checkpoint=lambda r: run_checkpoints.save(r, saved),
    )
    resumed, fresh = here.run("tinybert"), here.run("logit_kd")
    run_checkpoints.restore(resumed, saved)
    cohort = here.cohort(resumed, fresh)
    train(cohort)
    assert_same(resumed, expected["tinybert"])
    assert_same(fresh, expected["logit_kd"])
    assert cohort.teacher_passes.forwards["base"] == fresh.steps


def test_a_run_with_a_damaged_checkpoint_starts_again(world, tmp_path):
    saved = tmp_path / "run.pt"
    saved.write_bytes(b"not a checkpoint")
    run = world().run("finetune")
    assert not run_checkpoints.restore(run, saved)
    assert run.position == 0


def test_checkpoints_are_saved_every_checkpoint_every_steps(world):
    here = world(checkpoint_every=4)
    run = here.run("finetune")
    places = []
    train(here.cohort(run), checkpoint=lambda r: places.append(r.position))
    assert places == [4, 8]
    assert run.steps == 12


def test_stages_follow_each_other_and_are_logged(world):
    here = world()
    points: list = []
    run = here.run("tinybert", observe=lambda run, point: points.append(point))
    train(here.cohort(run))
    assert points == run.history
    assert run.progress.lengths == [8, 4]
    assert [(p.stage, p.step) for p in points] == [
        ("intermediate", 3),
        ("intermediate", 6),
        ("intermediate", 8),
        ("prediction", 9),
        ("prediction", 12),
    ]
    assert set(points[0].terms) == {"loss", "attention", "hidden", "embedding"}
    assert set(points[-1].terms) == {"loss", "prediction"}


def test_training_learns(world):
    here = world("regression", epochs=20)
    run = here.run("finetune")
    train(here.cohort(run))
    assert run.history[-1].terms["task"] < 0.5 * run.history[0].terms["task"]


def test_logits_do_not_depend_on_how_they_are_batched(world):
    here = world("qa")
    run = here.run("finetune")
    encoded = here.data.validation["validation"]
    outputs: Sequence = [logits(run.capture, encoded, 0, batch_size=size, device=CPU) for size in (1, 7)]
    assert [o.shape for o in outputs[0]] == [(2, length) for length in encoded.lengths]
    for one, many in zip(*outputs, strict=True):
        allowed = one > -1e30
        assert (allowed == (many > -1e30)).all()
        assert one[allowed] == pytest.approx(many[allowed], abs=1e-5)
